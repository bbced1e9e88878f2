"""Correlated Gaussians against scipy's densities, and bijections against their inverses."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from lrn.check import InputError
from lrn.data import gaussians
from lrn.data.gaussians import affine, asinh, compose, correlation, coupling, cubic, information, log_ratio

DIM, RHO = 3, 0.8


def test_information_is_that_of_the_covariance():
    rho = correlation(jnp.array([0.0, 0.5, 10.0]), DIM)
    for one, nats in zip(np.asarray(rho, np.float64), (0.0, 0.5, 10.0)):
        block = np.eye(DIM)
        joint = np.block([[block, one * block], [one * block, block]])
        assert -0.5 * np.linalg.slogdet(joint)[1] == pytest.approx(nats, rel=2e-4)
    np.testing.assert_allclose(information(rho, DIM), [0, 0.5, 10], rtol=2e-4, atol=1e-6)
    assert float(correlation(2.0, 20)) == pytest.approx(np.sqrt(1 - np.exp(-0.2)))


def test_samples_have_the_correlation():
    x, y = gaussians.sample(jax.random.key(0), 20_000, DIM, -RHO)
    expected = np.block([[np.eye(DIM), -RHO * np.eye(DIM)], [-RHO * np.eye(DIM), np.eye(DIM)]])
    np.testing.assert_allclose(np.cov(np.concatenate([x, y], 1).T), expected, atol=0.04)


def test_the_optimal_critic_is_scipys_log_density_ratio():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, DIM)), rng.normal(size=(5, DIM))
    eye = np.eye(DIM)
    joint = np.block([[eye, RHO * eye], [RHO * eye, eye]])

    def log_p(at: np.ndarray, covariance: Any) -> float:
        return multivariate_normal.logpdf(at, np.zeros(len(at)), covariance)

    expected = [[log_p(np.concatenate([a, b]), joint) - log_p(a, eye) - log_p(b, eye) for b in y] for a in x]
    ours = log_ratio(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), RHO)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_bijections_are_inverted_and_keep_the_optimal_critic():
    keys = jax.random.split(jax.random.key(1), 4)
    maps = {
        "cubic": cubic,
        "asinh": asinh,
        "affine": affine(keys[0], DIM),
        "coupling": coupling(keys[1], DIM),
        "composed": compose(affine(keys[2], DIM), compose(cubic, asinh)),
    }
    x, y = gaussians.sample(keys[3], 200, DIM, RHO)

    @jax.jit
    def there_and_back(x, y):
        plain = log_ratio(x, y, RHO)
        out = {}
        for name, one in maps.items():
            seen = one.forward(x), y if name == "coupling" else one.forward(y)
            of_y = gaussians.identity if name == "coupling" else one
            out[name] = one.forward(x), one.inverse(seen[0]), gaussians.oracle(*seen, RHO, one, of_y) - plain
        return out, plain

    found, plain = there_and_back(x, y)
    for name, (seen, back, difference) in found.items():
        assert np.abs(seen - x).max() > 0.5, name
        np.testing.assert_allclose(back, x, atol=2e-4, err_msg=name)
        assert np.abs(difference).max() < 0.02 * max(1, np.abs(plain).max()), name
    np.testing.assert_allclose(found["cubic"][0], np.asarray(x) ** 3, rtol=1e-5, atol=1e-6)
    rows = jax.jit(jax.vmap(jax.jacfwd(lambda row: maps["coupling"].forward(row[None])[0])))(x[:2])
    assert np.abs(np.linalg.det(rows)).min() > 1e-3
    assert np.abs(rows[0] - rows[1]).max() > 0.01


def test_the_sampler_draws_fresh_pairs_through_the_bijections():
    draw = jax.jit(lambda key: gaussians.sampler(6, DIM, RHO, cubic, asinh).draw(key, None))
    a, b = draw(jax.random.key(0)), draw(jax.random.key(1))
    x, y = gaussians.sample(jax.random.key(0), 6, DIM, RHO)
    np.testing.assert_allclose(a["x"], np.asarray(x) ** 3, rtol=1e-5)
    np.testing.assert_allclose(a["y"], np.arcsinh(y), rtol=1e-5)
    assert np.abs(a["x"] - b["x"]).min() > 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: correlation(-1.0, 2), "information must lie between"),
        (lambda: correlation(50.0, 2), "information must lie between"),
        (lambda: information(1.0, 2), "rho must lie between"),
        (lambda: gaussians.sampler(0, 2, 0.5), "n must be at least 1"),
        (lambda: gaussians.sampler(4, 2, 1.0), "rho must lie between"),
        (lambda: log_ratio(jnp.ones((2, 3)), jnp.ones((2, 2)), 0.5), "one row a sample"),
        (lambda: coupling(jax.random.key(0), 1), "dim must be at least 2"),
        (lambda: affine(jax.random.key(0), 2, 0.5), "spread"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
