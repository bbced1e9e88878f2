"""Binomial bounds and tests against SciPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lrn.check import InputError
from lrn.robust.clopper_pearson import failure_bound, lower_bound, majority

ALPHAS = (0.5, 0.1, 0.001, 1e-6)


@pytest.mark.parametrize("n", [1, 30, 1000, 100_000])
def test_the_bound_is_the_quantile_of_a_beta_distribution_and_never_above_it(n):
    near = np.arange(min(n, 40) + 1)
    counts = np.unique(np.r_[near, n - near, n // 2 + near // 2, np.linspace(0, n, 60).astype(int)])
    run = jax.jit(lambda alpha: (lower_bound(counts, n, alpha), failure_bound(counts, n, alpha)))
    for alpha in ALPHAS:
        low, failure = (np.asarray(value, np.float64) for value in run(alpha))
        alpha = float(np.float32(alpha))  # the level that the function got
        exact = np.where(counts > 0, stats.beta.ppf(alpha, np.maximum(counts, 1), n - counts + 1), 0)
        fails = np.where(counts > 0, stats.beta.ppf(1 - alpha, n - counts + 1, np.maximum(counts, 1)), 1)
        assert (low <= exact).all()
        assert (failure >= fails).all()
        np.testing.assert_allclose(low, exact, atol=3e-6)
        np.testing.assert_allclose(failure, fails, rtol=1e-5, atol=1e-9)
        # The radii that follow from the bounds above a half.
        sure = fails < 0.5
        radius, wanted = -stats.norm.ppf(failure[sure]), -stats.norm.ppf(fails[sure])
        np.testing.assert_allclose(radius, wanted, rtol=1e-4, atol=3e-6)


def test_the_largest_possible_radii_are_those_of_the_paper():
    # With every draw a success: 1.50, 2.46, 3.20 and 3.81 sigma.
    for n, radius in [(100, 1.50), (1000, 2.46), (10_000, 3.20), (100_000, 3.81)]:
        failure = float(-np.expm1(np.log(0.001) / n))
        assert -stats.norm.ppf(failure) == pytest.approx(radius, abs=6e-3)
        ours = failure_bound(n, n, 0.001) if n == 1000 else failure
        assert ours == pytest.approx(failure, rel=2e-5)


def test_the_majority_test_is_the_exact_two_sided_binomial_test():
    pairs = np.array([(a, b) for a in range(31) for b in range(a + 1)] + [(5200, 4800), (5130, 4870)])
    run = jax.jit(lambda alpha: majority(pairs[:, 0], pairs[:, 1], alpha))
    p = np.array([stats.binomtest(int(a), int(a + b), 0.5).pvalue if a + b else 1.0 for a, b in pairs])
    for alpha in (0.3, 0.1, 0.001):
        np.testing.assert_array_equal(run(alpha), p <= alpha)
    assert 20 < (p <= 0.001).sum() < 200


def test_vmap_over_levels_equals_a_loop():
    levels = jnp.asarray([0.2, 0.01])
    swept = jax.jit(jax.vmap(lambda alpha: lower_bound(jnp.asarray([3, 40, 50]), 50, alpha)))(levels)
    exact = stats.beta.ppf(np.asarray(levels)[:, None], [[3, 40, 50]], [[48, 11, 1]])
    np.testing.assert_allclose(swept, exact, atol=3e-6)


@pytest.mark.parametrize(("draws", "alpha"), [(0, 0.1), (2**24 + 1, 0.1), (10, 0.0), (10, 0.6), (1.5, 0.1)])
def test_arguments_out_of_range_are_refused(draws, alpha):
    with pytest.raises(InputError):
        lower_bound(1, draws, alpha)
