"""lrn.stats against scipy, statsmodels, closed forms and exhaustive counts; degenerate and bad input."""

from __future__ import annotations

import itertools
import math
import pickle
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.stats
from scipy.integrate import quad
from scipy.special import chdtri, ndtr
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from lrn import stats

peers: Any = scipy.stats  # whose results pyright cannot see into
loose: Any = stats  # for arguments of the wrong type
ALTERNATIVES = ("two-sided", "greater", "less")


def normal(*shape, seed=0, mean=0.4):
    return np.random.default_rng(seed).normal(mean, 1, shape)


# Intervals


def test_mean_interval_is_that_of_the_finite_values():
    x = np.array([0.3, np.nan, 0.5, 0.1, np.inf])
    assert stats.mean_interval(x, 0.9) == stats.t_interval(x[[0, 2, 3]], 0.9)
    assert stats.mean_interval([0.3, np.nan])[0] == 0.3
    assert np.isnan(stats.mean_interval([0.3, np.nan])[1:]).all()
    assert np.isnan(stats.mean_interval([])).all()


@pytest.mark.parametrize("n", [2, 3, 10, 50])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_t_interval_is_scipys_and_statsmodels(n, level):
    x = normal(n, seed=n)
    ours = stats.t_interval(x, level)
    assert ours.estimate == pytest.approx(x.mean())
    assert ours[1:] == pytest.approx(peers.ttest_1samp(x, 0).confidence_interval(level))
    assert ours[1:] == pytest.approx(DescrStatsW(x).tconfint_mean(1 - level))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 9), (30, 4)])
def test_welch_interval_is_scipys_and_statsmodels(n, m):
    x, y = 3 * normal(n, seed=n), normal(m, seed=m + 100)
    ours = stats.welch_interval(x, y, 0.9)
    assert ours.estimate == pytest.approx(x.mean() - y.mean())
    peer = peers.ttest_ind(x, y, equal_var=False).confidence_interval(0.9)
    assert ours[1:] == pytest.approx(peer)
    peer = CompareMeans(DescrStatsW(x), DescrStatsW(y)).tconfint_diff(0.1, usevar="unequal")
    assert ours[1:] == pytest.approx(peer)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (3, 10), (499, 1000)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_share_interval_is_statsmodels_scipys_and_the_binomial_tails(k, n, level):
    ours = stats.share_interval(k, n, level)
    assert ours.estimate == k / n
    assert ours[1:] == pytest.approx(proportion_confint(k, n, 1 - level, method="beta"))
    assert ours[1:] == pytest.approx(tuple(peers.binomtest(k, n).proportion_ci(level, "exact")))
    if 0 < k < n:
        assert peers.binom.sf(k - 1, n, ours.low) == pytest.approx((1 - level) / 2)
        assert peers.binom.cdf(k, n, ours.high) == pytest.approx((1 - level) / 2)


# Sign-flip test


def exhaustive_sign_flip(d, alternative):
    """The definition, in exact rational arithmetic."""
    sign = {"greater": 1, "less": -1}.get(alternative)
    fold = abs if sign is None else lambda total: sign * total
    observed = fold(sum(d))
    hits = sum(
        fold(sum(s * v for s, v in zip(signs, d))) >= observed
        for signs in itertools.product((1, -1), repeat=len(d))
    )
    return hits / 2 ** len(d)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize(
    "d",
    [
        [3],
        [0, 0],
        [-1, 1],
        [1, 2, 3],
        [0, 0, 5, -1],
        [1, 1, 1, 1, -1, 2, -3, 4],
        [Fraction(i, 10) for i in (1, 2, 3, -4, 5, 6, 1)],  # tenths give ties that float sums would break
        [Fraction(i, 3) for i in (1, 1, 1, -1, -2, 3, 5, 7, -9)],
        [10**9, 1, -1, 2, 3, 1],
    ],
    ids=str,
)
def test_sign_flip_is_the_exhaustive_count(d, alternative):
    ours = stats.sign_flip_test([float(v) for v in d], alternative)
    assert ours == exhaustive_sign_flip(d, alternative)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("n", [2, 5, 10, 13])
def test_sign_flip_is_scipys(n, alternative):
    d = normal(n, seed=n)
    peer = peers.permutation_test((d,), np.mean, permutation_type="samples", alternative=alternative)
    assert stats.sign_flip_test(d, alternative) == pytest.approx(peer.pvalue)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_sign_flip_of_signed_ranks_is_wilcoxons_exact_test(alternative):
    d = normal(25, seed=3)
    ranks = np.sign(d) * peers.rankdata(np.abs(d))
    peer = peers.wilcoxon(d, alternative=alternative, method="exact").pvalue
    assert stats.sign_flip_test(ranks, alternative) == pytest.approx(peer)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize(
    "d",
    [
        [1e10] + [0.125] * 9,
        [1e10] + [0.125] * 8 + [-0.125],
        [1e10, -1e10] + [0.125] * 5 + [-0.125] * 2,
        [1e300, 1e-300, 1e-300, -1e-300, 2e-300],
        [1.7e308] * 6 + [-1e308],
        [2e-170, 1e-170, 1e-170, -1e-170],
        [5e-324, 5e-324, -1e-323, 1.5e-323],
    ],
    ids=str,
)
def test_sign_flip_counts_ties_at_any_spread(d, alternative):
    ours = stats.sign_flip_test(d, alternative)
    assert ours == exhaustive_sign_flip([Fraction(v) for v in d], alternative)


def test_an_outlier_makes_no_ties():
    d = np.array([1e10] + [0.1] * 9)
    assert stats.sign_flip_test(d) == stats.mean_test(d) == 2 / 1024
    assert stats.sign_flip_test(-d, "less") == stats.mean_test(-d, alternative="less") == 1 / 1024
    many = np.r_[d, [0.1] * 30]
    assert stats.sign_flip_test(many, resamples=999) == 2 / 1000
    assert stats.mean_test(many, resamples=999) == 2 / 1000


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_sign_flip_is_the_exhaustive_count_whatever_the_spread(seed, alternative):
    rng = np.random.default_rng(seed)
    d = rng.choice([-1, 1], 9) * 10.0 ** rng.uniform(-12, 12, 9)
    assert stats.sign_flip_test(d, alternative) == exhaustive_sign_flip([Fraction(v) for v in d], alternative)


