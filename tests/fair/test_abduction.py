"""Posteriors of latent variables against the exact normal posterior and a fine grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from lrn.check import InputError
from lrn.fair.abduction import MetropolisConfig, expectation, importance, metropolis
from lrn.fair.quadrature import normal_nodes, quadrature

N = 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3)).astype(np.float32)
NOISE = 0.8
GRID = np.linspace(-9, 9, 1001)
BINARY = (RNG.uniform(size=(N, 3)) < 0.6).astype(np.float32)
STEEP = np.array([1.5, -0.7, 1.0], np.float32)


def gaussian(u, row):
    """x_i = u_1 + .5 u_2 + noise, u ~ N(0, I)."""
    mean = u[0] + 0.5 * u[1]
    return -jnp.sum(u**2) / 2 - jnp.sum((row - mean) ** 2) / (2 * NOISE**2)


def logistic(u, row):
    """Three answers with chances sigmoid(steep_i u)."""
    return jnp.sum(jax.nn.log_sigmoid((2 * row - 1) * STEEP * u))


def with_prior(u, row):
    return logistic(u[0], row) - u[0] ** 2 / 2


def exact_gaussian():
    """The posterior means [n, 2] and covariance of `gaussian`."""
    load = np.array([1, 0.5])
    cov = np.linalg.inv(np.eye(2) + 3 / NOISE**2 * np.outer(load, load))
    return X.sum(1)[:, None] / NOISE**2 * (cov @ load)[None], cov


@pytest.fixture(scope="module")
def by_grid():
    """The evidence, mean and standard deviation of `logistic`'s posterior for each row."""
    found = []
    for row in BINARY:

        def moment(k, row=row):
            chance = expit((2 * row - 1) * STEEP * GRID[:, None]).prod(1)
            return np.trapezoid(GRID**k * norm.pdf(GRID) * chance, GRID)

        z, first, second = (moment(k) for k in range(3))
        found.append((np.log(z), first / z, np.sqrt(second / z - (first / z) ** 2)))
    return np.array(found).T


def test_quadrature_is_exact(by_grid):
    evidence, mean, sd = by_grid
    found = jax.jit(lambda rows: quadrature(logistic, rows))(BINARY)
    np.testing.assert_allclose(found.log_evidence, evidence, atol=2e-6)
    np.testing.assert_allclose(found.mean, mean, atol=2e-6)
    np.testing.assert_allclose(found.sd, sd, atol=2e-6)
    np.testing.assert_allclose(found.weight.sum(1), 1, atol=1e-6)


def test_quadrature_of_normal_posteriors():
    def run(x, sd):
        return quadrature(lambda u, row: -((row - u) ** 2) / (2 * sd**2), x)

    found = jax.jit(run)
    wide = found(X[:, 0], 0.5)
    np.testing.assert_allclose(wide.mean, X[:, 0] / 1.25, atol=1e-4)
    np.testing.assert_allclose(wide.sd, np.sqrt(0.2), atol=1e-4)
    narrow = found(X[:, 0], 0.02)
    np.testing.assert_allclose(narrow.mean, X[:, 0] / 1.0004, atol=1e-5)
    np.testing.assert_allclose(narrow.sd, 0.02 / np.sqrt(1.0004), rtol=1e-4)
    np.testing.assert_allclose(
        narrow.log_evidence,
        norm.logpdf(X[:, 0], 0, np.sqrt(1.0004)) + np.log(np.sqrt(2 * np.pi) * 0.02),
        atol=1e-4,
    )


def standardized(estimate, wanted):
    return (np.asarray(estimate.mean) - wanted) / np.asarray(estimate.error)


def test_importance_sampling_is_within_its_stated_error(by_grid):
    run = jax.jit(
        lambda key: (
            expectation(importance(key, gaussian, X, 4000, 2), lambda u: u[1]),
            expectation(importance(key, with_prior, BINARY, 4000)),
            expectation(
                importance(key, with_prior, BINARY, 4000, center=0.3, scale=1.2), lambda u: u[0] ** 2
            ),
        )
    )
    normal, binary, square = run(jax.random.key(0))
    mean, _ = exact_gaussian()
    wanted = mean[:, 1], by_grid[1], by_grid[1] ** 2 + by_grid[2] ** 2
    for estimate, exact in zip((normal, binary, square), wanted):
        z = standardized(estimate, exact)
        assert np.abs(z).max() < 4.5
        assert 0.7 < np.sqrt((z**2).mean()) < 1.3  # the errors are neither too large nor too small
    assert (binary.ess > 1000).all()
    assert (binary.ess < 4000).all()


