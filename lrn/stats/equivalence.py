"""Equivalence: two one-sided tests."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lrn.stats import _input
from lrn.stats.mean import mean_test
from lrn.stats.permutation import smallest_sign_flip_p


def equivalence_test(x: ArrayLike, y: ArrayLike | None = None, *, low: float, high: float) -> float:
    """P-value for "the mean of x [n], or of x - y, lies strictly between low and high".

    p is the larger p of two one-sided tests by `mean_test`, of mean <= low and of mean >= high. The test
    holds its level on skewed data, where `tost` rejects too often. p is never 0. With an infinite bound
    only the other side is tested.

    Raises:
        ValueError: as `mean_test`, or the bounds are not low < high, or both are infinite.
    """
    low, high = _bounds(low, high)
    return max(
        mean_test(x, y, bound, side)
        for bound, side in ((low, "greater"), (high, "less"))
        if math.isfinite(bound)
    )


def tost(d: ArrayLike, low: float, high: float) -> float:
    """P-value for "the mean of d [n] lies strictly between low and high" (Schuirmann, 1987).

    p is the larger p of two one-sided t tests, of mean <= low and of mean >= high. The t tests assume normal
    data; `equivalence_test` does not. d are paired differences or one sample. low and high, in the unit of d,
    are the largest differences that do not matter; fix them before the run. Equal values say nothing about a
    spread: between the bounds they give 2^-n, the least p of n signs, elsewhere 1.

    Raises:
        ValueError: fewer than two values, non-finite or masked values, wrong rank, or the bounds are not
            low < high, or both are infinite.
    """
    d = _input.sample("d", d, least=2)
    bounds = _bounds(low, high)
    if _input.constant(d):
        return smallest_sign_flip_p(len(d), "greater") if bounds[0] < d.mean() < bounds[1] else 1.0
    from scipy.special import stdtr

    exponent, (scaled,) = _input.unit(d)
    with np.errstate(over="ignore"):
        bounds = np.ldexp(bounds, -exponent)
    standard_error = float(scaled.std(ddof=1)) / math.sqrt(len(d))
    mean = float(scaled.mean())
    nearest = min(mean - bounds[0], bounds[1] - mean)  # the bound that is harder to reject
    return max(float(stdtr(len(d) - 1, -nearest / standard_error)), sys.float_info.min)


def _bounds(low: Any, high: Any) -> tuple[float, float]:
    bounds = _input.number("low", low, infinite=True), _input.number("high", high, infinite=True)
    if not bounds[0] < bounds[1]:
        raise ValueError(
            f"low must be below high, got {low} and {high}; give the bounds of equivalence in order."
        )
    if not any(map(math.isfinite, bounds)):
        raise ValueError(
            "low and high are both infinite, and every mean lies between; give one bound at least."
        )
    return bounds
