"""Group-stratified bootstrap: resamples in which every group keeps its number of rows.

`bootstrap_counts` draws the confusion counts themselves, which is the same bootstrap for decisions and costs
nothing in rows: any metric of `lrn.fair.rates` or `lrn.fair.gaps` takes its result. `bootstrap_rows` draws
rows and serves weights and any other statistic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import readable
from lrn.fair import inputs
from lrn.fair.confusion import Confusion
from lrn.types import Array, Key, PyTree

Statistic = Callable[[Array, Array, Array, Array], PyTree]


def bootstrap_counts(key: Key, counts: Confusion, resamples: int) -> Confusion:
    """Confusion counts of resamples, [resamples, groups]: multinomial draws within each group.

    Args:
        key: the key of the draws.
        counts: whole counts [groups], of rows without weights and of decisions 0 or 1.
        resamples: the number of resamples.

    Raises:
        InputError: counts that can be read are not whole numbers, or ``resamples`` is below 1. (Under jit
            the resamples of such a group are NaN.)
    """
    check.integer("resamples", resamples, 1)
    cells = jnp.stack(counts)
    whole = (cells >= 0) & (cells == jnp.round(cells))
    if readable(whole) and not np.asarray(whole).all():
        raise check.InputError(
            "counts must be whole numbers of rows; with weights or probabilities use bootstrap_rows."
        )
    safe = jnp.where(whole, cells, 0)
    # Of the rows that are left, each cell takes a binomial share; the last cell takes the rest.
    after = jnp.flip(jnp.cumsum(jnp.flip(safe, 0), 0), 0)
    share = jnp.where(after > 0, safe / jnp.maximum(after, 1), 0)

    def draw(left: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
        key, share = given
        inner = (share > 0) & (share < 1) & (left > 0)
        taken = jax.random.binomial(key, jnp.where(inner, left, 1), jnp.where(inner, share, 0.5))
        taken = jnp.where(inner, taken.astype(left.dtype), jnp.where(share >= 1, left, 0))
        return left - taken, taken

    full = jnp.broadcast_to(after[0], (resamples, *after[0].shape))
    shares = jnp.broadcast_to(share[:3, None], (3, *full.shape))
    rest, drawn = jax.lax.scan(draw, full, (jax.random.split(key, 3), shares))
    fine = whole.all(axis=0)
    return Confusion(*(jnp.where(fine[None], c, jnp.nan) for c in (*drawn, rest)))


def bootstrap_rows(
    key: Key,
    statistic: Statistic,
    y: Any,
    prediction: Any,
    group: Any,
    groups: int,
    weight: Any = None,
    resamples: int = 1000,
    batch_size: int = 16,
) -> PyTree:
    """A statistic of resampled rows, leaves [resamples, ...].

    A drawn row keeps its weight: weights are those of a survey. (Weights that stand for equal rows would need
    the rows themselves.) Memory is that of ``batch_size`` resamples.

    Args:
        key: the key; resample i draws from ``split(key, resamples)[i]``.
        statistic: ``statistic(y, prediction, group, weight) -> arrays``, a pure function of rows [n].
        y, prediction: numbers [n], of any range that the statistic takes.
        group: int [n] in 0..groups-1. weight: weights of rows [n]; 1 by default.
        resamples: the number of resamples. batch_size: how many are held at once.

    Raises:
        InputError: a shape, dtype or value is wrong. (Under jit the statistic gets NaN weights.)
    """
    check.integer("resamples", resamples, 1)
    check.integer("batch_size", batch_size, 1)
    y = inputs.vector("y", y)
    prediction = inputs.vector("prediction", prediction, len(y))
    group, fine = inputs.members(group, groups, len(y))
    weight, fine_weight = inputs.weights(weight, len(y), prediction.dtype)
    weight = jnp.where(fine & fine_weight, weight, jnp.nan)
    order = jnp.argsort(group, stable=True)
    of = group[order]
    size = (of[:, None] == jnp.arange(groups)[None]).sum(axis=0)
    start = jnp.cumsum(size) - size
    rows = jnp.stack([y.astype(prediction.dtype), prediction, weight])

    def one(key: Key) -> PyTree:
        place = jnp.floor(jax.random.uniform(key, of.shape) * size[of]).astype(size.dtype)
        drawn = order[start[of] + jnp.minimum(place, size[of] - 1)]
        y, prediction, weight = rows[:, drawn]
        return statistic(y, prediction, of, weight)

    return jax.lax.map(one, jax.random.split(key, resamples), batch_size=min(batch_size, resamples))


def percentile_interval(replicates: Any, level: float = 0.95) -> tuple[Array, Array]:
    """The middle ``level`` of replicates [resamples, ...] without NaN: lower and upper limits, [...].

    The interval is first-order only. That of a gap (largest minus smallest rate) is biased upwards with the
    gap: see `lrn.fair.gap_bias`.

    Raises:
        InputError: the level lies outside of (0, 1).
    """
    check.positive("level", level)
    check.between("level", level, 0, 1 - 1e-9)
    ends = jnp.asarray([(1 - level) / 2, (1 + level) / 2])
    low, high = jnp.nanquantile(jnp.asarray(replicates), ends, axis=0)
    return low, high