def whole_number_tail(d):
    """P(signed sum >= sum(d)) for whole numbers d, by convolution."""
    counts = np.ones(1)
    for value in np.abs(d):
        step = np.zeros(2 * value + 1)
        step[0] += 0.5
        step[-1] += 0.5
        counts = np.convolve(counts, step)
    return counts[np.abs(d).sum() + d.sum() :].sum()


@pytest.mark.parametrize("n", [20, 32])
def test_sign_flip_is_exact_up_to_32(n):
    d = np.random.default_rng(n).integers(-5, 9, n)
    assert stats.sign_flip_test(d, "greater") == pytest.approx(whole_number_tail(d), rel=1e-9)


def test_sign_flip_beyond_32_is_monte_carlo_with_the_observed_assignment_counted():
    d = np.random.default_rng(1).integers(-5, 7, 60)
    p = whole_number_tail(d)
    ours = stats.sign_flip_test(d, "greater", resamples=40_000)
    assert 0.01 < p < 0.5
    assert ours == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 40_000))
    assert ours == stats.sign_flip_test(d, "greater", resamples=40_000)
    assert stats.sign_flip_test(np.ones(60), "greater", resamples=999) == 1 / 1000
    assert stats.sign_flip_test(np.ones(60), resamples=999) == 2 / 1000


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_sign_flip_rejects_exactly_as_often_as_its_p_value_says(alternative):
    # Under the null all 2^n patterns of signs are equally likely: P(p <= a) = a at every attainable p.
    size = np.abs(normal(8, seed=11))
    p = np.array(
        [stats.sign_flip_test(np.array(s) * size, alternative) for s in itertools.product((1, -1), repeat=8)]
    )
    for attained in np.unique(p):
        assert (p <= attained + 1e-12).mean() == attained


@pytest.mark.parametrize("n", [1, 3, 5, 10])
def test_smallest_sign_flip_p_is_attained(n):
    d = np.abs(normal(n))
    assert stats.smallest_sign_flip_p(n) == stats.sign_flip_test(d)
    assert stats.smallest_sign_flip_p(n, "less") == stats.sign_flip_test(-d, "less")
    assert stats.smallest_sign_flip_p(10) == pytest.approx(0.00195, abs=1e-5)


# The guarded test of a mean


def guarded(d, alternative):
    """The definition, from `exhaustive_sign_flip` and loops."""
    if alternative == "two-sided":
        return min(1, 2 * min(guarded(d, "greater"), guarded(d, "less")))
    d = [v if alternative == "greater" else -v for v in d]
    n = len(d)
    mean = sum(d) / n
    spread = math.sqrt(sum((v - mean) ** 2 for v in d) / n)
    right = sum(((v - mean) / spread) ** 4 for v in d if v > mean) / n
    seeds = max(right / (0.46 + 1.3 / n), mean / spread / 5)
    seeds = min(1, max(seeds, 1 - n**-0.25))
    k = 1 + 0.6 / max(n, 10)
    flips = exhaustive_sign_flip([Fraction(v).limit_denominator(10**9) for v in d], "greater")
    return max(flips ** (k * seeds), 2**-n)


SHORT = [0.5, 0.6, 0.4, 0.55, -0.5, 0.45, 0.62, 0.3]  # a short right tail


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize(
    "d",
    [
        SHORT,
        [-v for v in SHORT],
        [v + 0.6 for v in SHORT],  # all values above the margin
        [v + 3.5 for v in SHORT],  # so far above that the tail does not matter
        [0.5, 1.6, 0.4, 0.3, -0.2, 0.1, 2.4, -0.3],
        [1, -1, 1],
        list(normal(12)),
    ],
    ids=str,
)
def test_the_mean_test_is_its_definition(d, alternative):
    assert stats.mean_test(d, alternative=alternative) == pytest.approx(guarded(d, alternative), rel=1e-12)
    moved = np.array(d) + 2
    ours = stats.mean_test(moved, margin=2, alternative=alternative)
    assert ours == pytest.approx(guarded(d, alternative), rel=1e-9)
    other = normal(len(d), seed=3)
    ours = stats.mean_test(np.array(d) + other, other, alternative=alternative)
    assert ours == pytest.approx(guarded(d, alternative), rel=1e-9)


def test_the_guard_takes_effect_where_it_should():
    flips, ours = (f(SHORT, alternative="greater") for f in (stats.sign_flip_test, stats.mean_test))
    assert flips < 0.04 < 0.1 < ours
    flips, ours = (f(SHORT, alternative="less") for f in (stats.sign_flip_test, stats.mean_test))
    assert ours == flips**1.06  # the other tail is long


def test_the_mean_test_beyond_32_is_the_guarded_monte_carlo_p():
    d = 1.15 - np.random.default_rng(5).exponential(size=40)
    flips = stats.sign_flip_test(d, "greater", resamples=4_000, seed=3)
    half = [stats.mean_test(d, alternative="greater", resamples=4_000, seed=s) for s in (3, 4)]
    power = math.log(half[0]) / math.log(flips)
    assert 1 - 40**-0.25 <= power / (1 + 0.6 / 40) < 0.9
    assert half[0] != half[1]
    assert stats.mean_test(1 + d / 10, alternative="greater", resamples=4_000) == 1 / 4_001


@pytest.mark.parametrize("seed", range(20))
def test_p_falls_as_the_margin_moves_away(seed):
    rng = np.random.default_rng(seed)
    x = rng.choice([rng.normal(size=9), -rng.exponential(size=9), rng.integers(-2, 3, 9)])
    p = [
        stats.mean_test(x, margin=m, alternative="greater") for m in np.linspace(x.min() - 9, x.max() + 1, 60)
    ]
    assert p[0] == 2**-9
    assert p[-1] == 1
    assert (np.diff(p) >= -1e-12).all()  # up to rounding


