"""Two arms on the same seeds, compared in one call."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import ArrayLike

from lrn import check
from lrn.stats import _input
from lrn.stats.effects import hedges_g, probability_of_improvement
from lrn.stats.intervals import Interval, t_interval
from lrn.stats.permutation import sign_flip_test


class PairedComparison(NamedTuple):
    """What there is to say about x against y over n shared seeds; positive differences favour x."""

    n: int
    difference: Interval  # mean of x - y, t interval, in the units of the metric
    p: float  # sign-flip permutation test of the difference against the margin
    hedges_g: Interval  # g_z of x - y
    probability_of_improvement: Interval  # a run of x against a run of y


def paired_comparison(
    x: ArrayLike, y: ArrayLike, margin: float = 0.0, alternative: str = "two-sided", level: float = 0.95
) -> PairedComparison:
    """Compare x [n] with y [n], the same metric of two arms, entry i of both from the same seed.

    With "greater", p tests for mean(x - y) above ``margin`` (superiority by a margin); "less" for below. The
    p-value is not adjusted for other comparisons: see `holm`.

    Raises:
        ValueError: fewer than three pairs, lengths that differ, non-finite values, wrong rank, a margin that
            is not finite, an unknown alternative, or a level outside (0, 1).
    """
    x, y = _input.paired(x, y, least=3)
    check.between("margin", margin, -1e300, 1e300)
    d = x - y
    return PairedComparison(
        n=len(d),
        difference=t_interval(d, level),
        p=sign_flip_test(d - margin, alternative),
        hedges_g=hedges_g(d, level),
        probability_of_improvement=probability_of_improvement(x, y, level),
    )
