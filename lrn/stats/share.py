"""Shares of seeds, such as the share of runs that diverged: exact binomial tests and intervals."""

from __future__ import annotations

from lrn import check
from lrn.stats.intervals import Interval


def share_test(k: int, n: int, bound: float, alternative: str = "greater") -> float:
    """The one-sided p of "the true share is above ``bound``" ("greater") or below it ("less").

    The test is exact: for a true share equal to the bound the chance of p <= alpha is at most alpha.

    Args:
        k: the number of runs in which the event happened.
        n: the number of runs.
        bound: a share, in [0, 1].
        alternative: "greater" or "less".

    Raises:
        ValueError: k or n is out of range, the bound is outside [0, 1], or the alternative is unknown.
    """
    _counts(k, n)
    check.between("bound", bound, 0.0, 1.0)
    check.choice("alternative", alternative, ("greater", "less"))
    from scipy.stats import binomtest

    return float(binomtest(k, n, bound, alternative=alternative).pvalue)


def share_interval(k: int, n: int, level: float = 0.95) -> Interval:
    """The share k / n with its exact interval (Clopper and Pearson, 1934).

    Raises:
        ValueError: k or n out of range, or a level outside (0, 1).
    """
    _counts(k, n)
    check.between("level", level, 1e-9, 1 - 1e-9)
    from scipy.stats import binomtest

    low, high = binomtest(k, n).proportion_ci(level, method="exact")
    return Interval(k / n, float(low), float(high))


def _counts(k: int, n: int) -> None:
    check.integer("n", n, 1)
    check.integer("k", k, 0)
    if k > n:
        raise check.InputError(f"k must be at most n, got {k} successes out of {n} trials.")