@pytest.mark.parametrize("n", [8, 10])
@pytest.mark.parametrize("seed", range(3))
def test_the_level_of_the_mean_test_is_at_most_06_for_symmetric_differences(n, seed):
    # Given the sizes, all 2^n patterns of signs are equally likely for any symmetric distribution.
    rng = np.random.default_rng(seed)
    size = [rng.exponential(size=n), rng.integers(1, 4, n).astype(float), rng.standard_cauchy(n)][seed]
    p = np.array(
        [
            stats.mean_test(np.array(s) * size, alternative="greater")
            for s in itertools.product((1, -1), repeat=n)
        ]
    )
    assert (p <= 0.05).mean() <= 0.06
    assert (p >= 2**-n).all()


def test_paired_values_tell_what_is_rounding():
    x, y = np.array([0.97, 0.96, 0.95, 0.94, 0.93]), np.array([0.96, 0.95, 0.94, 0.93, 0.92])
    d = stats.paired_differences(x, y)
    assert len(set(d)) == 1
    assert len(set(x - y)) > 1
    assert stats.mean_test(x, y, 0.01) == 1
    assert stats.mean_test(x, y, 0.009, "greater") == 2**-5
    assert stats.sign_test(x, y, 0.01, "greater") == stats.sign_test(x, y, 0.01, "less") == 1
    assert stats.hedges_g(d) == (math.inf,) * 3
    mixed = stats.paired_differences([0.97, 0.5], [0.96, 0.25])
    assert (mixed == [0.97 - 0.96, 0.25]).all()


# Medians


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("n", [1, 6, 10, 25])
def test_sign_test_is_scipys_binomial_test(n, alternative):
    x = normal(n, seed=n)
    for margin in (0.0, 0.4, -1.0):
        peer = peers.binomtest(int((x > margin).sum()), n, alternative=alternative).pvalue
        assert stats.sign_test(x, margin=margin, alternative=alternative) == pytest.approx(peer)
    peer = peers.binomtest(int((x > x[::-1] + 0.2).sum()), n, alternative=alternative).pvalue
    if n % 2 == 0:  # the middle value would be compared with itself
        assert stats.sign_test(x, x[::-1], 0.2, alternative) == pytest.approx(peer)


def test_values_on_the_margin_speak_against_either_side():
    x = [0.0] * 24 + [1.0] * 16  # the median is 0, and no value lies below
    assert stats.sign_test(x, alternative="greater") == peers.binomtest(16, 40, alternative="greater").pvalue
    assert stats.sign_test(x, alternative="less") == 1
    assert stats.sign_test(x) == 1


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [6, 7, 10, 25, 40])
def test_median_interval_is_scipys_and_covers(n, level):
    x = normal(n, seed=n)
    ours = stats.median_interval(x, level)
    assert ours.estimate == np.median(x)
    peer = peers.quantile_test(x, q=0, p=0.5).confidence_interval(level)
    if not (math.isnan(peer.low) or math.isnan(peer.high)):
        assert ours[1:] == (peer.low, peer.high)
    k = int((x < ours.low).sum()) if math.isfinite(ours.low) else -1
    covered = 1 - 2 * peers.binom.cdf(k, n, 0.5)
    assert covered >= level
    assert 1 - 2 * peers.binom.cdf(k + 1, n, 0.5) < level  # and no narrower interval does


def test_median_interval_holds_the_margins_that_the_sign_test_keeps():
    x = normal(12, seed=2)
    _, low, high = stats.median_interval(x, 0.9)
    for margin in np.linspace(x.min() - 1, x.max() + 1, 101):
        assert (stats.sign_test(x, margin=margin) > 0.1) == (low < margin < high)


def test_few_values_have_no_median_interval():
    assert stats.median_interval([3.0, 1.0, 2.0, 5.0, 4.0]) == (3, -math.inf, math.inf)
    assert stats.median_interval([2.0]) == (2, -math.inf, math.inf)
    assert stats.median_interval([1.7e308, 1.6e308]).estimate == pytest.approx(1.65e308)


@pytest.mark.parametrize("n", [3, 10])
def test_skewness_is_scipys(n):
    x = np.exp(normal(n))
    assert stats.skewness(x) == pytest.approx(peers.skew(x, bias=False))
    assert stats.skewness(-1e13 * x) == pytest.approx(-peers.skew(x, bias=False))
    assert stats.skewness(TENTHS) == 0


# Holm, TOST and equivalence


@pytest.mark.parametrize("bounds", [(-1, 1), (-0.2, 3), (0.5, 0.6), (2, 3), (-math.inf, 1), (0, math.inf)])
def test_equivalence_is_two_one_sided_tests(bounds):
    d, other = normal(9, seed=4), normal(9, seed=5)
    low, high = bounds
    sides = [stats.mean_test(d, margin=low, alternative="greater")] if math.isfinite(low) else []
    sides += [stats.mean_test(d, margin=high, alternative="less")] if math.isfinite(high) else []
    assert stats.equivalence_test(d, low=low, high=high) == max(sides)
    assert stats.equivalence_test(d + other, other, low=low, high=high) == pytest.approx(max(sides))


