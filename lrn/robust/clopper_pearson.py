"""Exact binomial tails in float32: the Clopper-Pearson bound (1934) and the two-sided test of a fair coin.

Differences of log-factorials, as in an incomplete beta function, lose their digits: for 100,000 draws the
logarithms are of size 10^6, where the steps of float32 are .06. Here the logarithm of a binomial probability
is its value at the mode minus a deviance (Loader 2000), and the tail is this probability times a sum of
positive terms. Both keep about six digits. Where the last digits decide, the functions err on the safe side:
a bound is slightly too low, and a test does not reject.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array

MOST_DRAWS = 2**24  # float32 holds every whole number up to this one
_ITERATIONS = 12  # of Newton's method; fewer would give bounds that are too low
_TOLERANCE = 3e-6  # of a tail's logarithm, as a share of 1 + its size; above the errors that were seen


def check_alpha(alpha: Any) -> None:
    """Raise InputError unless 0 < ``alpha`` <= .5; a traced alpha passes."""
    check.positive("alpha", alpha)
    check.between("alpha", alpha, 0, 0.5)


def lower_bound(successes: ArrayLike, draws: int, alpha: ArrayLike) -> Array:
    """The one-sided Clopper-Pearson bound: with probability 1 - alpha or more, the true chance is above it.

    This is ``scipy.stats.beta.ppf(alpha, successes, draws - successes + 1)``, and never above that value.

    Args:
        successes: counts in 0..draws, of any shape.
        draws: the number of draws, 1 to `MOST_DRAWS`.
        alpha: the chance of error, above 0 and at most .5; may be traced.

    Returns:
        Chances in [0, 1], float32, of the shape of ``successes``.

    Raises:
        InputError: ``draws`` or ``alpha`` is out of its range.
    """
    k, _, gap = _solve(successes, draws, alpha)
    return jnp.maximum(k - gap, 0) / draws * (1 - 2.0**-22)


def failure_bound(successes: ArrayLike, draws: int, alpha: ArrayLike) -> Array:
    """``1 - lower_bound``, with all digits where the bound is near 1, and never below the exact value.

    Arguments and errors are those of `lower_bound`.
    """
    _, f, gap = _solve(successes, draws, alpha)
    return jnp.minimum((f + gap) / draws * (1 + 2.0**-22), 1)


def majority(first: ArrayLike, second: ArrayLike, alpha: ArrayLike) -> Array:
    """Whether the exact two-sided binomial test rejects, at level alpha, that both counts are equally likely.

    Args:
        first: the larger count, of any shape.
        second: the smaller count, of the shape of ``first``; ``first + second`` is at most `MOST_DRAWS`.
        alpha: the level, above 0 and at most .5; may be traced.

    Returns:
        Bools of the shape of ``first``; False where both counts are equal.

    Raises:
        InputError: ``alpha`` is out of its range.
    """
    check_alpha(alpha)
    k, f = jnp.asarray(first, jnp.float32), jnp.asarray(second, jnp.float32)
    tail, _ = _log_tail(jnp.maximum(k, 1), f, jnp.maximum(k - f, 0) / 2)
    # The distribution is symmetric, so the two-sided p-value is twice the tail.
    p_value = tail + math.log(2) + _TOLERANCE * (1 - tail)
    return (k > f) & (p_value <= jnp.log(jnp.asarray(alpha, jnp.float32)))


def _solve(successes: ArrayLike, draws: int, alpha: ArrayLike) -> tuple[Array, Array, Array]:
    """Successes k, failures f, and the gap for which the bound is (k - gap) / draws; the gap is rounded up.

    The gap is the unknown because it is subtracted from whole numbers only. A solution for the bound
    itself would lose the digits of its distance from the share of successes.
    """
    check.integer("draws", draws, 1)
    check.between("draws", draws, 1, MOST_DRAWS)
    check_alpha(alpha)
    k = jnp.asarray(successes, jnp.float32)
    f = draws - k
    at_least_one = jnp.maximum(k, 1)
    least, most = 2.0**-20, at_least_one * (1 - 2.0**-20)
    log_alpha = jnp.log(jnp.asarray(alpha, jnp.float32))
    target = log_alpha - _TOLERANCE * (1 - log_alpha)

    def newton(_: int, gap: Array) -> Array:
        # The logarithm of the tail is concave in the chance, so Newton's method comes from below, and a bound
        # that has not converged is too low.
        tail, terms = _log_tail(at_least_one, f, gap)
        return jnp.clip(gap + (tail - target) * terms * (1 - gap / at_least_one), least, most)

    start = jnp.sqrt(-2 * target * (f + 1) * at_least_one / draws)  # of the normal approximation
    gap = jax.lax.fori_loop(0, _ITERATIONS, newton, jnp.minimum(start, at_least_one * 0.9))
    return k, f, jnp.where((k > 0) & (gap < most), gap * (1 + 2.0**-22), k)


def _log_tail(k: Array, f: Array, gap: Array) -> tuple[Array, Array]:
    """The logarithm of P(X >= k) for X ~ Binomial(k + f, (k - gap) / (k + f)), and P(X >= k) / P(X = k).

    Args:
        k: successes, 1 or more. f: failures. gap: in [0, k).
    """
    odds = (k - gap) / jnp.where(f + gap > 0, f + gap, 1)

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        _, term, total = carry
        return jnp.any(term > 1e-8 * total)

    def add(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        j, term, total = carry
        term = term * (jnp.maximum(f - j, 0) / (k + 1 + j) * odds)
        return j + 1, term, total + term

    one = jnp.ones_like(gap)
    _, _, terms = jax.lax.while_loop(unfinished, add, (jnp.zeros(()), one, one))
    deviance = k * _excess(-gap / k) + jnp.where(f > 0, f * _excess(gap / jnp.maximum(f, 1)), gap)
    failures = jnp.maximum(f, 1)
    # With Stirling's formula, the logarithm of the probability of k at the chance k / (k + f).
    at_mode = (
        _stirling_error(k + f) - _stirling_error(k) - _stirling_error(failures)
        - 0.5 * jnp.log(2 * math.pi * (k / (k + f)) * failures)
    )  # fmt: skip
    return jnp.where(f > 0, at_mode, 0) - deviance + jnp.log(terms), terms


def _excess(u: Array) -> Array:
    """``u - log(1 + u)`` for u > -1, with all digits for small u."""
    # log(1 + u) = 2 artanh(r), and u - 2r = u r.
    r = u / (2 + u)
    square = r * r
    series = sum((square**i / (2 * i + 3) for i in range(1, 7)), jnp.full_like(r, 1 / 3))
    return jnp.where(jnp.abs(u) < 0.5, u * r - 2 * r * square * series, u - jnp.log1p(u))


def _stirling_error(n: Array) -> Array:
    """``log(n!)`` minus Stirling's formula, for whole n >= 1."""
    small = jax.lax.lgamma(n + 1) - (n + 0.5) * jnp.log(n) + n - 0.5 * math.log(2 * math.pi)
    square = 1 / (n * n)
    return jnp.where(n < 8, small, (1 / 12 - square * (1 / 360 - square / 1260)) / n)
