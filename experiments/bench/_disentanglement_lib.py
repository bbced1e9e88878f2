"""disentanglement_lib's side of the benchmark of metrics, in a process with an environment of its own.

``python _disentanglement_lib.py FILE``: FILE (npz) holds ``codes`` [n, dim], ``factors`` [n, factors],
``test_codes`` and ``test_factors``; ``mixture``, ``noise`` and ``sizes``, from which the codes were made; and
``rounds`` [], DCI's rounds of trees.
gin is a stub; settings are those of the 12,600-model study (20 bins, LinearSVC, standard deviations of .05).
The process prints, for each metric, a line "answer NAME SECONDS VALUE" with processor seconds. DCI's seconds
are extrapolated to 100 rounds. The scores of FactorVAE and BetaVAE take a tenth of
the study's draws; their seconds are 10 times those. (tests/representation/references/make_disentanglement.py
takes the library, `Drawn` and the settings from here.)
"""

from __future__ import annotations

import sys
import time
import types
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from sklearn import ensemble


def configurable(*args, **kwargs):
    """gin's decorator, which does nothing here."""
    return args[0] if args and callable(args[0]) else lambda f: f


gin, gin_tf = types.ModuleType("gin"), types.ModuleType("gin.tf")
vars(gin).update(configurable=configurable, REQUIRED=None, tf=gin_tf)
sys.modules |= {"gin": gin, "gin.tf": gin_tf}

from disentanglement_lib.evaluation.metrics import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    beta_vae,
    dci,
    factor_vae,
    irs,
    mig,
    modularity_explicitness,
    sap_score,
    utils,
)

utils.make_discretizer = lambda target: utils._histogram_discretize(target, 20)
prune = factor_vae._prune_dims
factor_vae._prune_dims = lambda variances: prune(variances, 0.05)

OF_ROUNDS = 100
DRAWS, OF_DRAWS = 1_500, 15_000


class Drawn:
    """Ground truth data whose observations are the factors, independent and uniform.

    sizes: the number of values of each factor. represent: maps observations [n, factors] to codes [n, dim].
    """

    def __init__(self, sizes: Sequence[int], represent: Callable[[np.ndarray], np.ndarray]) -> None:
        self.sizes, self.num_factors, self.represent = sizes, len(sizes), represent

    def sample_factors(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Factors [n, factors]."""
        return np.stack([rng.randint(size, size=n) for size in self.sizes], axis=1)

    def sample_observations_from_factors(self, factors: np.ndarray, rng: Any) -> np.ndarray:
        """The factors themselves."""
        return factors

    def sample_observations(self, n: int, rng: np.random.RandomState) -> np.ndarray:
        """Factors [n, factors]."""
        return self.sample_factors(n, rng)


def tasks(saved: dict[str, np.ndarray]) -> dict[str, tuple[Callable[[], float], float]]:
    """For each metric its function and the factor of its seconds."""
    given = [saved[name].T for name in ("codes", "factors", "test_codes", "test_factors")]
    codes, factors, test_codes, test_factors = given
    sizes, mixture, noise = saved["sizes"], saved["mixture"], np.random.RandomState(1)
    share, rounds = OF_DRAWS / DRAWS, int(saved["rounds"])

    def represent(factors: np.ndarray) -> np.ndarray:
        """Codes, as those of the file were made."""
        spread = float(saved["noise"]) * noise.randn(len(factors), mixture.shape[1])
        return (2 * factors / (sizes - 1) - 1) @ mixture + spread

    drawn = Drawn(sizes.tolist(), represent)

    def of_modularity() -> float:
        binned = utils.make_discretizer(codes)
        return modularity_explicitness.modularity(utils.discrete_mutual_info(binned, factors))

    def of_explicitness() -> float:
        x, mean, std = utils.normalize_data(codes)
        z, _, _ = utils.normalize_data(test_codes, mean, std)
        each = [
            modularity_explicitness.explicitness_per_factor(x, factors[j], z, test_factors[j])[1]
            for j in range(len(factors))
        ]
        return float(np.mean(each))

    def of_dci() -> float:
        original = ensemble.GradientBoostingClassifier
        dci.ensemble = types.SimpleNamespace(GradientBoostingClassifier=lambda: original(n_estimators=rounds))
        return dci._compute_dci(*given)["disentanglement"]

    def of_factor_vae() -> float:
        rng = np.random.RandomState(0)
        settings = {"num_train": 2 * DRAWS // 3, "num_eval": DRAWS // 3, "num_variance_estimate": 10_000}
        return factor_vae.compute_factor_vae(drawn, drawn.represent, rng, batch_size=64, **settings)[
            "eval_accuracy"
        ]

    def of_beta_vae() -> float:
        rng = np.random.RandomState(0)
        settings = {"num_train": 2 * DRAWS // 3, "num_eval": DRAWS // 3}
        return beta_vae.compute_beta_vae_sklearn(drawn, drawn.represent, rng, batch_size=64, **settings)[
            "eval_accuracy"
        ]

    def of_irs() -> float:
        binned = utils.make_discretizer(factors)
        return irs.scalable_disentanglement_score(binned.T, codes.T, 0.99)["avg_score"]

    return {
        "mig": (lambda: mig._compute_mig(codes, factors)["discrete_mig"], 1),
        "modularity": (of_modularity, 1),
        "irs": (of_irs, 1),
        "explicitness": (of_explicitness, 1),
        "factor_vae": (of_factor_vae, share),
        "beta_vae": (of_beta_vae, share),
        "sap": (lambda: sap_score._compute_sap(*given, False)["SAP_score"], 1),
        "dci_disentanglement": (of_dci, OF_ROUNDS / rounds),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(
        f"answer disentanglement-lib {version('disentanglement-lib')}, scikit-learn {version('scikit-learn')}"
    )
    for name, (task, times) in tasks(dict(np.load(sys.argv[1]))).items():
        begin = time.process_time()
        value = task()
        print(f"answer {name} {(time.process_time() - begin) * times} {value}", flush=True)