@pytest.mark.parametrize("k", [1, 2, 7, 40])
def test_holm_is_statsmodels(k):
    p = np.random.default_rng(k).uniform(size=k) ** 3
    p[k // 2 :] = p[: k - k // 2]  # ties
    assert stats.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_is_the_closed_test_of_bonferroni():
    p = np.array([0.04, 0.01, 0.03, 0.6])
    for i, adjusted in enumerate(stats.holm(p)):
        subsets = [s for r in range(1, 5) for s in itertools.combinations(range(4), r) if i in s]
        assert adjusted == pytest.approx(min(1, max(len(s) * p[list(s)].min() for s in subsets)))


@pytest.mark.parametrize("n", [2, 5, 30])
@pytest.mark.parametrize("bounds", [(-1, 1), (-0.2, 3), (0.5, 0.6), (2, 3)])
def test_tost_is_statsmodels(n, bounds):
    d = normal(n, seed=n)
    assert stats.tost(d, *bounds) == pytest.approx(DescrStatsW(d).ttost_mean(*bounds)[0])


def test_tost_with_an_infinite_bound_is_a_one_sided_t_test():
    d = normal(9)
    peer = peers.ttest_1samp(d, 1.0, alternative="less").pvalue
    assert stats.tost(d, -math.inf, 1.0) == pytest.approx(peer)


# Effect sizes


def noncentral_t_cdf(t, degrees, nc):
    """P(T <= t), as an integral over the quantile of the chi-square variable in the denominator."""
    return quad(lambda u: ndtr(t * np.sqrt(chdtri(degrees, 1 - u) / degrees) - nc), 0, 1, limit=400)[0]


@pytest.mark.parametrize(("n", "correction"), [(3, 1 / math.sqrt(math.pi)), (5, math.sqrt(2 / math.pi))])
def test_hedges_g_at_the_closed_forms_of_its_correction(n, correction):
    d = normal(n)
    assert stats.hedges_g(d).estimate == pytest.approx(correction * d.mean() / d.std(ddof=1))


@pytest.mark.parametrize("effect", [0.0, 0.5, -1.2, 9.0, 90.0, 4000.0])
@pytest.mark.parametrize("n", [3, 10, 40])
def test_hedges_g_interval_inverts_the_noncentral_t(effect, n):
    d = normal(n, seed=5)
    d = (d - d.mean()) / d.std(ddof=1) + effect
    _, low, high = stats.hedges_g(d, 0.9)
    t, root = effect * math.sqrt(n), math.sqrt(n)
    if effect < 1000:
        assert noncentral_t_cdf(t, n - 1, low * root) == pytest.approx(0.95, abs=1e-3)
        assert noncentral_t_cdf(t, n - 1, high * root) == pytest.approx(0.05, abs=1e-3)
    else:  # the integrand's step is too sharp for quadrature, and z no longer matters
        limits = effect * np.sqrt(chdtri(n - 1, np.array([0.95, 0.05])) / (n - 1))
        assert (low, high) == pytest.approx(limits, rel=1e-6)


def test_hedges_g_interval_excludes_zero_where_the_t_interval_does():
    outcomes = set()
    for seed in range(40):
        d = normal(7, seed=seed, mean=0.8)
        g, t = stats.hedges_g(d), stats.t_interval(d)
        assert (g.low > 0) == (t.low > 0)
        outcomes.add(g.low > 0)
    assert outcomes == {True, False}


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 8), (10, 10)])
def test_probability_of_improvement_is_the_count_of_pairs_and_mann_whitneys_u(n, m):
    rng = np.random.default_rng(n)
    x, y = rng.integers(0, 6, n), rng.integers(0, 6, m)
    count = np.mean([(a > b) + (a == b) / 2 for a in x for b in y])
    ours = stats.probability_of_improvement(x, y)
    assert ours.estimate == pytest.approx(count)
    assert ours.estimate == pytest.approx(peers.mannwhitneyu(x, y).statistic / (n * m))
    assert ours.low <= ours.estimate <= ours.high


@pytest.mark.parametrize(("n", "m", "shift"), [(5, 5, 0.5), (10, 10, 5), (8, 20, -0.5), (1, 1, 0)])
def test_probability_of_improvement_interval_solves_newcombes_quartic(n, m, shift):
    x, y = normal(n, seed=1, mean=shift), normal(m, seed=2, mean=0)
    u, low, high = stats.probability_of_improvement(x, y, 0.9)
    # (u - q)^2 = z^2 q (1 - q) [1 + (N - 1) ((1 - q) / (2 - q) + q / (1 + q))] / (n m), denominators cleared.
    q = np.polynomial.Polynomial([0, 1])
    z2, both = peers.norm.ppf(0.95) ** 2, (2 - q) * (1 + q)
    bracket = both + ((n + m) / 2 - 1) * ((1 - q) * (1 + q) + q * (2 - q))
    roots = ((u - q) ** 2 * both - z2 / (n * m) * q * (1 - q) * bracket).roots()
    real = np.sort([r.real for r in roots if abs(r.imag) < 1e-6 and -1e-6 <= r.real <= 1 + 1e-6])
    assert (low, high) == pytest.approx((real[0], real[-1]), abs=1e-6)


def test_probability_of_improvement_is_the_published_estimate():
    # The example of ci.mann in the R package statpsych.
    x = [36, 44, 47, 42, 49, 39, 46, 31, 33, 48]
    y = [32, 39, 26, 35, 43, 27, 40, 37, 34, 29]
    assert stats.probability_of_improvement(x, y).estimate == 0.795


def test_probability_of_improvement_mirrors_and_ignores_monotone_scales():
    x, y = normal(9, seed=1), normal(7, seed=2)
    ours, swapped = stats.probability_of_improvement(x, y), stats.probability_of_improvement(y, x)
    assert ours == pytest.approx((1 - swapped.estimate, 1 - swapped.high, 1 - swapped.low))
    assert ours == stats.probability_of_improvement(np.exp(x), np.exp(y))


# Trend


