"""Two arms on the same seeds, compared in one call."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lrn.stats import _input
from lrn.stats.effects import hedges_g, probability_of_improvement
from lrn.stats.intervals import Interval, t_interval
from lrn.stats.mean import mean_test


class PairedComparison(NamedTuple):
    """A comparison of x with y over shared seeds; positive differences favor x."""

    n: int  # the number of seeds
    difference: Interval  # the mean of x - y with its t interval, in the units of the metric
    p: float  # the p-value of the difference against the margin, by `mean_test`
    hedges_g: Interval  # g_z of x - y
    probability_of_improvement: Interval  # P(a run of x is above a run of y)


def paired_comparison(
    x: ArrayLike, y: ArrayLike, margin: float = 0.0, alternative: str = "two-sided", level: float = 0.95
) -> PairedComparison:
    """Compare x [n] with y [n], the same metric of two arms; entry i of both is the run of seed i.

    p comes from `mean_test`, which holds its level where the differences are skewed. "greater" tests whether
    mean(x - y) is above ``margin`` (superiority by a margin), "less" whether it is below. p is not
    adjusted for other comparisons: see `holm`.

    Raises:
        ValueError: fewer than three pairs, lengths that differ, non-finite values, wrong rank, a margin that
            is not finite, an unknown alternative, or a level outside (0, 1).
    """
    x, y = _input.paired(x, y, least=3)
    p = mean_test(x, y, margin, alternative)
    d = paired_differences(x, y)
    return PairedComparison(
        n=len(d),
        difference=t_interval(d, level),
        p=p,
        hedges_g=hedges_g(d, level),
        probability_of_improvement=probability_of_improvement(x, y, level),
    )


def paired_differences(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """The differences x - y [n]; all become their median where they differ by rounding alone.

    0.97 - 0.96 and 0.96 - 0.95 are not the same float; the spread of such differences would make an interval
    absurdly narrow and an effect size absurdly large.

    Raises:
        ValueError: as `paired_comparison`, from one pair on.
    """
    d, noise = _input.differences(x, y)
    return np.full_like(d, np.median(d)) if np.ptp(d) <= 2 * noise.max() else d
