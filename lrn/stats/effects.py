"""Effect sizes: Hedges g for paired and independent samples, and the probability of improvement."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from lrn.stats import _input
from lrn.stats.intervals import Interval


def hedges_g(d: ArrayLike, level: float = 0.95) -> Interval:
    """Hedges g of paired differences d [n]: g_z = J(n - 1) mean(d) / sd(d), sd with n - 1.

    g is Cohen's d_z (Lakens, 2013; standardized by the spread of the *differences*, not d_av) times the exact
    correction J(m) = Γ(m/2) / (sqrt(m/2) Γ((m-1)/2)), which makes it unbiased (Hedges, 1981, eq. 6e). g grows
    with the correlation between the arms: compare it only across studies of the same design.

    The interval is for the population value mean/sd and is exact for normal data: it inverts the noncentral
    t distribution of sqrt(n) d_z (Steiger and Fouladi, 1997), so it is not symmetric about g. Zero
    differences give 0; equal differences other than zero have no spread and give ±inf.

    Raises:
        ValueError: fewer than three values (J(1) = 0), non-finite values, wrong rank, or a level outside
            (0, 1).
    """
    _, (d,) = _input.unit(_input.sample("d", d, least=3))
    _input.level(level)
    mean = float(d.mean())
    if _input.constant(d):
        return _without_spread(mean)
    return _standardized(mean / float(d.std(ddof=1)), 1 / math.sqrt(len(d)), len(d) - 1, level)


def _without_spread(difference: float) -> Interval:
    g = math.copysign(math.inf, difference) if difference else 0.0
    return Interval(g, g, g)


def _standardized(d: float, scale: float, degrees: int, level: float) -> Interval:
    """g with its interval, where d / scale has a noncentral t distribution of noncentrality delta / scale."""
    correction = math.exp(math.lgamma(degrees / 2) - math.lgamma((degrees - 1) / 2)) / math.sqrt(degrees / 2)
    low, high = _noncentrality(d / scale, degrees, level)
    return Interval(correction * d, low * scale, high * scale)


def _noncentrality(t: float, degrees: int, level: float) -> tuple[float, float]:
    """The noncentralities under which an observed t has probability (1 ± level) / 2."""
    from scipy.special import chdtri, nctdtrinc, ndtri

    if t < 0:
        low, high = _noncentrality(-t, degrees, level)
        return -high, -low
    tail = (1 - level) / 2
    if t <= 300:
        return float(nctdtrinc(degrees, 1 - tail, t)), float(nctdtrinc(degrees, tail, t))
    # At large t scipy's inversion loses its digits and then its speed. t is (z + delta) / s, with z
    # standard normal and s^2 a chi-square over its degrees of freedom; at large t the spread of s
    # dominates. The square root of the sum of the two squared half-widths (Zou and Donner, 2008) is right
    # to a part in a thousand.
    by_spread = t * np.sqrt(chdtri(degrees, np.array([1 - tail, tail])) / degrees)
    half = np.hypot(t - by_spread, ndtri(tail))
    return float(t - half[0]), float(t + half[1])


def probability_of_improvement(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> Interval:
    """P(X > Y) + P(X = Y) / 2 for a run of arm x [n] against a run of arm y [m], with its interval.

    The estimate is the Mann-Whitney U divided by n m; .5 means no difference (Agarwal et al., 2021). The
    interval is Newcombe's method 5 (Statistics in Medicine 25, 2006, part 2): a score interval on the
    Hanley-McNeil variance. Unlike a bootstrap interval it has width when the arms do not overlap, as happens
    often with few seeds. A nominal 95% covers 93 to 98% from 5 runs on (normal and exponential runs). The
    interval takes runs as independent, so it is too wide for arms that share seeds and correlate (98 to 99%
    at a correlation of .5).

    Raises:
        ValueError: an empty sample, non-finite values, wrong rank, or a level outside (0, 1).
    """
    x, y = _input.sample("x", x), _input.sample("y", y)
    _input.level(level)
    from scipy.special import ndtri

    ordered = np.sort(y)
    below, up_to = (np.searchsorted(ordered, x, side=side) for side in ("left", "right"))
    estimate = float((below + up_to).sum()) / (2 * len(x) * len(y))
    z = float(ndtri((1 + level) / 2))
    low = _score_limit(estimate, len(x), len(y), z)
    return Interval(estimate, low, 1 - _score_limit(1 - estimate, len(x), len(y), z))


def _score_limit(estimate: float, n: int, m: int, z: float) -> float:
    """The theta in [0, estimate] that lies z standard errors below the estimate, by bisection."""

    def inside(theta: float) -> bool:
        shape = (1 - theta) / (2 - theta) + theta / (1 + theta)
        variance = theta * (1 - theta) * (1 + ((n + m) / 2 - 1) * shape) / (n * m)
        return (estimate - theta) ** 2 <= z**2 * variance

    low, high = 0.0, estimate
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if inside(middle) else (middle, high)
    return high