@pytest.mark.parametrize(("seeds", "levels"), [(2, 3), (4, 4), (10, 5), (6, 8)])
def test_trend_test_is_scipys_page_test(seeds, levels):
    values = normal(seeds, levels, seed=levels) + 0.2 * np.arange(levels)
    up = peers.page_trend_test(values, method="exact")
    down = peers.page_trend_test(values[:, ::-1], method="exact")
    ours = stats.trend_test(values, alternative="greater")
    assert ours.page_l == up.statistic
    assert ours.p == pytest.approx(up.pvalue)
    assert stats.trend_test(values, alternative="less").p == pytest.approx(down.pvalue)
    assert stats.trend_test(values).p == pytest.approx(min(1, 2 * min(up.pvalue, down.pvalue)))


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize(
    "values",
    [
        [[1, 1, 2, 3], [2, 5, 5, 5]],
        [[3, 1, 1, 0], [0, 0, 0, 0]],
        [[1, 2, 3], [1, 3, 2], [2, 2, 4]],
        [[0, 1, 0], [1, 0, 1]],
    ],
    ids=str,
)
def test_trend_test_with_ties_is_the_count_over_all_orders(values, alternative):
    ranks = [peers.rankdata(row) for row in values]
    weights = np.arange(1, len(ranks[0]) + 1)
    orders = [[np.dot(weights, order) for order in itertools.permutations(row)] for row in ranks]
    every = np.array([sum(combination) for combination in itertools.product(*orders)])
    observed, center = sum(np.dot(weights, row) for row in ranks), every.mean()
    hits = {
        "greater": every >= observed - 1e-9,
        "less": every <= observed + 1e-9,
        "two-sided": np.abs(every - center) >= abs(observed - center) - 1e-9,
    }[alternative]
    ours = stats.trend_test(values, alternative=alternative)
    assert ours.page_l == pytest.approx(observed)
    assert ours.p == pytest.approx(hits.mean())


def test_trend_test_gives_the_statistic_of_the_example_in_scipys_manual():
    tutorials = [
        [3, 4, 3], [2, 2, 4], [3, 3, 5], [1, 3, 2], [2, 3, 2],
        [2, 4, 5], [1, 2, 4], [3, 4, 4], [2, 4, 5], [1, 3, 4],
    ]  # fmt: skip
    ours = stats.trend_test(tutorials, alternative="greater")
    assert ours.page_l == 133.5
    assert ours.p == pytest.approx(0.00127, abs=0.001)  # scipy: the normal approximation, without ties


@pytest.mark.parametrize(("seeds", "levels"), [(500, 4), (5, 14)])
def test_trend_test_of_large_tables_is_scipys_normal_approximation(seeds, levels):
    values = normal(seeds, levels, seed=levels) + 0.05 * np.arange(levels)
    peer = peers.page_trend_test(values, method="asymptotic")
    assert 1e-9 < peer.pvalue < 0.5
    assert stats.trend_test(values, alternative="greater").p == pytest.approx(peer.pvalue, rel=1e-6)


@pytest.mark.parametrize(("seeds", "levels"), [(2, 10), (3, 9), (240, 5)])
@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_trend_tests_normal_approximation_meets_the_exact_distribution_with_ties(
    seeds, levels, alternative, monkeypatch
):
    values = np.round(normal(seeds, levels, seed=seeds) * 2 + 0.4 * np.arange(levels) / seeds**0.5)
    exact = stats.trend_test(values, alternative=alternative).p
    monkeypatch.setattr("lrn.stats.trend.EXACT_WORK", 0)
    approximate = stats.trend_test(values, alternative=alternative).p
    assert approximate != exact
    # The continuity correction is half of the probability of one value of L.
    assert approximate == pytest.approx(exact, abs=0.02)


def test_trend_test_of_constant_seeds_has_no_slope():
    values = np.broadcast_to([[0.1], [0.7], [1 / 3]], (3, 5))
    assert stats.trend_test(values, [0.1, 0.3, 0.4, 1.7, 2]).slope == (0, 0, 0)


def test_trend_test_slope_is_the_t_interval_of_the_least_squares_slopes():
    values, x = normal(6, 4, seed=9), np.array([0.1, 0.5, 2.0, 3.0])
    slopes = [peers.linregress(x, row).slope for row in values]
    assert stats.trend_test(values, x, level=0.8).slope == pytest.approx(stats.t_interval(slopes, 0.8))


def test_trend_test_sorts_the_levels():
    values, x = normal(6, 4, seed=9), np.array([3.0, 0.5, 2.0, 1.0])
    order = np.argsort(x)
    assert stats.trend_test(values, x) == stats.trend_test(values[:, order], x[order])


def test_importing_the_package_costs_only_numpy():
    code = "import sys, lrn.stats; print([m for m in ('scipy', 'jax', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_touches_numpys_global_generator():
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002
    stats.sign_flip_test(normal(40), resamples=50)
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002


def test_answers_are_plain_floats_and_inputs_are_untouched():
    x, y = normal(6, seed=1).astype(np.float32), normal(6, seed=2).astype(np.float32)
    before = x.copy()
    answers = [
        *stats.t_interval(x), *stats.welch_interval(x, y),
        *stats.share_interval(2, 5), stats.sign_flip_test(x), stats.tost(x, -1, 1),
        *stats.hedges_g(x), *stats.probability_of_improvement(x, y),
        stats.smallest_sign_flip_p(5),
        *stats.trend_test([x, y]).slope, *stats.trend_test([x, y])[1:],
        stats.mean_test(x, y), stats.mean_test(x, alternative="less"), stats.sign_test(x), stats.skewness(x),
        stats.sign_test(x, alternative="less"), *stats.median_interval(x), *stats.median_interval([1, 2]),
        stats.equivalence_test(x, low=-1, high=1), stats.tost([1, 1], -2, 2),
    ]  # fmt: skip
    assert {type(a) for a in answers} == {float}
    assert (x == before).all()


# Degenerate samples give defined answers, without NaN or a warning (pytest makes warnings errors)

TENTHS = np.array([0.3, 0.4, 0.9, 0.7]) - np.array([0.2, 0.3, 0.8, 0.6])  # four times 0.1, up to rounding


@pytest.mark.parametrize(
    "interval",
    [
        stats.t_interval,
        lambda x: stats.welch_interval(x, np.zeros(3)),
    ],
)
@pytest.mark.parametrize("x", [np.zeros(5), np.full(8, -2.5), TENTHS], ids=["zeros", "equal", "tenths"])
def test_an_interval_without_spread_is_the_point(interval, x):
    assert interval(x) == pytest.approx((x.mean(),) * 3, rel=1e-12)


def test_welch_interval_with_one_constant_sample_keeps_the_others_spread():
    x = normal(6)
    assert stats.welch_interval(x, np.ones(4)) == pytest.approx(np.array(stats.t_interval(x)) - 1)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("n", [1, 10, 50])