def test_an_effective_sample_size_of_equal_and_of_single_weights():
    flat = jax.jit(
        lambda key, width: expectation(
            importance(
                key, lambda u, row: -(u[0] ** 2) / 2 - (u[0] - row) ** 2 / (2 * width**2), 3 + X[:, 0], 200
            )
        )
    )
    equal = flat(jax.random.key(1), 1e6)
    np.testing.assert_allclose(equal.ess, 200, rtol=1e-4)
    np.testing.assert_allclose(equal.error, 1 / np.sqrt(200), rtol=0.3)
    single = flat(jax.random.key(1), 1e-3)
    assert (single.ess < 10).all()
    assert np.isinf(single.error).all()


def test_metropolis_is_within_its_stated_error(by_grid):
    config = MetropolisConfig(chains=16, burn=50, steps=400)

    def run(key, config):
        normal = metropolis(key, gaussian, X, config, 2)
        return (
            expectation(normal, lambda u: u[1]),
            expectation(normal, lambda u: u[0] * u[1]),
            expectation(metropolis(key, with_prior, BINARY, config)),
        )

    first, product, binary = jax.jit(run)(jax.random.key(2), config)
    mean, cov = exact_gaussian()
    for estimate, exact in (
        (first, mean[:, 1]),
        (product, cov[0, 1] + mean[:, 0] * mean[:, 1]),
        (binary, by_grid[1]),
    ):
        z = standardized(estimate, exact)
        assert np.abs(z).max() < 6  # t with 15 degrees of freedom
        assert 0.7 < np.sqrt((z**2).mean()) < 1.5
    assert (np.median(binary.ess) > 300) & (binary.ess <= 16 * 400).all()
    stuck = MetropolisConfig(scale=1e-4, chains=16, burn=50, steps=400)
    assert (np.asarray(jax.jit(run)(jax.random.key(2), stuck)[2].ess) < 40).all()


def test_lanes_are_their_solo_runs_and_a_broken_density_is_nan():
    config = MetropolisConfig(chains=2, burn=1, steps=3)

    def broken(u, row):
        return with_prior(u, row) + jnp.where(row[0] == 1, jnp.nan, 0)

    def above_zero(u):
        return (u[0] > 0).astype(jnp.float32)

    def run(key, scale):
        sampled = importance(key, broken, BINARY, 10, scale=scale)
        chains = metropolis(key, broken, BINARY, config)
        chance = expectation(chains, above_zero)
        return expectation(sampled), expectation(chains), chance, expectation(sampled, above_zero)

    scales = np.array([1, 2], np.float32)
    both = jax.jit(jax.vmap(run, (None, 0)))(jax.random.key(3), scales)
    one = jax.jit(run)
    for lane, scale in enumerate(scales):
        solo = one(jax.random.key(3), scale)
        for a, b in zip(jax.tree.leaves(both), jax.tree.leaves(solo)):
            np.testing.assert_allclose(a[lane], b, atol=1e-6)
            np.testing.assert_array_equal(np.isnan(b), BINARY[:, 0] == 1)


@pytest.mark.usefixtures("key_reuse_checks")
def test_no_key_is_used_twice():
    def run(key):
        first, second = jax.random.split(key)
        config = MetropolisConfig(chains=2, burn=1, steps=3)
        return importance(first, with_prior, BINARY, 5), metropolis(second, with_prior, BINARY, config)

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(run)(jax.random.key(4))))


def test_bad_input():
    key = jax.random.key(0)
    with pytest.raises(InputError, match="rows must be arrays with one entry"):
        importance(key, with_prior, (X, X[:3]), 10)
    with pytest.raises(InputError, match="rows must be arrays"):
        metropolis(key, with_prior, {}, MetropolisConfig())
    for wrong, message in [(np.where(X[0] == X, np.nan, X), "not finite"), (X.astype(str), "hold numbers")]:
        for run in (
            lambda rows: importance(key, with_prior, rows, 5),
            lambda rows: metropolis(key, with_prior, rows, MetropolisConfig()),
            lambda rows: quadrature(lambda u, row: -jnp.square(row - u), rows),
        ):
            with pytest.raises(InputError, match=f"rows (must )?(hold values that are )?{message}"):
                run(wrong)
    with pytest.raises(InputError, match="log_joint must give a scalar"):
        importance(key, lambda u, row: u, X, 5)
    with pytest.raises(InputError, match="center must be a number or have shape"):
        importance(key, with_prior, X, 5, center=np.ones(2))
    with pytest.raises(InputError, match="scale must be finite and above 0"):
        importance(key, with_prior, X, 5, scale=np.full((len(X), 1), -1.0))
    with pytest.raises(InputError, match="samples must be at least 2"):
        importance(key, with_prior, X, 1)
    with pytest.raises(InputError, match="scale must be"):
        importance(key, with_prior, X, 5, scale=-1.0)
    with pytest.raises(InputError, match="chains must be at least 2"):
        MetropolisConfig(chains=1)
    with pytest.raises(InputError, match="scale must be"):
        MetropolisConfig(scale=0.0)
    with pytest.raises(InputError, match="nodes must lie between 2 and 128"):
        normal_nodes(500)
