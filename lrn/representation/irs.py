"""The interventional robustness score (Suter, Miladinovic, Schoelkopf and Bauer 2019)."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import nan_where
from lrn.representation import factors as given
from lrn.representation.sorted_codes import first_true, groups, ordered, take
from lrn.types import Array

BINS = 20  # of disentanglement_lib, into which a factor with more values is cut


class IRS(NamedTuple):
    """How little each code moves while one factor is fixed and the others change.

    score: scalar in [0, 1], the mean over codes of the table's largest entry, weighted by the code's largest
        deviation from its mean.
    table: [dim, factors], 1 less the mean over the factor's values of the quantile of the code's deviations
        from its mean at that value, in units of its largest deviation; 0 for a constant code.
    """

    score: Array
    table: Array


def irs(codes: Any, factors: Any, quantile: ArrayLike = 0.99, sizes: Any = None) -> IRS:
    """The score as disentanglement_lib computes it; the paper has the largest deviation, ``quantile`` 1.

    Args:
        codes: floats [n, dim].
        factors: whole numbers [n, factors]. A factor of more than 20 values is cut into 20 bins of one width
            in the numbers of its values, as they are in order.
        quantile: which deviation counts, in [0, 1]; may be traced.
        sizes: the number of values of each factor, needed where the factors are traced.

    Raises:
        InputError: codes, factors or the quantile are wrong.
    """
    check.between("quantile", quantile, 0, 1)
    rows, sizes = given.rows(codes, factors, sizes)
    return scores(rows, sizes, quantile)


@functools.partial(jax.jit, static_argnames="sizes")
def scores(rows: given.Rows, sizes: given.Sizes, quantile: ArrayLike) -> IRS:
    """`irs` of checked rows."""
    quantile = jnp.asarray(quantile)
    centered = rows.codes - jnp.mean(rows.codes, axis=0)[None]
    values, order = ordered(centered)
    largest = jnp.max(jnp.abs(centered), axis=0)
    none = largest <= 0
    cut = [rows.factors[:, j] if size <= BINS else _cut(rows.factors[:, j]) for j, size in enumerate(sizes)]
    most = min(max(sizes), BINS)
    deviations = jax.lax.map(
        lambda index: _deviation(centered, values, order, index, most, quantile), jnp.stack(cut)
    )
    share = deviations.T / jnp.where(none, 1.0, largest)[:, None]
    table = jnp.where(none[:, None], 0.0, 1 - share)
    weight = largest / jnp.where(jnp.all(none), 1.0, jnp.sum(largest))
    score = jnp.sum(jnp.max(table, axis=1) * weight)
    bad = rows.bad | ~((quantile >= 0) & (quantile <= 1))
    return IRS(nan_where(bad, score), nan_where(bad, table))


def _cut(index: Array) -> Array:
    """The bin of each value [n]; bins have one width, as those of ``np.histogram``."""
    low, high = jnp.min(index), jnp.max(index)
    return jnp.minimum((index - low) * BINS // jnp.maximum(high - low, 1), BINS - 1)


def _deviation(
    codes: Array, values: Array, order: Array, index: Array, size: int, quantile: ArrayLike
) -> Array:
    """The mean over a factor's values of the quantile of absolute deviations from the value's mean, [dim]."""
    n, dim = codes.shape
    of = groups(order, index, size)
    member = (index[:, None] == jnp.arange(size)[None]).astype(codes.dtype)
    total = jnp.matmul(codes.T, member, precision="highest")
    mean = total / jnp.maximum(of.length, 1)[None].astype(codes.dtype)
    grouped = jnp.take_along_axis(values, of.place, axis=1)
    start = jnp.broadcast_to(of.start[None], (dim, size))
    last = jnp.maximum(of.length - 1, 0)
    place = quantile * last.astype(codes.dtype)
    below = jnp.floor(place).astype(jnp.int32)

    def smallest(k: Array) -> Array:
        """The k-th smallest deviation [dim, size], k from 0: the least over windows of k + 1 neighbors."""
        width = jnp.broadcast_to(k[None], (dim, size))

        def ends(s: Array) -> tuple[Array, Array]:
            return mean - take(grouped, s), take(grouped, s + width) - mean

        def rightmost_is_farther(s: Array) -> Array:
            left, right = ends(s)
            return right >= left

        stop = start + (last - k)[None]
        s = first_true(rightmost_is_farther, start, stop, n)
        options = (jnp.maximum(*ends(t)) for t in (s, jnp.maximum(s - 1, start)))
        return jnp.minimum(*options)

    low, high = smallest(below), smallest(jnp.minimum(below + 1, last))
    part = (place - below.astype(place.dtype))[None]
    found = low + part * (high - low)
    there = (of.length > 0)[None]
    return jnp.sum(jnp.where(there, found, 0.0), axis=1) / jnp.sum(there)
