"""The mean correlation coefficient of codes and sources, after the best one-to-one matching."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from optax.assignment import hungarian_algorithm

from lrn import check
from lrn.arrays import nan_where
from lrn.representation import factors as given
from lrn.representation.sorted_codes import mean_ranks, ordered
from lrn.representation.standard import standardized
from lrn.types import Array

KINDS = ("linear", "spearman")


class Matching(NamedTuple):
    """Codes matched with sources.

    mcc: scalar in [0, 1].
    code: int [sources], the code that is matched with each source.
    correlation: [dim, sources], absolute values of all correlations.
    """

    mcc: Array
    code: Array
    correlation: Array


def mcc(codes: Any, sources: Any, kind: str = "linear") -> Matching:
    """The mean absolute correlation of sources with their codes, under the matching that maximizes it.

    It is 1 where codes are sources up to order, sign and scale (and, with "spearman", any monotone function),
    the indeterminacies of identifiable models (Hyvarinen and Morioka 2016; Khemakhem et al. 2020). A rotation
    of sources lowers it. Independent codes of n rows score about ``sqrt(2 log(dim) / n)``, not 0.

    Args:
        codes: floats [n, dim]. A constant code correlates with nothing.
        sources: numbers [n, sources] with at most dim columns.
        kind: "linear" for Pearson's correlation, "spearman" for that of ranks (ties share their mean rank).

    Raises:
        InputError: codes or sources are wrong, or there are fewer codes than sources.
    """
    check.choice("kind", kind, KINDS)
    x, bad = given.as_codes(codes)
    y, bad_sources = given.numbers(sources, x.shape[0], "sources")
    if x.shape[1] < y.shape[1]:
        raise check.InputError(
            f"each source needs a code of its own, got {x.shape[1]} codes for {y.shape[1]} sources; leave "
            "sources out."
        )
    return _matching(x, y, bad | bad_sources, kind)


@functools.partial(jax.jit, static_argnames="kind")
def _matching(x: Array, y: Array, bad: Array, kind: str) -> Matching:
    if kind == "spearman":
        x, y = ranks(x), ranks(y)
    table = nan_where(bad, jnp.abs(correlations(x, y)))
    code = best(table)
    return Matching(jnp.mean(jnp.take_along_axis(table, code[None], axis=0)), code, table)


def best(value: Array) -> Array:
    """The code int [sources] of each source, no code twice, with the largest sum of values.

    Args:
        value: [dim, sources], dim at least the number of sources; what is not finite counts as 0.
    """
    source, code = hungarian_algorithm(-jnp.where(jnp.isfinite(value), value, 0.0).T)
    return code[jnp.argsort(source)]


def correlations(a: Array, b: Array) -> Array:
    """Pearson's correlations [dim, other] of the columns of a [n, dim] and b [n, other]; 0 of a constant."""
    (left,), (right,) = standardized(a), standardized(b)
    return jnp.matmul(left.T, right, precision="highest") / a.shape[0]


def ranks(x: Array) -> Array:
    """The rank from 1 of each entry within its column, float32 [n, dim]; equals share their mean rank."""
    values, rows = ordered(x)
    # Sorting by rows undoes the order. (A search for x among its sorted values could miss them where XLA
    # computes x twice, with other last digits.)
    return jax.lax.sort((rows, mean_ranks(values)), dimension=1, num_keys=1)[1].T