def test_no_difference_gives_p_of_one(n, alternative):
    assert stats.sign_flip_test(np.zeros(n), alternative) == 1
    assert stats.mean_test(np.zeros(n), alternative=alternative) == 1
    assert stats.mean_test(np.full(n, 0.3), np.full(n, 0.2), 0.1, alternative) == 1
    assert stats.sign_test(np.zeros(n), alternative=alternative) == 1
    assert stats.trend_test(np.ones((n + 1, 4)), alternative=alternative) == ((0, 0, 0), 1, 25 * (n + 1))
    assert stats.trend_test(np.ones((n + 1, 12)), alternative=alternative).p == 1


@pytest.mark.parametrize(("value", "p"), [(0.1, 2**-4), (-0.9, 2**-4), (1, 1), (-1, 1), (3, 1)])
def test_equivalence_without_spread_asks_where_the_point_lies(value, p):
    assert stats.tost([value] * 4, -1, 1) == p
    assert stats.equivalence_test([value] * 4, low=-1, high=1) == p


def test_no_p_is_zero():
    far = 1e6 + normal(6)
    assert 0 < stats.tost(far / 1e300, -1, 1) < 1e-300
    assert stats.equivalence_test(far, low=0, high=1e9) == 2**-6
    rising = np.arange(12.0) + np.zeros((400, 1))
    assert 0 < stats.trend_test(rising).p < 1e-300


def test_effect_sizes_without_spread():
    assert stats.hedges_g(np.zeros(5)) == (0, 0, 0)
    assert stats.hedges_g(TENTHS) == (math.inf,) * 3
    assert stats.hedges_g(-TENTHS) == (-math.inf,) * 3


def test_probability_of_improvement_has_width_where_a_bootstrap_has_none():
    estimate, low, high = stats.probability_of_improvement(np.arange(10) + 100, np.arange(10))
    assert (estimate, high) == (1, 1)
    assert 0.5 < low < 0.9
    tied = stats.probability_of_improvement(np.ones(4), np.ones(4))
    assert tied.estimate == 0.5
    assert tied.low < 0.5 < tied.high


@pytest.mark.parametrize("n", [1, 10, 32, 50])
def test_a_difference_without_spread_has_the_smallest_p(n):
    for alternative, sign in (("greater", 1), ("less", -1), ("two-sided", 1)):
        smallest = stats.smallest_sign_flip_p(n, alternative)
        assert stats.mean_test(np.full(n, sign * 0.1), alternative=alternative) == smallest
        assert stats.sign_flip_test(np.full(n, sign * 0.1), alternative) == smallest


def test_one_seed():
    assert stats.sign_flip_test([2.0]) == 1
    assert stats.mean_test([2.0]) == stats.sign_test([2.0]) == 1
    assert stats.mean_test([2.0], alternative="greater") == 0.5
    assert stats.sign_flip_test([2.0], "greater") == 0.5


# Bad input

