"""Simultaneous max-t intervals: with the given chance *all* cells are covered at once.

Of the single 95% intervals of 24 intersections, at least one is wrong with a chance of 71%. Max-t intervals
widen all intervals by one factor, taken from the law of the largest standardized error over all cells
(Hothorn, Bretz & Westfall 2008), so the cell that looks worst has a valid interval, whichever cell it is. For
rates the standardized error is that of the score test, and its inversion gives Wilson limits; those for
differences are Newcombe's. Cells without a value are NaN and cost the others nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.fair.rate_sample import Bounds, RateSample, check_level, newcombe, wilson
from lrn.types import Array, Key

_LARGEST = 12.0  # no critical value lies beyond: a normal tail of 10^-33


def simultaneous_rates(sample: RateSample, level: ArrayLike = 0.95) -> Bounds:
    """Intervals that hold all groups' rates at once with the chance ``level``, [groups].

    The law of the largest standardized error is exact for independent binomial rates at the shrunken
    estimates ``(hits + 1) / (trials + 2)``: the chances of the groups multiply. No draw is needed.

    Args:
        sample: rates and trials [groups] of groups that share no rows (`lrn.fair.rate_sample`).
        level: the joint chance, in (0, 1); may be traced.

    Raises:
        InputError: the level lies outside of (0, 1).
    """
    check_level(level)
    return wilson(sample, _joint_critical_value(sample, jnp.asarray(level, sample.rate.dtype)))


def simultaneous_differences(
    key: Key, sample: RateSample, level: ArrayLike = 0.95, draws: int = 4000
) -> Bounds:
    """Intervals that hold the differences of all pairs of groups at once, [groups, groups].

    Entry (a, b) is the rate of a minus that of b. The largest of the upper limits bounds the gap between the
    extreme groups. The diagonal is 0.

    The critical value is calibrated: rates are drawn from their posteriors (Jeffreys' prior), hits from these
    rates, and Newcombe's intervals of the drawn hits cover all drawn differences in the share ``level``.

    Args:
        key: the key of the draws.
        sample: rates and trials [groups] of groups that share no rows.
        level: the joint chance, in (0, 1); may be traced.
        draws: the number of draws of all rates; held in batches.

    Raises:
        InputError: the level or ``draws`` is out of its range.
    """
    check_level(level)
    check.integer("draws", draws, 1)
    known = sample.trials > 0
    trials = jnp.where(known, jnp.maximum(jnp.round(sample.trials), 1), 1)
    hits = jnp.where(known, sample.rate, 0.5) * trials
    key_rate, key_hits = jax.random.split(key)
    shape = (draws, *trials.shape)
    true = jax.random.beta(key_rate, (hits + 0.5)[None], (trials - hits + 0.5)[None], shape)
    true = jnp.clip(true, 1e-6, 1 - 1e-6)
    drawn = jax.random.binomial(key_hits, jnp.broadcast_to(trials, shape), true) / trials[None]
    i, j = np.triu_indices(len(trials), 1)
    both = known[i] & known[j]

    def needed(given: tuple[Array, Array]) -> Array:
        """The smallest z for which the intervals of one draw cover all its true differences."""
        true, rate = given

        def covered(z: Array) -> Array:
            found = newcombe(RateSample(rate[i], trials[i]), RateSample(rate[j], trials[j]), z)
            difference = true[i] - true[j]
            return (~both | ((found.low <= difference) & (difference <= found.high))).all()

        return _smallest(covered, rate.dtype, 14)

    z = jnp.quantile(jax.lax.map(needed, (true, drawn), batch_size=min(256, draws)), level)
    a, b = (RateSample(*(jnp.expand_dims(v, axis) for v in sample)) for axis in (1, 0))
    found = newcombe(a, b, z)
    own = jnp.eye(len(trials), dtype=bool)
    return Bounds(*(jnp.where(own & ~jnp.isnan(v), 0, v) for v in found))


def max_t(estimate: Any, replicates: Any, level: ArrayLike = 0.95) -> Bounds:
    """Simultaneous intervals for any metrics from bootstrap replicates, of the shape of the estimate.

    The standard error of a cell is the spread of its replicates; the factor is the quantile of the largest
    standardized error over all cells of a replicate. Cells may depend on each other (overlapping groups,
    several metrics of the same rows). In groups of tens of rows rates are skewed and `simultaneous_rates` is
    the better choice.

    Args:
        estimate: metrics of the data, [...]; NaN cells stay NaN.
        replicates: metrics of the resamples [resamples, ...] (`lrn.fair.bootstrap`); NaN replicates of a cell
            are left out.
        level: the joint chance, in (0, 1); may be traced.

    Returns:
        Limits [...]; NaN for a cell without spread, of which nothing can be said.

    Raises:
        InputError: the shapes do not match, there are fewer than two replicates, or the level is out of
            range.
    """
    check_level(level)
    estimate, replicates = (jnp.asarray(v) * 1.0 for v in (estimate, replicates))
    if replicates.shape[1:] != estimate.shape or replicates.shape[0] < 2:
        raise check.InputError(
            f"replicates must be [resamples, ...] with the shape {estimate.shape} of the estimate and two "
            f"resamples or more, got {replicates.shape}; put the resamples first."
        )
    known = ~jnp.isnan(replicates) & ~jnp.isnan(estimate)[None]
    number = known.sum(axis=0)
    mean = jnp.where(known, replicates, 0).sum(axis=0) / jnp.maximum(number, 1)
    square = jnp.where(known, (replicates - mean[None]) ** 2, 0).sum(axis=0) / jnp.maximum(number - 1, 1)
    # Equal replicates still differ from their mean by its rounding.
    least, most = (f(jnp.where(known, replicates, mean[None]), axis=0) for f in (jnp.min, jnp.max))
    usable = (number > 1) & (most - least > 8 * jnp.finfo(replicates.dtype).eps * jnp.abs(mean))
    error = jnp.where(usable, jnp.sqrt(jnp.where(usable, square, 1)), jnp.nan)
    sizes = jnp.where(known & usable[None], jnp.abs(replicates - estimate[None]) / error[None], 0)
    z = jnp.quantile(sizes.reshape(len(sizes), -1).max(axis=1), level)
    return Bounds(estimate, estimate - z * error, estimate + z * error)


def _shrunken(sample: RateSample) -> Array:
    known = sample.trials > 0
    return jnp.where(known, (jnp.where(known, sample.rate * sample.trials, 0) + 1) / (sample.trials + 2), 0.5)


def _joint_critical_value(sample: RateSample, level: Array) -> Array:
    """The smallest z with P(all standardized errors are at most z) >= level, by bisection; a scalar."""
    known, center = sample.trials > 0, _shrunken(sample)
    trials = jnp.where(known, sample.trials, 1)
    spread = jnp.sqrt(trials * center * (1 - center))

    def up_to(count: Array) -> Array:
        """P(hits <= count) for a whole count."""
        inside = (count >= 0) & (count < trials)
        k = jnp.where(inside, count, 0)
        chance = jax.scipy.special.betainc(jnp.maximum(trials - k, 1e-3), k + 1, 1 - center)
        return jnp.where(inside, chance, jnp.where(count < 0, 0, 1))

    def covered(z: Array) -> Array:
        # A count exactly at a limit is covered; the slack keeps rounding from deciding.
        reach = z * spread + 1e-4
        inside = up_to(jnp.floor(trials * center + reach)) - up_to(jnp.ceil(trials * center - reach) - 1)
        return jnp.where(known, inside, 1).prod()

    z = _smallest(lambda z: covered(z) >= level, center.dtype, 30)
    # The counts of one small group jump; its joint interval must not be narrower than its single one.
    z = jnp.maximum(z, jax.scipy.special.ndtri((1 + level) / 2))
    return jnp.where(jnp.isnan(sample.trials).any(), jnp.nan, z)


def _smallest(enough: Callable[[Array], Array], dtype: Any, rounds: int) -> Array:
    """The smallest z in (0, `_LARGEST`] with ``enough(z)``, which is monotone, by bisection; a scalar."""

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        fits = enough(middle)
        return jnp.where(fits, low, middle), jnp.where(fits, middle, high)

    return jax.lax.fori_loop(0, rounds, halve, (jnp.zeros((), dtype), jnp.full((), _LARGEST, dtype)))[1]
