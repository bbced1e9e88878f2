"""Distributions, compared with scipy.stats, numerical integrals and their own samples."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats as scipy_stats

from lrn.rl import distributions as d

stats: Any = scipy_stats  # its type stubs are incomplete
RNG = np.random.RandomState(0)
LOGITS, OTHER = jnp.asarray(2 * RNG.randn(4, 5)), jnp.asarray(RNG.randn(4, 5))
MEAN, OTHER_MEAN = jnp.asarray(RNG.randn(4, 3)), jnp.asarray(RNG.randn(4, 3))
LOG_STD, OTHER_LOG_STD = (
    np.array([-1.0, 0.0, 0.5], np.float32),
    RNG.randn(4, 3).astype(np.float32) * 0.3,
)


def probabilities(logits):
    weights = np.exp(np.asarray(logits, np.float64))
    return weights / weights.sum(-1, keepdims=True)


def test_categorical_log_prob_entropy_and_kl():
    p, q = probabilities(LOGITS), probabilities(OTHER)
    action = np.array([0, 4, 2, 2])
    expected = [stats.rv_discrete(values=(range(5), row)).logpmf(a) for row, a in zip(p, action)]
    np.testing.assert_allclose(d.categorical_log_prob(LOGITS, action), expected, rtol=1e-5)
    np.testing.assert_allclose(d.categorical_entropy(LOGITS), stats.entropy(p, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(d.categorical_kl(LOGITS, OTHER), stats.entropy(p, q, axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(d.categorical_mode(LOGITS), p.argmax(-1))


def test_categorical_samples_follow_the_probabilities():
    n = 20_000
    noise = d.categorical_noise(jax.random.key(0), (n, 4, 5))
    samples = np.asarray(d.categorical_sample(jnp.broadcast_to(LOGITS, noise.shape), noise))
    for row in range(4):
        counts = np.bincount(samples[:, row], minlength=5)
        assert stats.chisquare(counts, n * probabilities(LOGITS)[row]).pvalue > 1e-3


def test_actions_out_of_range_are_nan_in_value_and_gradient():
    """A class or an action outside of the range has no probability: value and gradient are NaN."""
    for wrong in (-1, 5):
        value, slope = jax.value_and_grad(d.categorical_log_prob)(LOGITS[0], wrong)
        assert np.isnan(value)
        assert np.isnan(slope).all()
    mean, log_std = jnp.zeros(2), jnp.zeros(2)
    value, slope = jax.value_and_grad(d.tanh_normal_log_prob)(mean, log_std, jnp.array([0.5, 1.5]))
    assert np.isnan(value)
    assert np.isnan(slope[1])
    assert np.isfinite(d.tanh_normal_log_prob(mean, log_std, jnp.array([-1.0, 1.0])))


def test_the_value_of_an_action_among_masked_ones():
    x = jnp.array([[-jnp.inf, 2.0, -jnp.inf], [3.0, -jnp.inf, 5.0]])
    np.testing.assert_array_equal(d.of_action(x, jnp.array([1, 2])), [2.0, 5.0])
    slope = jax.grad(lambda x: (d.of_action(x, jnp.array([1, 2])) * jnp.array([2.0, 3.0])).sum())(x)
    np.testing.assert_array_equal(slope, [[0.0, 2.0, 0.0], [0.0, 0.0, 3.0]])


def test_impossible_actions_have_finite_entropy_kl_and_gradients():
    logits = jnp.array([0.0, 1.0, -jnp.inf])
    others = jnp.array([0.3, 0.1, -jnp.inf])
    assert d.categorical_entropy(logits) == pytest.approx(float(d.categorical_entropy(logits[:2])))
    assert d.categorical_kl(logits, others) == pytest.approx(float(d.categorical_kl(logits[:2], others[:2])))
    for f in (
        d.categorical_entropy,
        lambda x: d.categorical_kl(x, others),
        lambda x: d.categorical_kl(others, x),
    ):
        assert np.isfinite(jax.grad(f)(logits)).all()
    assert d.categorical_kl(jnp.zeros(3), others) == np.inf


def test_normal_log_prob_entropy_and_kl():
    x = RNG.randn(4, 3).astype(np.float32)
    std = np.exp(LOG_STD.astype(np.float64))
    by_scipy = [stats.multivariate_normal(m, np.diag(std**2)) for m in MEAN]
    expected = [dist.logpdf(row) for dist, row in zip(by_scipy, x)]
    np.testing.assert_allclose(d.normal_log_prob(MEAN, LOG_STD, x), expected, rtol=1e-5)
    np.testing.assert_allclose(
        d.normal_entropy(MEAN, LOG_STD), [dist.entropy() for dist in by_scipy], rtol=1e-5
    )

    def integrand(z, m, s, m2, s2):
        p, q = stats.norm(m, s), stats.norm(m2, s2)
        return p.pdf(z) * (p.logpdf(z) - q.logpdf(z))

    kl = d.normal_kl(MEAN, LOG_STD, OTHER_MEAN, OTHER_LOG_STD)
    s, s2 = (np.exp(np.broadcast_to(x, MEAN.shape)) for x in (LOG_STD, OTHER_LOG_STD))
    for row in range(2):
        parts = [
            scipy.integrate.quad(
                integrand, -12, 12, (MEAN[row, i], s[row, i], OTHER_MEAN[row, i], s2[row, i])
            )[0]
            for i in range(3)
        ]
        assert kl[row] == pytest.approx(sum(parts), rel=1e-4)


def test_normal_samples_follow_the_density():
    noise = jax.random.normal(jax.random.key(1), (5000, 4, 3))
    samples = np.asarray(d.normal_sample(jnp.broadcast_to(MEAN, noise.shape), LOG_STD, noise))
    for i in range(3):
        assert stats.kstest(samples[:, 0, i], "norm", (MEAN[0, i], np.exp(LOG_STD[i]))).pvalue > 1e-3


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def test_tanh_normal_by_change_of_variables_in_double_precision(double):
    mean, log_std = np.asarray(MEAN, np.float64), LOG_STD.astype(np.float64)
    noise = RNG.randn(4, 3)
    action, log_prob = d.tanh_normal_sample(jnp.asarray(mean), log_std, jnp.asarray(noise))
    u = mean + np.exp(log_std) * noise
    np.testing.assert_allclose(action, np.tanh(u), rtol=1e-12)
    expected = (stats.norm(mean, np.exp(log_std)).logpdf(u) - np.log1p(-(np.tanh(u) ** 2))).sum(-1)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-10)
    np.testing.assert_allclose(
        d.tanh_normal_log_prob(jnp.asarray(mean), log_std, action), expected, rtol=1e-8
    )


def test_tanh_normal_density_integrates_to_one(double):
    mean, log_std = jnp.array([0.7]), jnp.array([-0.4])

    def density(a):
        return float(jnp.exp(d.tanh_normal_log_prob(mean, log_std, jnp.array([a]))))

    assert scipy.integrate.quad(density, -1, 1)[0] == pytest.approx(1, abs=1e-6)
    half = scipy.integrate.quad(density, -1, float(d.tanh_normal_mode(mean)[0]))[0]
    assert half == pytest.approx(0.5, abs=1e-6)  # the greedy action is the median


def test_tanh_normal_stays_finite_where_tanh_rounds_to_one():
    mean = jnp.array([30.0, -30.0])
    action, log_prob = d.tanh_normal_sample(mean, jnp.zeros(2), jnp.zeros(2))
    np.testing.assert_array_equal(action, [1, -1])
    # log N(0; 0, 1) less log(1 - tanh(30)^2) = log 4 - 60, twice
    assert log_prob == pytest.approx(2 * (-0.5 * np.log(2 * np.pi) - np.log(4) + 60), rel=1e-6)

    def total(m):
        return d.tanh_normal_sample(m, jnp.zeros(2), jnp.ones(2))[1]

    np.testing.assert_allclose(jax.grad(total)(mean), [2, -2], atol=1e-5)
    assert np.isfinite(d.tanh_normal_log_prob(mean, jnp.zeros(2), action))
