"""All metrics of codes and factors in one call, of one model or of many."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import array, nan_where
from lrn.representation import beta_vae_score, dci_trees, explicitness, factor_vae_score, info_mec, irs, sap
from lrn.representation import factors as given
from lrn.representation.histogram import BINS, entropy, information
from lrn.representation.mcc import mcc
from lrn.representation.mig import gap
from lrn.representation.modularity import of_information
from lrn.types import Array, Key

NAMES = (
    "mig", "dci_disentanglement", "dci_completeness", "dci_informativeness", "sap", "factor_vae", "beta_vae",
    "irs", "modularity", "explicitness", "info_modularity", "info_explicitness", "info_compactness",
    "mcc", "mcc_spearman",
)  # fmt: skip


def metrics(
    key: Key,
    codes: Any,
    factors: Any,
    *,
    test: tuple[Any, Any] | None = None,
    rounds: int = 100,
    draws: int = 10_000,
) -> dict[str, Array]:
    """The metrics `NAMES` of codes, each a scalar, or one for each model [models].

        scores = metrics(jax.random.key(0), codes, factors)

    "dci_..." are those of `dci_trees`, which take most of the time; ``rounds`` 0 leaves them out. "mcc" are
    those of codes and factors as numbers (NaN where there are fewer codes than factors). Settings are those
    of disentanglement_lib. A model whose codes are constant, or not finite, has NaN for every metric; where
    the codes are of one model and can be read they are refused.

    Args:
        key: the key of the split and of the draws, shared by all models.
        codes: floats [n, dim], or [models, n, dim] of the same rows.
        factors: whole numbers [n, factors], two factors or more, of values that can be read.
        test: codes [n_test, dim], or [models, n_test, dim], and factors [n_test, factors], for SAP, DCI and
            explicitness. None takes a random third of the rows, and fits on the others.
        rounds: the number of DCI's trees for each value of a factor; 100 are disentanglement_lib's, 0 is no
            DCI.
        draws: the number of training points of the FactorVAE and BetaVAE scores; half as many judge.

    Raises:
        InputError: codes, factors or settings are wrong.
    """
    check.integer("rounds", rounds)
    check.integer("draws", draws, 2)
    codes = array(codes, "codes")
    test = None if test is None else (array(test[0], "test codes"), array(test[1], "factors"))
    shape = codes.shape
    if len(shape) not in (2, 3):
        raise check.InputError(f"codes must be [n, dim] or [models, n, dim], got shape {shape}.")
    several = len(shape) == 3
    if test is not None and len(np.shape(test[0])) != len(shape):
        raise check.InputError(
            f"codes and test codes must both be of one model or of several, got shapes {shape} and "
            f"{np.shape(test[0])}."
        )
    if test is not None and (shape[:-2], shape[-1]) != (np.shape(test[0])[:-2], np.shape(test[0])[-1]):
        raise check.InputError(
            "codes and test codes must have the same models and the same dimensions, got shapes "
            f"{shape} and {np.shape(test[0])}."
        )
    if test is None and shape[-2] < 4:
        raise check.InputError(
            f"a split into rows to fit and rows to judge needs 4 rows or more, got {shape[-2]}."
        )
    x, z = (None if part is None else _stack(part) for part in (codes, test and test[0]))
    of_split, of_draws = jax.random.split(key)
    if test is None:
        (index,), sizes, _ = given.indices([factors], [shape[-2]], None)
        order, test_index = jax.random.permutation(of_split, shape[-2]), None
    else:
        lengths, order = [shape[-2], np.shape(test[0])[-2]], None
        (index, test_index), sizes, _ = given.indices([factors, test[1]], lengths, None)
    given.several("a comparison of factors", len(sizes), "factors")
    given.several("a comparison of codes", shape[-1], "codes")
    if not several:
        given.as_codes(codes)  # refuses what can be read
        if test is not None:
            given.as_codes(test[0], "test codes", constant=True)
    found = _metrics(of_draws, x, index, z, test_index, order, sizes, rounds, draws)
    return found if several else {name: value[0] for name, value in found.items()}


def _stack(codes: Any) -> Array:
    """Codes [models, n, dim]."""
    x = jnp.asarray(codes)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise check.InputError(f"codes must be floats, got {x.dtype}; convert them.")
    return x if x.ndim == 3 else x[None]


@functools.partial(jax.jit, static_argnames=("sizes", "rounds", "draws"))
def _metrics(
    key: Key,
    codes: Array,
    index: Array,
    test_codes: Array | None,
    test_index: Array | None,
    order: Array | None,
    sizes: given.Sizes,
    rounds: int,
    draws: int,
) -> dict[str, Array]:
    """The metrics [models]; without test rows, those that come first in ``order`` are."""

    def of(each: tuple[Array, Array | None]) -> dict[str, Array]:
        x, bad = given.as_codes(each[0])
        rows = given.Rows(x, index, bad)
        if order is None:
            assert each[1] is not None
            assert test_index is not None
            z, bad_test = given.as_codes(each[1], "test codes", constant=True)
            train, test = rows, given.Rows(z, test_index, bad | bad_test)
        else:
            third = max(order.shape[0] // 3, 2)
            test, train = (given.Rows(x[part], index[part], bad) for part in (order[:third], order[third:]))
        found = _one(key, rows, train, test, sizes, rounds, draws)
        return {name: nan_where(test.bad, value) for name, value in found.items()}

    # One model after the other: side by side they take as long on a CPU, and much more memory.
    return jax.lax.map(of, (codes, test_codes))


def _one(
    key: Key,
    rows: given.Rows,
    train: given.Rows,
    test: given.Rows,
    sizes: given.Sizes,
    rounds: int,
    draws: int,
) -> dict[str, Array]:
    """The metrics of one model, each a scalar."""
    of_factor_vae, of_beta_vae = jax.random.split(key)
    table = information(rows.codes, rows.factors, sizes, BINS)
    mec = info_mec.scores(rows, sizes)
    settings = (draws, draws // 2, factor_vae_score.BATCH)
    values = {
        "mig": gap(table, entropy(rows.factors, sizes)),
        "sap": sap.of_table(sap.accuracies(train, test, sizes, 0.01)).score,
        "factor_vae": factor_vae_score.accuracy(of_factor_vae, rows, sizes, *settings, 0.05),
        "beta_vae": beta_vae_score.accuracy(of_beta_vae, rows, sizes, *settings),
        "irs": irs.scores(rows, sizes, 0.99).score,
        "modularity": of_information(table),
        "explicitness": explicitness.areas(train, test, max(sizes)),
        "info_modularity": mec.modularity,
        "info_explicitness": mec.explicitness,
        "info_compactness": mec.compactness,
    }
    if rounds:
        found = dci_trees.dci(train, test, sizes, rounds)
        for name in ("disentanglement", "completeness", "informativeness"):
            values[f"dci_{name}"] = getattr(found, name)
    fits = rows.codes.shape[1] >= len(sizes)
    for name, kind in (("mcc", "linear"), ("mcc_spearman", "spearman")):
        values[name] = mcc(rows.codes, rows.factors, kind).mcc if fits else jnp.asarray(jnp.nan)
    return values