NAN = [1.0, math.nan, 2.0]
TABLE = np.zeros((3, 4))
BAD = {
    "empty": (lambda: loose.t_interval([]), "x must have at least 2"),
    "one value": (lambda: loose.t_interval([1.0]), "x must have at least 2 value"),
    "scalar": (lambda: loose.t_interval(1.0), "one-dimensional"),
    "matrix": (lambda: loose.t_interval(TABLE), r"one-dimensional, one value a run, got shape \(3, 4\)"),
    "nan": (lambda: loose.t_interval(NAN), r"non-finite value\(s\), the first \(nan\) at index 1"),
    "inf": (lambda: loose.t_interval([1, math.inf]), r"\(inf\) at index 1"),
    "none": (lambda: loose.t_interval([1, None]), "non-finite|real numbers"),
    "text": (lambda: loose.t_interval(["1", "2"]), r"real numbers, got \['1', '2'\]"),
    "complex": (lambda: loose.t_interval(np.array([1j, 2])), "real numbers"),
    "dates": (lambda: loose.t_interval(np.array(["2020-01-01"], "datetime64")), "real numbers"),
    "ragged": (lambda: loose.t_interval([[1, 2], [3]]), "real numbers"),
    "dict": (lambda: loose.t_interval({"a": 1}), "real numbers"),
    "level 0": (lambda: loose.t_interval([1, 2], 0), "level must lie strictly between"),
    "level 1": (lambda: loose.t_interval([1, 2], 1), "level must lie strictly between"),
    "level 95": (lambda: loose.t_interval([1, 2], 95), "level must lie between 0 and 1, got 95"),
    "level text": (lambda: loose.t_interval([1, 2], "95%"), "level must be a number"),
    "level nan": (lambda: loose.t_interval([1, 2], math.nan), "level must lie between"),
    "welch short": (lambda: loose.welch_interval([1, 2], [1]), "y must have at least 2"),
    "welch nan": (lambda: loose.welch_interval(NAN, [1, 2]), "x has 1 non-finite"),
    "k above n": (lambda: loose.share_interval(4, 3), "k must be at most n, got 4 successes out of 3"),
    "k negative": (lambda: loose.share_interval(-1, 3), "k must be at least 0"),
    "k float": (lambda: loose.share_interval(0.5, 3), "k must be a whole number"),
    "no trials": (lambda: loose.share_interval(0, 0), "n must be at least 1"),
    "flip empty": (lambda: loose.sign_flip_test([]), "d must have at least 1"),
    "flip alternative": (lambda: loose.sign_flip_test([1], "larger"), "alternative 'larger' is not known"),
    "flip nan": (lambda: loose.sign_flip_test(NAN), "d has 1 non-finite"),
    "flip resamples": (lambda: loose.sign_flip_test([1], resamples=0), "resamples must be at least 1"),
    "smallest n": (lambda: loose.smallest_sign_flip_p(0), "n must be at least 1"),
    "holm empty": (lambda: loose.holm([]), "p must have at least 1"),
    "holm above 1": (lambda: loose.holm([0.1, 1.5]), "between 0 and 1, got 1.5"),
    "holm below 0": (lambda: loose.holm([-0.1]), "between 0 and 1, got -0.1"),
    "holm nan": (lambda: loose.holm([0.1, math.nan]), "p has 1 non-finite"),
    "tost bounds": (lambda: loose.tost([1, 2], 1, -1), "low must be below high, got 1 and -1"),
    "tost equal bounds": (lambda: loose.tost([1, 2], 1, 1), "low must be below high"),
    "tost nan bound": (lambda: loose.tost([1, 2], math.nan, 1), "low must"),
    "tost text bound": (lambda: loose.tost([1, 2], 0, "1"), "high must be a number"),
    "tost short": (lambda: loose.tost([1], -1, 1), "d must have at least 2"),
    "g short": (lambda: loose.hedges_g([1, 2]), "d must have at least 3"),
    "poi empty": (lambda: loose.probability_of_improvement([], [1]), "x must have at least 1"),
    "poi nan": (lambda: loose.probability_of_improvement([1], NAN), "y has 1 non-finite"),
    "trend vector": (lambda: loose.trend_test([1, 2, 3]), r"two-dimensional \[seeds, levels\]"),
    "trend one seed": (lambda: loose.trend_test([[1, 2, 3]]), "at least 2 seeds, got 1"),
    "trend two levels": (lambda: loose.trend_test([[1, 2], [1, 2]]), "at least 3 levels, got 2"),
    "trend levels": (lambda: loose.trend_test(TABLE, [1, 2]), "levels has 2 entries and values has 4"),
    "trend repeat": (lambda: loose.trend_test(TABLE, [1, 2, 2, 3]), "levels must be distinct"),
    "trend nan": (lambda: loose.trend_test([NAN, NAN]), r"2 non-finite value\(s\), .* at index \(0, 1\)"),
    "trend alternative": (lambda: loose.trend_test(TABLE, alternative="up"), "alternative 'up'"),
    "mean empty": (lambda: loose.mean_test([]), "x must have at least 1"),
    "mean lengths": (lambda: loose.mean_test([1, 2], [1]), "got 2 and 1 values"),
    "mean margin": (lambda: loose.mean_test([1, 2], margin=math.inf), "margin must lie between"),
    "mean margin nan": (lambda: loose.mean_test([1, 2], margin=np.array(math.nan)), "margin must lie"),
    "mean margins": (lambda: loose.mean_test([1, 2], margin=np.ones(2)), r"margin must be one number"),
    "mean margin text": (lambda: loose.mean_test([1, 2], margin="0"), "margin must be a number"),
    "mean margin bool": (lambda: loose.mean_test([1, 2], margin=True), "margin must be a number"),
    "mean alternative": (lambda: loose.mean_test([1, 2], alternative="up"), "alternative 'up'"),
    "mean resamples": (lambda: loose.mean_test([1], resamples=0), "resamples must be at least 1"),
    "mean seed": (lambda: loose.mean_test([1], seed=-1), "seed must be at least 0"),
    "mean overflow": (lambda: loose.mean_test([1.7e308], [-1.7e308]), "too large for a float"),
    "differences lengths": (lambda: loose.paired_differences([1, 2], [1]), "got 2 and 1 values"),
    "sign alternative": (lambda: loose.sign_test([1, 2], alternative="up"), "alternative 'up'"),
    "sign margin": (lambda: loose.sign_test([1, 2], margin=math.nan), "margin must lie between"),
    "median level": (lambda: loose.median_interval([1, 2], 1), "level must lie strictly between"),
    "median empty": (lambda: loose.median_interval([]), "x must have at least 1"),
    "skewness short": (lambda: loose.skewness([1, 2]), "x must have at least 3"),
    "equivalence bounds": (lambda: loose.equivalence_test([1], low=1, high=0), "low must be below high"),
    "equivalence open": (
        lambda: loose.equivalence_test([1], low=-math.inf, high=math.inf), "both infinite",
    ),
    "tost open": (lambda: loose.tost([1, 2], -math.inf, math.inf), "both infinite"),
    "level array": (lambda: loose.t_interval([1, 2], np.array([0.9, 0.8])), "level must be one number"),
    "object text": (lambda: loose.t_interval(np.array(["1", "2"], object)), "real numbers"),
    "huge int": (lambda: loose.t_interval([10**400, 1]), "real numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_one_clear_sentence(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert ". " not in text
    assert text.endswith((".", "?"))


EVERY = {
    "t_interval": loose.t_interval,
    "welch_interval, x": lambda x: loose.welch_interval(x, [1.0, 2.0, 4.0]),
    "welch_interval, y": lambda x: loose.welch_interval([1.0, 2.0, 4.0], x),
    "median_interval": loose.median_interval,
    "mean_test": loose.mean_test,
    "mean_test, y": lambda x: loose.mean_test([1.0, 2.0, 4.0], x),
    "sign_test": loose.sign_test,
    "sign_test, y": lambda x: loose.sign_test([1.0, 2.0, 4.0], x),
    "sign_flip_test": loose.sign_flip_test,
    "equivalence_test": lambda x: loose.equivalence_test(x, low=-1, high=2.5),
    "tost": lambda x: loose.tost(x, -1, 2.5),
    "hedges_g": loose.hedges_g,
    "probability_of_improvement": lambda x: loose.probability_of_improvement(x, [1.0, 2.0, 4.0]),
    "skewness": loose.skewness,
    "holm": loose.holm,
    "paired_differences": lambda x: loose.paired_differences(x, [1.0, 2.0, 4.0]),
    "trend_test": lambda x: loose.trend_test([x, [1.0, 2.0, 4.0]]),
    "trend_test, levels": lambda x: loose.trend_test(np.arange(6.0).reshape(2, 3), x),
}
REFUSED = {
    "masked": np.ma.array([0.5, 99.0, 1.0], mask=[False, True, False]),
    "masked, in a list": [0.5, np.ma.masked, 1.0],
    "empty": [],
    "nan": [0.5, math.nan, 1.0],
    "inf": np.array([0.5, math.inf, 1.0]),
    "none": [0.5, None, 1.0],
    "text": ["a", "b", "c"],
    "numbers as text": np.array(["0.5", 0.2, 1.0], object),
    "complex": [0.5, 1j, 1.0],
    "a dict": {0.5: 1},
    "three dimensions": np.full((3, 3, 3), 0.5),
}
TAKEN = {  # other forms of the values 0, 1, 1 or .5, .25, 1
    "ints": (np.array([0, 1, 1]), [0.0, 1.0, 1.0]),
    "truth values": ([False, True, True], [0.0, 1.0, 1.0]),
    "numpy's truth values": (np.array([False, True, True]), [0.0, 1.0, 1.0]),
    "bytes": (np.array([0, 1, 1], np.uint8), [0.0, 1.0, 1.0]),
    "fractions": ([Fraction(1, 2), Fraction(1, 4), 1], [0.5, 0.25, 1.0]),
    "float32": (np.array([0.5, 0.25, 1.0], np.float32), [0.5, 0.25, 1.0]),
    "nothing masked": (np.ma.array([0.5, 0.25, 1.0], mask=False), [0.5, 0.25, 1.0]),
    "a tuple": ((0.5, 0.25, 1.0), [0.5, 0.25, 1.0]),
    "backwards in memory": (np.array([1.0, 0.25, 0.5])[::-1], [0.5, 0.25, 1.0]),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", EVERY)
def test_every_function_refuses_what_is_no_sample(name, kind):
    with pytest.raises(ValueError, match=r"must|has|real numbers") as caught:
        EVERY[name](REFUSED[kind])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", TAKEN)
@pytest.mark.parametrize("name", EVERY)
def test_every_function_takes_numbers_of_every_kind(name, kind):
    if name == "trend_test, levels" and kind in ("ints", "truth values", "numpy's truth values", "bytes"):
        return  # levels must be distinct
    given, same = TAKEN[kind]
    assert np.array_equal(flat(EVERY[name](given)), flat(EVERY[name](same)))


def flat(answer):
    """The numbers of an answer in one row."""
    if isinstance(answer, tuple):
        return np.concatenate([flat(a) for a in answer])
    return np.atleast_1d(np.asarray(answer, float))


# Values of all magnitudes: correct to the last digits, without NaN or division by zero

SCALED = {  # the power of the metric's unit in the answer
    "t_interval": (lambda x, y: stats.t_interval(x), 1),
    "welch_interval": (stats.welch_interval, 1),
    "median_interval": (lambda x, y: stats.median_interval(x), 1),
    "mean_test": (lambda x, y: stats.mean_test(x, y, alternative="greater"), 0),
    "mean_test, margin": (lambda x, y: stats.mean_test(x, margin=y[0], alternative="greater"), 0),
    "sign_test": (stats.sign_test, 0),
    "sign_flip_test": (lambda x, y: stats.sign_flip_test(x), 0),
    "equivalence_test": (lambda x, y: stats.equivalence_test(x, y, low=-abs(x[0]), high=abs(x[0])), 0),
    "tost": (lambda x, y: stats.tost(x, -3 * abs(x[0]), 3 * abs(x[0])), 0),
    "hedges_g": (lambda x, y: stats.hedges_g(x), 0),
    "probability_of_improvement": (stats.probability_of_improvement, 0),
    "skewness": (lambda x, y: stats.skewness(x), 0),
    "trend_test, values": (lambda x, y: stats.trend_test([x, y]).slope, 1),
    "trend_test, levels": (lambda x, y: stats.trend_test([x, y], levels=x).slope, 0),
}


@pytest.mark.parametrize("exponent", [-1000, -565, 565, 1000])
@pytest.mark.parametrize("name", SCALED)
def test_the_unit_of_the_metric_changes_nothing_else(name, exponent):
    function, grows = SCALED[name]
    x, y = normal(8, seed=1), normal(8, seed=2)
    ours = flat(function(np.ldexp(x, exponent), np.ldexp(y, exponent)))
    assert np.isfinite(ours).all()
    assert ours == pytest.approx(np.ldexp(flat(function(x, y)), grows * exponent), rel=1e-12)


MOVED = {  # whether a shift of all values changes the answer
    "t_interval": (lambda x, y: stats.t_interval(x), 1),
    "welch_interval": (stats.welch_interval, 0),
    "median_interval": (lambda x, y: stats.median_interval(x), 1),
    "mean_test": (stats.mean_test, 0),
    "mean_test, margin": (lambda x, y: stats.mean_test(x, margin=y[0]), 0),
    "sign_test": (stats.sign_test, 0),
    "equivalence_test": (lambda x, y: stats.equivalence_test(x, y, low=-1, high=2), 0),
    "tost": (lambda x, y: stats.tost(x, y[0] - 1, y[0] + 2), 0),
    "probability_of_improvement": (stats.probability_of_improvement, 0),
    "skewness": (lambda x, y: stats.skewness(x), 0),
    "trend_test, values": (lambda x, y: stats.trend_test([x, y]), 0),
    "trend_test, levels": (lambda x, y: stats.trend_test([x, y], levels=x).slope, 0),
}


@pytest.mark.parametrize("name", MOVED)
def test_values_near_1e13_are_told_apart(name):
    function, moves = MOVED[name]
    x, y = (np.random.default_rng(seed).integers(-40, 40, 8) * 0.25 for seed in (3, 8))
    if name == "trend_test, levels":
        x = np.array([0, 3, 1, 2, 7, 5, 4, 9.5])
    shift = 1e13  # values .002 apart
    ours = flat(function(x + shift, y + shift))
    assert ours == pytest.approx(flat(function(x, y)) + moves * shift, abs=0.01 if moves else 1e-3)
    if name == "t_interval":
        assert ours[2] - ours[1] > 1


def test_the_smallest_p_beyond_32_is_that_of_the_resamples():
    assert stats.smallest_sign_flip_p(32, "greater") == 2**-32
    assert stats.smallest_sign_flip_p(33, "greater") == 1 / 100_001
    assert stats.smallest_sign_flip_p(33) == 2 / 100_001
