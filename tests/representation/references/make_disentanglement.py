"""How disentanglement.json was made: disentanglement_lib 1.5, and the authors' InfoMEC, on `peer_codes`.

The project needs neither. Both ran in an environment of their own, with the stub for gin and the settings of
experiments/bench/_disentanglement_lib.py:

pip install --no-deps disentanglement-lib==1.5
pip install numpy==2.4.6 scikit-learn==1.9.1 scipy==1.17.1 absl-py six
python tests/representation/references/make_disentanglement.py FOLDER [slow [CASE ...]]

FOLDER has infomec.py, which is disentangle/metrics/infomec.py of kylehkhsu/latent_quantization at 9a420a33,
and udr.py, which is disentanglement_lib/evaluation/udr/metrics/udr.py of google-research/disentanglement_lib
at 86a644d4 (the package on PyPI lacks it). With "slow" it adds DCI, which takes two minutes for each of
the large cases with 1,000 rows, to the file that it made without.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
import time
import types
import warnings
from pathlib import Path

import numpy as np
from peer_codes import CASES, data
from sklearn import feature_selection, linear_model, svm

FILE = Path(__file__).with_name("disentanglement.json")


ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "experiments" / "bench"))
from _disentanglement_lib import (  # noqa: E402  # pyright: ignore[reportMissingImports]
    Drawn,
    beta_vae,
    dci,
    factor_vae,
    irs,
    mig,
    modularity_explicitness,
    sap_score,
    utils,
)


def loaded(folder: str, name: str):
    """The module NAME.py of a folder."""
    spec = importlib.util.spec_from_file_location(name, Path(folder) / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_authors(folder: str, codes, factors) -> dict:
    """InfoMEC, with the arguments and results of newer versions of scikit-learn and NumPy."""
    module = loaded(folder, "infomec")
    original = linear_model.LogisticRegression

    def regression(**kwargs):
        kept = {k: v for k, v in kwargs.items() if k not in ("multi_class", "penalty", "dual", "n_jobs")}
        return original(C=np.inf, **kept)

    def information(*args, **kwargs):
        return feature_selection.mutual_info_classif(*args, random_state=0, **kwargs)[0]

    vars(module).update(
        linear_model=types.SimpleNamespace(LogisticRegression=regression),
        feature_selection=types.SimpleNamespace(mutual_info_classif=information),
    )
    found = module.compute_infomec(factors, codes.astype(np.float64), False)
    return {name: float(found[name]) for name in ("infom", "infoe", "infoc")} | {
        "nmi": found["nmi"].T.tolist()
    }


def fast(case: str, folder: str) -> dict:
    """Everything but DCI."""
    rows = data(case)
    codes, factors, test_codes, test_factors = (part.T for part in rows)
    binned = utils.make_discretizer(codes)
    information = utils.discrete_mutual_info(binned, factors)
    active = irs._drop_constant_dims(codes)
    spread = irs.scalable_disentanglement_score(utils.make_discretizer(factors).T, active.T, 0.99)
    table = sap_score.compute_score_matrix(codes, factors, test_codes, test_factors, False)
    # Its classifiers stop at a gradient of 1e-4, which moves some predictions; these are the minimizers.
    exact = functools.partial(svm.LinearSVC, tol=1e-10, max_iter=100_000)
    sap_score.svm = types.SimpleNamespace(LinearSVC=exact)
    converged = sap_score.compute_score_matrix(codes, factors, test_codes, test_factors, False)
    sap_score.svm = svm
    varying = codes.std(1) > 0  # a constant code would be divided by 0
    mean, scale = codes[varying].mean(1), codes[varying].std(1)
    x, z = (utils.normalize_data(part[varying], mean, scale)[0] for part in (codes, test_codes))
    explicit = [
        modularity_explicitness.explicitness_per_factor(x, factors[j], z, test_factors[j])[1]
        for j in range(len(factors))
    ]
    continuous = sap_score.compute_score_matrix(codes, factors.astype(float), None, None, True)
    drawn = []
    for seed in range(3):
        (make, sizes, *_), noise = CASES[case], np.random.RandomState(11)
        truth = Drawn(sizes, lambda factors, m=make, r=noise: m(r, factors).astype(np.float32))
        rng = np.random.RandomState(seed)
        drawn.append(
            {
                "factor_vae": factor_vae.compute_factor_vae(
                    truth, truth.represent, rng, batch_size=64, num_train=10_000, num_eval=5_000,
                    num_variance_estimate=10_000,
                )["eval_accuracy"],
                "beta_vae": beta_vae.compute_beta_vae_sklearn(
                    truth, truth.represent, rng, batch_size=64, num_train=10_000, num_eval=5_000
                )["eval_accuracy"],
            }
        )  # fmt: skip
    return {
        "mig": mig._compute_mig(codes, factors)["discrete_mig"],
        "information": information.tolist(),
        "modularity": modularity_explicitness.modularity(information),
        "irs": spread["avg_score"],
        "irs_table": spread["IRS_matrix"].tolist(),
        "sap": sap_score.compute_avg_diff_top_two(table),
        "sap_table": table.tolist(),
        "sap_converged": converged.tolist(),
        "sap_continuous": sap_score.compute_avg_diff_top_two(continuous),
        "explicitness": float(np.mean(explicit)),
        "drawn": drawn,
        "infomec": by_authors(folder, rows.codes, rows.factors),
    }


def ranking(folder: str) -> dict:
    """UDR of five models: two that agree up to order and sign, mixtures, noise, and a nonlinear one."""
    rng = np.random.RandomState(3)
    z = rng.randn(1000, 4)
    models = [z, -z[:, ::-1], z @ rng.randn(4, 4), z + 0.5 * rng.randn(1000, 4), np.tanh(2 * z)]
    kl = np.ones((5, 4))
    kl[4, 1] = kl[2, 0] = 0.001
    udr, found = loaded(folder, "udr"), {}
    for kind in ("lasso", "spearman"):
        functions = [lambda _, m=m, k=k: (m, k) for m, k in zip(models, kl)]
        truth = types.SimpleNamespace(sample_observations=lambda n, rng: None)
        settings = {"batch_size": 1000, "num_data_points": 1000, "correlation_matrix": kind}
        scores = udr.compute_udr_sklearn(truth, functions, rng, **settings, include_raw_correlations=False)
        found[kind] = np.asarray(scores["model_scores"]).tolist()
    return {"codes": np.round(np.stack(models), 4).tolist(), "active": (kl > 0.01).tolist(), **found}


def slow(case: str) -> dict:
    """DCI on few rows, 1,000 as in the calibration, or 300; ties are broken at random, hence several runs."""
    rows = data(case, 300 if case == "mixed" else 1000)
    begin, runs = time.perf_counter(), []
    for _ in range(5 if case == "mixed" else 1):
        found = dci._compute_dci(*(part.T for part in rows))
        runs.append({name: float(value) for name, value in found.items()})
    return {"runs": runs, "seconds": time.perf_counter() - begin}


def main(folder: str, *options: str) -> None:
    """Write the file."""
    content = json.loads(FILE.read_text()) if FILE.exists() else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "slow" in options:
            content["dci"] = content.get("dci", {}) | {case: slow(case) for case in options[1:] or CASES}
        else:
            content |= {"cases": {case: fast(case, folder) for case in CASES}, "udr": ranking(folder)}
    FILE.write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
