"""Equivalence: two one-sided t tests, and the interval that decides the same question."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lrn import check
from lrn.stats import _input
from lrn.stats.intervals import Interval, t_interval


def tost(d: ArrayLike, low: float, high: float) -> float:
    """P-value for "the mean of d [n] lies strictly between low and high" (Schuirmann, 1987).

    The larger p of two one-sided t tests, mean <= low and mean >= high. d are paired differences or one
    sample; low and high, in the same units, are the largest differences that do not matter and are to be
    fixed before the run. Equal values give 0 if they lie between the bounds and 1 if not.

    Raises:
        ValueError: fewer than two values, non-finite values, wrong rank, or bounds that are not low < high.
    """
    d = _input.sample("d", d, least=2)
    bounds = [_bound("low", low), _bound("high", high)]
    if not bounds[0] < bounds[1]:
        raise ValueError(
            f"low must be below high, got {low} and {high}; give the bounds of equivalence in order."
        )
    mean = float(d.mean())
    if _input.constant(d):
        return 0.0 if bounds[0] < mean < bounds[1] else 1.0
    from scipy.special import stdtr

    standard_error = float(d.std(ddof=1)) / math.sqrt(len(d))
    nearest = min(mean - bounds[0], bounds[1] - mean)  # the bound that is harder to reject
    return float(stdtr(len(d) - 1, -nearest / standard_error))


def tost_interval(d: ArrayLike, alpha: float = 0.05) -> Interval:
    """The t interval of level 1 - 2 alpha: it lies strictly within (low, high) exactly where tost(d) < alpha.

    Raises:
        ValueError: fewer than two values, non-finite values, wrong rank, or alpha outside (0, 0.5).
    """
    check.between("alpha", alpha, 0, 0.5)
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must lie strictly between 0 and 0.5, got {alpha}; choose for example 0.05.")
    return t_interval(d, level=1 - 2 * alpha)


def _bound(name: str, value: Any) -> float:
    check.between(name, value, -np.inf, np.inf)  # a number, and not NaN; an infinite bound tests one side
    return float(value)
