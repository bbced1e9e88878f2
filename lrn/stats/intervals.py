"""Confidence intervals for a mean, a difference of means, any statistic, and a proportion."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lrn import check
from lrn.stats import _input


class Interval(NamedTuple):
    """A point estimate with its confidence limits, in the units of the estimate."""

    estimate: float
    low: float
    high: float


def t_interval(x: ArrayLike, level: float = 0.95) -> Interval:
    """Student's interval for the mean of x [n]: mean ± t(n - 1) s / sqrt(n).

    Exact for normal data at every n >= 2, which no bootstrap is: at 3, 5, 10 and 20 seeds a nominal 95%
    percentile bootstrap covers about 76, 85, 90 and 93%. Equal values give the point.

    Raises:
        ValueError: fewer than two values, non-finite values, wrong rank, or a level outside (0, 1).
    """
    x = _input.sample("x", x, least=2)
    _input.level(level)
    exponent, (x,) = _input.unit(x)
    error = 0.0 if _input.constant(x) else float(x.std(ddof=1)) / math.sqrt(len(x))
    return _student(float(x.mean()), error, len(x) - 1, level, exponent)


def mean_interval(x: ArrayLike, level: float = 0.95) -> Interval:
    """The mean of the finite values of x [n] and `t_interval` around it, for what is shown and not tested.

    NaN stands for what cannot be told: limits of fewer than two values, the mean of none.
    """
    values = np.asarray(x, float)
    finite = values[np.isfinite(values)]
    if len(finite) > 1:
        return t_interval(finite, level)
    return Interval(float(finite[0]) if len(finite) else math.nan, math.nan, math.nan)


def welch_interval(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> Interval:
    """Welch's interval for mean(x) - mean(y) of independent samples [n], [m], variances not assumed equal.

    Degrees of freedom by Welch (1947) and Satterthwaite (1946). For arms that share their seeds take
    `t_interval` of the differences: it is narrower. Two constant samples give the point.

    Raises:
        ValueError: fewer than two values in a sample, non-finite values, wrong rank, or a level outside
            (0, 1).
    """
    x, y = _input.sample("x", x, least=2), _input.sample("y", y, least=2)
    _input.level(level)
    exponent, (x, y) = _input.unit(x, y)
    difference = float(x.mean() - y.mean())
    vx, vy = (0.0 if _input.constant(v) else float(v.var(ddof=1)) / len(v) for v in (x, y))
    if vx + vy == 0:
        return _student(difference, 0.0, 1.0, level, exponent)
    share = vx / (vx + vy)  # of the variance; squares of the variances themselves could underflow
    degrees = 1 / (share**2 / (len(x) - 1) + (1 - share) ** 2 / (len(y) - 1))
    return _student(difference, math.sqrt(vx + vy), degrees, level, exponent)


def _student(
    estimate: float, standard_error: float, degrees: float, level: float, exponent: int = 0
) -> Interval:
    """The interval in units of 2^exponent; without a standard error the point."""
    from scipy.special import stdtrit

    half = float(stdtrit(degrees, (1 + level) / 2)) * standard_error if standard_error else 0.0
    return Interval(*(float(v) for v in np.ldexp([estimate, estimate - half, estimate + half], exponent)))


def bca_interval(
    x: ArrayLike,
    level: float = 0.95,
    statistic: Callable[..., Any] = np.mean,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Bias-corrected and accelerated bootstrap interval for statistic(x), x [n] (Efron, 1987).

    For statistics that have no t interval (a median, a trimmed mean, a ratio), or skewed data. With few
    seeds it is too narrow: a nominal 95% interval of a normal mean covers about 90% at n = 10 and 93% at
    n = 20, so take `t_interval` for means.

    ``statistic`` maps [n] to a scalar; one that takes ``axis`` (as numpy's do) is called on all resamples at
    once. Equal values give the point. Where the correction does not exist (a jackknife without spread, as
    for the median of tied data), the answer is the percentile interval of the same resamples.

    Raises:
        ValueError: fewer than two values, non-finite or masked values, values so large or small that their
            cubes are no floats, wrong rank, a level outside (0, 1), fewer than one resample, a negative seed,
            or a statistic that is not one finite number on every resample.
    """
    x = _input.sample("x", x, least=2)
    _input.level(level)
    if x.any() and not 1e-90 < np.abs(x).max() < 1e90:  # a statistic need not scale with its values
        raise ValueError(
            f"the largest value of x is {np.abs(x).max():.3g} in size, and its cube is no float; give the "
            "metric in other units."
        )
    check.integer("resamples", resamples, 1)
    check.integer("seed", seed)
    value = np.asarray(statistic(x))
    if value.ndim:
        raise ValueError(f"statistic must map [n] to one number, got shape {value.shape}; use np.mean, say.")
    estimate = float(value)
    if not math.isfinite(estimate):
        raise ValueError(
            f"the statistic of x is {estimate}, not a finite number; use one defined for this x."
        )
    if _input.constant(x):
        return Interval(estimate, estimate, estimate)
    from scipy.stats import DegenerateDataWarning, bootstrap

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        result = bootstrap(
            (x,),
            statistic,
            n_resamples=resamples,
            batch=max(1, 1_000_000 // len(x)),
            confidence_level=level,
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    if not np.isfinite(result.bootstrap_distribution).all():
        raise ValueError(
            "the statistic is not finite on some resamples of x; use one that is defined for tied values."
        )
    low, high = (float(v) for v in result.confidence_interval)
    if not (math.isfinite(low) and math.isfinite(high)):
        tail = (1 - level) / 2
        low, high = (float(v) for v in np.quantile(result.bootstrap_distribution, [tail, 1 - tail]))
    return Interval(estimate, low, high)
