"""Trend over ordered levels with paired seeds: Page's L test and the slope of each seed."""

from __future__ import annotations

import functools
import math
import sys
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lrn.stats import _input
from lrn.stats.intervals import Interval, t_interval

# The exact distribution is computed up to this many levels and this much seeds * levels^3: .2 s at most.
EXACT_LEVELS, EXACT_WORK = 10, 30_000


class Trend(NamedTuple):
    """A trend over levels.

    slope: the mean slope over seeds with its t interval, in the metric's unit per unit of level.
    p: the p-value of Page's test. page_l: its statistic L.
    """

    slope: Interval
    p: float
    page_l: float


def trend_test(
    values: ArrayLike, levels: ArrayLike | None = None, alternative: str = "two-sided", level: float = 0.95
) -> Trend:
    """Test whether a metric rises ("greater") or falls ("less") with the level, on values [seeds, levels].

    p is that of Page's (1963) test. Within each seed the values are ranked (midranks for ties), and L is
    the sum over levels j of j times the rank sum at level j. Under the null hypothesis every order of a
    seed's values is equally likely. Up to 10 levels (with 30 seeds; with 240 at 5 levels) the
    distribution of L is exact, given the ties; beyond, it is the normal approximation with the
    tie-corrected variance, whose p is then right to .003. The test is for a monotone tendency, not for a
    straight line. L takes few values when there are few
    levels: at 10 seeds and a two-sided alpha of .05 it rejects a true null hypothesis with probability
        .031 for
    3 levels, .041 for 4, .045 for 5 and .049 for 6.

    The slope is the mean over seeds of each seed's least-squares slope over ``levels`` [levels], with its t
    interval. ``levels`` are the values of the swept quantity (default 0, 1, 2, ...), in any order. Seeds
    whose values are all equal give slope 0 and p = 1.

    Raises:
        ValueError: fewer than two seeds or three levels, values or levels that are not finite, wrong rank,
            levels that repeat or do not match the columns, an unknown alternative, or a level outside (0, 1).
    """
    values = _input.table("values", values, ("seeds", "levels"), least=(2, 3))
    x = np.arange(values.shape[1], dtype=float) if levels is None else _input.sample("levels", levels)
    if len(x) != values.shape[1]:
        raise ValueError(
            f"levels has {len(x)} entries and values has {values.shape[1]} columns; give one level a column."
        )
    if len(np.unique(x)) < len(x):
        raise ValueError(
            f"levels must be distinct, got {x.tolist()}; average the columns of a repeated level."
        )
    _input.alternative(alternative)
    _input.level(level)
    order = np.argsort(x)
    values, x = values[:, order], x[order]
    page_l, p = _page(values, alternative)
    return Trend(_slope(values, x, level), p, page_l)


def _slope(values: np.ndarray, x: np.ndarray, level: float) -> Interval:
    """The t interval over seeds of the least-squares slope of values [seeds, levels] over x [levels]."""
    up, (values,) = _input.unit(values)
    along, (x,) = _input.unit(x - x[0])
    centered = x - x.mean()
    # Subtracting the first level's value makes the slope of a constant seed exactly 0.
    slopes = (values - values[:, :1]) @ centered / (centered @ centered)
    return Interval(*(float(v) for v in np.ldexp(t_interval(slopes, level), up - along)))


def _page(values: np.ndarray, alternative: str) -> tuple[float, float]:
    """Page's L and its p-value for values [seeds, levels], levels in ascending order."""
    seeds, levels = values.shape
    # Twice the midrank, counted from 0: 2 (values below) + (values equal) - 1. These are whole numbers,
    # so ties in L are exact.
    one, other = values[:, :, np.newaxis], values[:, np.newaxis, :]
    ranks = 2 * (one > other).sum(axis=2) + (one == other).sum(axis=2) - 1
    weights = np.arange(1, levels + 1)
    statistic = int((ranks @ weights).sum())
    page_l = statistic / 2 + seeds * int(weights.sum())
    # Reversing every seed's order mirrors L about its mean, so the distribution is symmetric.
    center = float(weights.sum()) * seeds * (levels - 1)
    deviation = statistic - center
    if alternative != "greater":
        deviation = -deviation if alternative == "less" else abs(deviation)
    if levels <= EXACT_LEVELS and seeds * levels**3 <= EXACT_WORK:
        counts = functools.reduce(
            np.convolve, (_row_distribution(tuple(sorted(row))) for row in ranks.tolist())
        )
        tail = float(counts[np.arange(len(counts)) - center >= deviation].sum())
    else:
        tail = _normal_tail(deviation, ranks, weights)
    return page_l, min(1.0, 2 * tail) if alternative == "two-sided" else min(1.0, tail)


@functools.lru_cache(maxsize=256)
def _row_distribution(ranks: tuple[int, ...]) -> np.ndarray:
    """The probability of each value of sum_j j r_j over all orders of one seed's doubled ranks r.

    Dynamic programming over the set of ranks that the first levels have takes levels 2^levels additions,
    where a list of all orders would take levels! of them.
    """
    levels = len(ranks)
    largest = sum(j * r for j, r in enumerate(sorted(ranks), 1))
    taken = np.zeros((2**levels, largest + 1))
    taken[0, 0] = 1
    for subset in range(1, 2**levels):
        size = subset.bit_count()
        for i, rank in enumerate(ranks):
            if subset >> i & 1:
                step = size * rank
                # The last of `size` levels holds rank i with chance 1 / size.
                taken[subset, step:] += taken[subset ^ (1 << i), : largest + 1 - step] / size
    return taken[-1].copy()  # a view would keep the whole table alive in the cache


def _normal_tail(deviation: float, ranks: np.ndarray, weights: np.ndarray) -> float:
    """P(L - E[L] >= deviation) by the normal approximation, with the variance given the ties."""
    levels = ranks.shape[1]
    spread = ((ranks - (levels - 1)) ** 2).sum()  # doubled ranks of a seed have mean levels - 1
    variance = float(spread) * float(((weights - weights.mean()) ** 2).sum()) / (levels - 1)
    if variance == 0:
        return 1.0
    return max(0.5 * math.erfc(deviation / math.sqrt(2 * variance)), sys.float_info.min)  # no p is 0
