"""Rates over simulated studies: false positives at alpha = .05 on null data, and coverage of intervals.

Every simulation calls the public function, on data from seed 0. Over 2,000 simulations a rate of .05 has a
standard error of .0049, so [.04, .06] would let a test of size .065 pass one time in five. Rates are taken
over 10,000 or 20,000 simulations, and the first 2,000 alone must lie in the band too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from scipy.special import ndtr

from experiments.bench import stats as bench
from lrn import stats

peers: Any = scipy.stats  # whose results pyright cannot see into
SEED = 0


def draws(simulations, *shape):
    return np.random.default_rng(SEED).normal(size=(simulations, *shape))


def assert_rate_is_alpha(rejected, within=0.01):
    rejected = np.asarray(rejected)
    assert len(rejected) >= 10_000
    assert rejected.mean() == pytest.approx(0.05, abs=within)
    assert 0.04 <= rejected[:2_000].mean() <= 0.06


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_sign_flip_rejects_true_nulls_at_alpha(alternative):
    assert_rate_is_alpha([stats.sign_flip_test(d, alternative) <= 0.05 for d in draws(10_000, 10)])


def test_sign_flip_needs_symmetry_not_normality():
    heavy = np.random.default_rng(SEED).standard_t(2, (10_000, 10))
    assert_rate_is_alpha([stats.sign_flip_test(d) <= 0.05 for d in heavy])


# The mean test. The full table, with more samples and more seeds, is `python -m experiments.bench stats`.

TABLE = bench.Args(studies=4_000, seed=5)


@pytest.fixture(scope="module", params=[8, 10, 20])
def table(request):
    """The rejection rates of plain and of guarded flips at a number of seeds, by distribution."""
    return request.param, bench.rates({**bench.LEVELS, **bench.POWERS}, request.param, TABLE)


def test_the_benchs_p_values_are_the_mean_tests():
    rng = np.random.default_rng(SEED)
    for n in (8, 10):
        d = np.concatenate([rng.normal(size=(30, n)), 1.5 - rng.exponential(size=(30, n))])
        p = bench.p_values(d, rng)
        assert p["guarded"] == pytest.approx([stats.mean_test(v, alternative="greater") for v in d])
        assert p["flips"] == pytest.approx([stats.sign_flip_test(v, "greater") for v in d])
        assert p["t"] == pytest.approx(peers.ttest_1samp(d, 0, axis=1, alternative="greater").pvalue)


def test_the_mean_test_holds_its_level_on_symmetric_data(table):
    rates = table[1]
    assert 0.04 <= rates["normal"]["guarded"] <= 0.06
    assert rates["uniform"]["guarded"] <= 0.06
    assert rates["Laplace"]["guarded"] <= 0.066  # two standard errors above .0592, the largest possible rate


@pytest.mark.parametrize("form", bench.SKEWED_RIGHT)
def test_the_mean_test_holds_its_level_on_skewed_data(table, form):
    n, rates = table
    left, right = rates[f"{form}, left"], rates[f"{form}, right"]
    assert left["flips"] > 0.1
    assert left["guarded"] <= 0.5 * left["flips"] + 0.005
    assert right["flips"] <= right["guarded"] <= 0.05
    if form == "exponential":
        assert left["guarded"] <= (0.06 if n == 20 else 0.07)


def test_the_mean_test_has_the_power_of_plain_flips_on_normal_data(table):
    n, rates = table
    for name in bench.POWERS:
        least = {8: 0.89, 10: 0.945, 20: 0.99}[n]
        assert rates[name]["guarded"] >= least * rates[name]["flips"]


def test_equivalence_is_accepted_at_its_boundary_at_alpha():
    for boundary, low, high in ((1, -4, 1), (-1, -1, 4)):
        p = [stats.equivalence_test(d + boundary, low=low, high=high) for d in draws(2_000, 10)]
        assert 0.04 <= np.mean(np.array(p) <= 0.05) <= 0.06


def test_equivalence_holds_where_the_t_tests_of_tost_do_not():
    d = np.random.default_rng(SEED).exponential(size=(2_000, 10)) - 1 + 0.5  # mean at the upper bound
    assert np.mean([stats.tost(v, -9, 0.5) <= 0.05 for v in d]) > 0.11
    assert np.mean([stats.equivalence_test(v, low=-9, high=0.5) <= 0.05 for v in d]) < 0.075


@pytest.mark.parametrize("form", ["normal", "log-normal, left", "exponential, right"])
def test_the_sign_test_is_exact_for_medians_however_skewed(form):
    rng = np.random.default_rng(SEED)
    draw = bench.LEVELS[form]
    d = draw(rng, (4_000, 15))
    median = np.median(draw(rng, (1, 1_000_000)))
    eleven, twelve = (float(peers.binom.sf(k - 1, 15, 0.5)) for k in (11, 12))  # or more above, of 15
    rejected = np.mean([stats.sign_test(v, margin=median, alternative="greater") <= 0.05 for v in d])
    assert eleven > 0.05 > twelve
    assert rejected == pytest.approx(twelve, abs=0.008)
    intervals = [stats.median_interval(v, 0.95) for v in d[:1_000]]
    assert np.mean([low <= median <= high for _, low, high in intervals]) >= 0.95


def test_sampled_sign_flip_rejects_true_nulls_at_alpha():
    p = [stats.sign_flip_test(d, resamples=199, seed=i) for i, d in enumerate(draws(10_000, 33))]
    assert_rate_is_alpha(np.array(p) <= 0.05)


@pytest.mark.parametrize(("boundary", "low", "high"), [(1, -4, 1), (-1, -1, 4)])
def test_tost_accepts_equivalence_at_its_boundary_at_alpha(boundary, low, high):
    assert_rate_is_alpha([stats.tost(d + boundary, low, high) <= 0.05 for d in draws(20_000, 10)], 0.005)


def test_tost_is_conservative_where_the_bounds_are_tight():
    assert np.mean([stats.tost(d + 0.3, -0.3, 0.3) <= 0.05 for d in draws(2_000, 10)]) <= 0.05


@pytest.mark.parametrize(
    ("tied", "alternative"),
    [
        (False, "greater"),
        (True, "two-sided"),
        pytest.param(True, "greater", marks=pytest.mark.slow),
        pytest.param(False, "two-sided", marks=pytest.mark.slow),
    ],
)
def test_trend_test_rejects_true_nulls_at_alpha(alternative, tied):
    values = draws(10_000, 10, 5)
    values = np.round(values * 2) if tied else values
    assert_rate_is_alpha([stats.trend_test(v, alternative=alternative).p <= 0.05 for v in values])


@pytest.mark.parametrize(("levels", "size"), [(3, 0.031), (4, 0.041)])
def test_trend_test_over_few_levels_is_as_conservative_as_documented(levels, size):
    rejected = [stats.trend_test(v).p <= 0.05 for v in draws(5_000, 10, levels)]
    assert np.mean(rejected) == pytest.approx(size, abs=0.01)


def test_trend_tests_normal_approximation_rejects_true_nulls_at_alpha():
    assert_rate_is_alpha([stats.trend_test(v).p <= 0.05 for v in draws(10_000, 3, 11)])


def test_holm_rejects_any_true_null_at_alpha():
    p = peers.ttest_1samp(draws(20_000, 5, 10), 0, axis=2).pvalue
    # Five independent nulls: 1 - (1 - .05 / 5)^5 = .049.
    assert_rate_is_alpha([stats.holm(row).min() <= 0.05 for row in p], 0.005)


def test_holm_rejects_any_true_null_at_alpha_beside_true_effects():
    p = peers.ttest_1samp(draws(20_000, 5, 10), 0, axis=2).pvalue
    p[:, :2] = 1e-9
    assert_rate_is_alpha([stats.holm(row)[2:].min() <= 0.05 for row in p])


def test_holm_holds_for_arms_that_share_a_control():
    arms = draws(2_000, 6, 10)
    p = peers.ttest_1samp(arms[:, 1:] - arms[:, :1], 0, axis=2).pvalue
    assert np.mean([stats.holm(row).min() <= 0.05 for row in p]) <= 0.055


def test_a_whole_study_on_null_data_rejects_at_alpha():
    # Five sign-flip tests under Holm: at 10 seeds p = 10 / 1024 is the largest below .05 / 5.
    family = draws(10_000, 5, 10)
    assert_rate_is_alpha(
        [stats.holm([stats.sign_flip_test(d) for d in study]).min() <= 0.05 for study in family]
    )


def misses(interval, samples, truth):
    return np.array([not low <= truth <= high for _, low, high in map(interval, samples)])


SLOW = pytest.mark.slow


@pytest.mark.parametrize("n", [3, pytest.param(5, marks=SLOW), pytest.param(10, marks=SLOW), 20])
def test_t_interval_covers_at_its_level_from_three_seeds_on(n):
    assert_rate_is_alpha(misses(stats.t_interval, draws(20_000, n) + 1, 1), 0.005)


def test_welch_interval_covers_at_its_level():
    samples = draws(10_000, 20) * np.repeat([1, 3], [12, 8])
    assert_rate_is_alpha(misses(lambda v: stats.welch_interval(v[:12], v[12:]), samples, 0))


def test_trend_slope_interval_covers_at_its_level():
    values = draws(10_000, 5, 4) + 0.3 * np.arange(4)
    assert_rate_is_alpha(misses(lambda v: stats.trend_test(v).slope, values, 0.3))


@pytest.mark.parametrize("delta", [0.0, 1.0])
def test_hedges_g_is_unbiased_and_its_interval_covers(delta):
    intervals = [stats.hedges_g(d + delta) for d in draws(20_000, 10)]
    # sd(g) is about .4 at delta = 1, so .012 is four standard errors.
    assert np.mean([g.estimate for g in intervals]) == pytest.approx(delta, abs=0.012)
    assert_rate_is_alpha([not g.low <= delta <= g.high for g in intervals], 0.005)


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_probability_of_improvement_interval_covers_at_about_its_level(n, shift):
    samples = draws(3_000, 2 * n)
    missed = misses(
        lambda v: stats.probability_of_improvement(v[:n] + shift, v[n:]), samples, ndtr(shift / 2**0.5)
    )
    assert 0.015 <= missed.mean() <= 0.065


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_share_interval_covers_at_least_its_level_whatever_the_proportion(n, level):
    proportions = np.linspace(0.001, 0.999, 333)
    covered = np.zeros_like(proportions)
    for k in range(n + 1):
        _, low, high = stats.share_interval(k, n, level)
        inside = (low <= proportions) & (proportions <= high)
        covered += inside * peers.binom.pmf(k, n, proportions)
    assert covered.min() >= level - 1e-12


# The bootstraps have no exact level at few seeds; their docstrings state the coverage measured here.


@pytest.mark.parametrize(("n", "covers"), [(3, 0.76), (5, 0.85), (10, 0.90), (20, 0.93)])
def test_percentile_bootstrap_of_a_mean_undercovers(n, covers):
    samples = draws(2_000, n)
    rng = np.random.default_rng(SEED)
    means = np.stack(
        [np.take_along_axis(samples, rng.integers(0, n, (2_000, n)), 1).mean(1) for _ in range(1_000)]
    )
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    assert ((low <= 0) & (high >= 0)).mean() == pytest.approx(covers, abs=0.03)
