"""The median of paired differences: an exact sign test, and the interval that order statistics give."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from lrn.stats import _input
from lrn.stats.intervals import Interval


def sign_test(
    x: ArrayLike, y: ArrayLike | None = None, margin: float = 0.0, alternative: str = "two-sided"
) -> float:
    """P-value of the median of x [n], or of the paired differences x - y, against ``margin``.

    The test is exact at every n and for every distribution, however skewed: under the null hypothesis a value
    lies above the margin with probability at most 1/2, so the number of such values is binomial (Arbuthnott,
    1710). The test is about the median; the mean of skewed data lies elsewhere. With ten seeds it rejects if
    nine values lie on one side. It finds a normal mean one standard deviation above the margin in .51 of
    studies, `mean_test` in .86. Values equal to the margin up to rounding count against the alternative.
    Dropping them, as is often done, would test whether more values lie above than below, which can be true
    with the median on the margin.

    Raises:
        ValueError: no values, lengths that differ, non-finite or masked values, wrong rank, a margin that is
            no finite number, or an unknown alternative.
    """
    d, noise = _input.differences(x, y, margin)
    _input.alternative(alternative)
    from scipy.stats import binomtest

    above = float(binomtest(int((d > noise).sum()), len(d), alternative="greater").pvalue)
    below = float(binomtest(int((d < -noise).sum()), len(d), alternative="greater").pvalue)
    return {"greater": above, "less": below}.get(alternative, min(1.0, 2 * min(above, below)))


def median_interval(x: ArrayLike, level: float = 0.95) -> Interval:
    """The median of x [n] with its exact interval: the k-th smallest to the k-th largest value.

    k is the largest number for which the interval covers the median with probability at least ``level``,
    whatever the distribution. The interval holds the margins that `sign_test` does not reject at 1 - level.
    Where the values are too few for such an interval (fewer than 6 at .95), its limits are infinite.

    Raises:
        ValueError: no values, non-finite or masked values, wrong rank, or a level outside (0, 1).
    """
    x = np.sort(_input.sample("x", x))
    _input.level(level)
    exponent, (scaled,) = _input.unit(x)  # the sum of the two middle values could overflow
    estimate = float(np.ldexp(np.median(scaled), exponent))
    from scipy.special import bdtr

    # The k-th smallest value lies above the median with the probability of fewer than k heads in n tosses.
    misses = 2 * bdtr(np.arange(len(x) // 2), len(x), 0.5)
    k = int((misses <= 1 - level).sum())
    low, high = (float(x[k - 1]), float(x[-k])) if k else (-math.inf, math.inf)
    return Interval(estimate, low, high)
