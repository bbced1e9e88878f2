"""The bias of the largest gap: among small groups the extreme rates differ although all groups are alike.

Two fair groups of 50 rows with a rate of .3 show a mean gap of .073; with more groups it is larger. So a gap
means something only beside the gap that chance alone would show, and comparisons of classifiers on groups of
different sizes need the corrected gap.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.fair.rate_sample import RateSample, check_level
from lrn.types import Array, Key


class Gap(NamedTuple):
    """The gap between the extreme rates, beside what chance shows; scalars.

    observed: the largest minus the smallest rate.
    by_chance: the mean gap if all groups had the pooled rate. chance_limit: its upper quantile: an observed
        gap above it is beyond chance. corrected: the gap that would show the observed one on average.
    """

    observed: Array
    by_chance: Array
    chance_limit: Array
    corrected: Array


def gap(key: Key, sample: RateSample, level: ArrayLike = 0.95, draws: int = 4000) -> Gap:
    """The observed gap of a rate, the gap by chance, and the gap corrected for chance.

    Errors are drawn as normal, with each group's binomial variance. The correction pulls all rates towards
    the pooled rate, by the one factor in [0, 1] for which the mean gap of new samples is the observed gap
    (indirect inference; Gourieroux, Monfort & Renault 1993). It is 0 where the observed gap is at most the
    mean gap by chance. Groups without trials are left out; with fewer than two groups all is NaN.

    Args:
        key: the key of the draws.
        sample: rates and trials [groups] of groups that share no rows (`lrn.fair.rate_sample`).
        level: the level of ``chance_limit``, in (0, 1); may be traced.
        draws: the number of draws of all errors.

    Raises:
        InputError: the level or ``draws`` is out of its range.
    """
    check_level(level)
    check.integer("draws", draws, 1)
    known = sample.trials > 0
    trials = jnp.where(known, sample.trials, 1)
    rate = jnp.where(known, sample.rate, 0)
    pooled = jnp.where(known, rate * trials, 0).sum() / jnp.maximum(jnp.where(known, trials, 0).sum(), 1)
    noise = jax.random.normal(key, (draws, *rate.shape), rate.dtype)

    def gaps(factor: Array) -> Array:
        true = pooled + factor * (rate - pooled)
        error = jnp.sqrt(jnp.maximum(true * (1 - true), 0) / trials)
        return _extent(true[None] + error[None] * noise, known)

    observed = _extent(rate, known)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        above = gaps(middle).mean() > observed
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    zero, one = jnp.zeros((), rate.dtype), jnp.ones((), rate.dtype)
    factor = jax.lax.fori_loop(0, 25, halve, (zero, one))[0]
    chance = gaps(zero)
    found = Gap(observed, chance.mean(), jnp.quantile(chance, level), factor * observed)
    usable = (known.sum() >= 2) & ~jnp.isnan(sample.trials).any()
    return Gap(*(jnp.where(usable, value, jnp.nan) for value in found))


def _extent(values: Array, known: Array) -> Array:
    """The largest minus the smallest known value along the last axis."""
    known = jnp.broadcast_to(known, values.shape)
    low = jnp.where(known, values, jnp.inf).min(axis=-1)
    return jnp.where(known, values, -jnp.inf).max(axis=-1) - low
