"""The paired sign-flip permutation test: exact for up to 32 seeds, Monte Carlo beyond."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lrn import check
from lrn.stats import _input

EXACT_UP_TO = 32  # two halves of 16 differences: 65,536 partial sums each


def sign_flip_test(
    d: ArrayLike, alternative: str = "two-sided", resamples: int = 100_000, seed: int = 0
) -> float:
    """P-value of paired differences d [n] against "each difference is as likely as its negative".

    The statistic is the mean (its absolute value for "two-sided"), the reference set all 2^n assignments
    of signs, the observed one included, so p is never 0 and the test is exact at every n (Fisher, 1935;
    Pitman, 1937). "greater" finds a mean above 0. To test against a margin, pass ``d - margin``.

    Up to 32 differences all assignments are counted, without listing them: a sum over n signs is a sum over
    the first half plus one over the second, and for each first half a binary search counts the second
    halves that make it extreme. Beyond, p = (1 + hits) / (1 + resamples) over random signs (Phipson and
    Smyth, 2010); ``resamples`` and ``seed`` matter only then. Sums equal up to rounding count as ties. All
    differences zero give p = 1.

    Raises:
        ValueError: no differences, non-finite values, wrong rank, an unknown alternative, fewer than one
            resample, or a negative seed.
    """
    d = _input.sample("d", d)
    _input.alternative(alternative)
    check.integer("resamples", resamples, 1)
    check.integer("seed", seed)
    if alternative == "less":
        d = -d
    observed = float(d.sum())
    if alternative == "two-sided":
        observed = abs(observed)
    # Rounding differs with the order of a sum: without slack, assignments that tie would count by luck.
    threshold = observed - 1e-10 * float(np.abs(d).sum())
    if alternative == "two-sided" and threshold <= 0:
        return 1.0
    tail = (
        _exact_tail(d, threshold) if len(d) <= EXACT_UP_TO else _sampled_tail(d, threshold, resamples, seed)
    )
    # Flipping every sign negates the sum, so the two tails are equal.
    return min(1.0, 2 * tail) if alternative == "two-sided" else tail


def smallest_sign_flip_p(n: int, alternative: str = "two-sided") -> float:
    """The smallest p-value that `sign_flip_test` can give with n differences: 2^(1-n), one-sided 2^-n.

    A study whose threshold lies below it cannot succeed whatever the data: .25 at 3 seeds, .0625 at 5, .002
    at 10.

    Raises:
        ValueError: n < 1 or no whole number, or an unknown alternative.
    """
    check.integer("n", n, 1)
    _input.alternative(alternative)
    return min(1.0, 2.0 ** (1 - n)) if alternative == "two-sided" else 2.0**-n


def _signed_sums(d: np.ndarray) -> np.ndarray:
    """The sums of d [n] under every assignment of signs, [2^n]."""
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate([sums - value, sums + value])
    return sums


def _exact_tail(d: np.ndarray, threshold: float) -> float:
    """The fraction of all 2^n signed sums of d [n] that reach ``threshold``."""
    half = len(d) // 2
    first, second = _signed_sums(d[:half]), np.sort(_signed_sums(d[half:]))
    below = np.searchsorted(second, threshold - first, side="left")
    return float((len(second) - below).sum()) / (len(first) * len(second))


def _sampled_tail(d: np.ndarray, threshold: float, resamples: int, seed: int) -> float:
    """The observed assignment and ``resamples`` random ones: the fraction whose sum reaches ``threshold``."""
    rng = np.random.default_rng(seed)
    hits, left = 1, resamples
    while left:
        rows = min(left, max(1, 1_000_000 // len(d)))
        signs = rng.integers(0, 2, (rows, len(d)), dtype=np.int8)
        hits += int((np.where(signs, d, -d).sum(axis=1) >= threshold).sum())
        left -= rows
    return hits / (resamples + 1)
