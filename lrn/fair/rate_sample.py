"""Rates with the number of trials behind them, and the score intervals of Wilson and Newcombe."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.fair import inputs
from lrn.fair.confusion import confusion
from lrn.fair.rates import divide, hits_and_trials
from lrn.types import Array


class RateSample(NamedTuple):
    """Rates, each with the number of independent trials that would know it as well.

    rate: [..., groups], NaN without trials. trials: [..., groups]; with equal weights the count of trials.
    """

    rate: Array
    trials: Array


class Bounds(NamedTuple):
    """Estimates with lower and upper confidence limits, arrays of one shape."""

    estimate: Array
    low: Array
    high: Array


def rate_sample(
    name: str, y: Any, prediction: Any, group: Any, groups: int, weight: Any = None
) -> RateSample:
    """A rate of each group with its effective number of trials, [groups].

    With weights w of the trials the effective number is ``(sum w)^2 / sum w^2`` (Kish 1965). Trials of
    decisions that are known only as probabilities count by these probabilities.

    Args:
        name: a rate of `lrn.fair.rates.RATES`. The other arguments are those of
            `lrn.fair.confusion.confusion`.

    Raises:
        InputError: the rate is unknown, or `lrn.fair.confusion.confusion` refuses its arguments.
    """
    hits, trials = hits_and_trials(confusion(y, prediction, group, groups, weight), name)
    if weight is None:
        return RateSample(divide(hits, trials), trials)
    square = inputs.vector("weight", weight) ** 2
    _, squares = hits_and_trials(confusion(y, prediction, group, groups, square), name)
    return RateSample(divide(hits, trials), jnp.where(trials == 0, 0, divide(trials**2, squares)))


def critical_value(level: ArrayLike) -> Array:
    """The number of standard errors of a two-sided normal interval: 1.96 at .95; a scalar.

    Raises:
        InputError: the level lies outside of (0, 1).
    """
    check_level(level)
    return jax.scipy.special.ndtri((1 + jnp.asarray(level, jnp.result_type(float))) / 2)


def check_level(level: Any) -> None:
    """Raise InputError unless 0 < ``level`` < 1; a traced level passes."""
    check.positive("level", level)
    check.between("level", level, 0, 1 - 1e-9)


@jax.jit  # so that it is one program outside of jit
def wilson(sample: RateSample, z: ArrayLike) -> Bounds:
    """Wilson's score interval (1927) of each rate, [..., groups]; it has width at rates of 0 and 1.

    Args:
        sample: rates and trials. z: the critical value, such as `critical_value`; broadcasts.
    """
    rate, trials = sample
    share = z**2 / jnp.where(trials > 0, trials, jnp.nan)
    middle = (rate + share / 2) / (1 + share)
    half = jnp.sqrt(share * (rate * (1 - rate) + share / 4)) / (1 + share)
    # Rounding must not put the limit of a rate of 0 or 1 beside it.
    low = jnp.where(rate <= 0, rate, jnp.maximum(middle - half, 0))
    high = jnp.where(rate >= 1, rate, jnp.minimum(middle + half, 1))
    return Bounds(rate, low, high)


def newcombe(a: RateSample, b: RateSample, z: ArrayLike) -> Bounds:
    """Newcombe's interval for the signed difference of two independent rates, a minus b.

    The Wilson limits are squared and added (Newcombe 1998, Statistics in Medicine 17, method 10). The
    interval stays in [-1, 1] and holds its level in groups of tens of rows, where Wald's does not.

    Args:
        a, b: rates and trials whose shapes broadcast. z: the critical value; broadcasts.

    Returns:
        Differences with limits; NaN where a rate is not known.
    """
    (p, low_p, high_p), (q, low_q, high_q) = wilson(a, z), wilson(b, z)
    below = jnp.sqrt((p - low_p) ** 2 + (high_q - q) ** 2)
    above = jnp.sqrt((high_p - p) ** 2 + (q - low_q) ** 2)
    return Bounds(p - q, p - q - below, p - q + above)


def differences_from(sample: RateSample, reference: int, level: ArrayLike = 0.95) -> Bounds:
    """Each group's rate minus that of a reference group with Newcombe's interval, [..., groups].

    Each interval holds the level by itself; `lrn.fair.simultaneous` holds it for all at once. The entry of
    the reference group itself is 0 with limits 0.

    Raises:
        InputError: there is no such group, or the level lies outside of (0, 1).
    """
    groups = sample.rate.shape[-1]
    check.integer("reference", reference)
    check.between("reference", reference, 0, groups - 1)
    one = RateSample(*(value[..., reference, None] for value in sample))
    found = newcombe(sample, one, critical_value(level))
    own = jnp.broadcast_to(jnp.arange(groups) == reference, found.estimate.shape)
    return Bounds(*(jnp.where(own & ~jnp.isnan(value), 0, value) for value in found))
