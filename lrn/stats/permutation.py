"""The paired sign-flip permutation test: exact for up to 32 seeds, Monte Carlo beyond."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from lrn import check
from lrn.stats import _input

EXACT_UP_TO = 32  # two halves of 16 differences: 65,536 partial sums each
RESAMPLES = 100_000
TIES = 1e-13  # a relative rounding error of a difference; sums within it are ties


def sign_flip_test(
    d: ArrayLike, alternative: str = "two-sided", resamples: int = RESAMPLES, seed: int = 0
) -> float:
    """P-value of paired differences d [n] against "each difference is as likely as its negative".

    The statistic is the mean (its absolute value for "two-sided"). The reference set is all 2^n
    assignments of signs, the observed one included, so p is never 0 and the test is exact at every n
    (Fisher, 1935; Pitman, 1937). "greater" tests for a mean above 0. The test assumes differences that
    are symmetric about 0; for a margin, or for skewed differences, use `mean_test`.

    Up to 32 differences all assignments are counted without being listed. The sum of the flipped
    differences is a partial sum over the first half plus a partial sum over the second half. For each
    partial sum of the first half a binary search counts the partial sums of the second half that make the
    assignment extreme. Beyond 32 differences p = (1 + hits) / (1 + resamples) over random signs (Phipson
    and Smyth, 2010); only then do ``resamples`` and ``seed`` matter. Differences that are all zero give p
    = 1.

    An assignment ties with the observed one when the differences whose signs it changes sum to zero, up to a
    part in 10^13 of *their* sizes. One outlier thus makes no ties among much smaller differences.

    Raises:
        ValueError: no differences, non-finite or masked values, wrong rank, an unknown alternative, fewer
            than one resample, or a negative seed.
    """
    d = _input.sample("d", d)
    _input.alternative(alternative)
    check.integer("resamples", resamples, 1)
    check.integer("seed", seed)
    above = alternative == "greater" or (alternative == "two-sided" and math.fsum(_roomy(d)) >= 0)
    p = tail(d if above else -d, TIES * np.abs(d), resamples, seed)
    # A flip of all signs negates the sum, so the two tails are equal.
    return min(1.0, 2 * p) if alternative == "two-sided" else p


def smallest_sign_flip_p(n: int, alternative: str = "two-sided") -> float:
    """The smallest p-value that `sign_flip_test` and `mean_test` can give with n differences.

    It is 2^(1-n), or one-sided 2^-n; beyond 32 differences the default 100,000 resamples determine it. A
    study whose threshold lies below it cannot succeed whatever the data: .25 at 3 seeds, .0625 at 5, .002
    at 10.

    Raises:
        ValueError: n is below 1 or no whole number, or the alternative is unknown.
    """
    check.integer("n", n, 1)
    _input.alternative(alternative)
    return min(1.0, (2 if alternative == "two-sided" else 1) * smallest_tail(n, RESAMPLES))


def smallest_tail(n: int, resamples: int) -> float:
    """The smallest value of `tail`."""
    return 2.0**-n if n <= EXACT_UP_TO else 1 / (resamples + 1)


def tail(d: np.ndarray, noise: np.ndarray, resamples: int, seed: int) -> float:
    """The fraction of assignments of signs to d [n] whose sum reaches that of d; ``noise`` [n] makes ties."""
    # An assignment that flips the differences in a set F lowers the sum of d by twice the sum over F. It
    # reaches the observed sum where the sum over F is at most 0, up to the noise of F alone.
    changed = _roomy(d - noise)
    return _exact_tail(changed) if len(d) <= EXACT_UP_TO else _sampled_tail(changed, resamples, seed)


def _roomy(values: np.ndarray) -> np.ndarray:
    """The values [n], divided by 2^64 if their sum could overflow."""
    return np.ldexp(values, -64) if np.abs(values).max() > 1e285 else values


def _subset_sums(values: np.ndarray) -> np.ndarray:
    """The sums of values [n] over every subset, [2^n]."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums


def _exact_tail(changed: np.ndarray) -> float:
    """The fraction of all 2^n subsets of ``changed`` [n] with a sum of at most 0."""
    half = len(changed) // 2
    first, second = _subset_sums(changed[:half]), np.sort(_subset_sums(changed[half:]))
    hits = np.searchsorted(second, -first, side="right")
    return float(hits.sum()) / (len(first) * len(second))


def _sampled_tail(changed: np.ndarray, resamples: int, seed: int) -> float:
    """The same fraction over the empty subset (the observed assignment) and ``resamples`` random subsets."""
    rng = np.random.default_rng(seed)
    hits, left = 1, resamples
    while left:
        rows = min(left, max(1, 1_000_000 // len(changed)))
        kept = rng.integers(0, 2, (rows, len(changed)), dtype=np.int8)
        hits += int((np.where(kept, 0.0, changed).sum(axis=1) <= 0).sum())
        left -= rows
    return hits / (resamples + 1)
