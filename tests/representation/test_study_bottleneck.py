"""The study of the bottleneck: its informations by sums over a grid, its noise and its capacity."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from experiments.representation import _bottlenecks as trainings
from experiments.representation import _curve as exact
from lrn import nets
from lrn.representation.vib import Posterior


def test_informations_by_a_grid():
    rng = np.random.default_rng(0)
    joint = rng.dirichlet(np.ones(9)).reshape(3, 3)
    mean, std = rng.normal(size=(3, 2)), rng.uniform(0.6, 1.2, (3, 2))
    q = Posterior(jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32))
    of_x, of_y = jax.jit(exact.informations)(jnp.asarray(joint, jnp.float32), q)
    at = np.linspace(-8, 8, 321)
    grid = np.stack(np.meshgrid(at, at, indexing="ij"), -1)
    cell = (at[1] - at[0]) ** 2
    covariances: list[Any] = [np.diag(s**2) for s in std]
    p = np.stack([multivariate_normal.pdf(grid, m, cov) for m, cov in zip(mean, covariances)])
    p_x, p_y = joint.sum(1), joint.sum(0)
    whole = np.einsum("x,xab->ab", p_x, p)
    with_y = np.einsum("xy,xab->yab", joint, p)
    assert float(of_x) == pytest.approx(np.einsum("x,xab->", p_x, p * np.log(p / whole)) * cell, abs=2e-3)
    ratio = np.log(with_y / (whole[None] * p_y[:, None, None]))
    assert float(of_y) == pytest.approx((with_y * ratio).sum() * cell, abs=2e-3)


X = jnp.ones((1, 2))


def test_the_fixed_noise_has_its_size_and_passes_no_gradient():
    """Codes that are the inputs: the noise is a share of their deviation, whatever their scale."""
    linear = nets.from_function(lambda key, x: jnp.ones(()), lambda params, x: params * x)
    place = trainings.Place({}, {}, lambda n, d: linear, linear, 2, "x", lambda own, shared: (X, X))
    net = trainings.coded(place, 0.5)
    x = jax.random.normal(jax.random.key(0), (20_000, 2)) * jnp.array([[1.0, 3.0]])
    params = {"encoder": jnp.float32(2.0), "decoder": jnp.float32(1.0)}

    @jax.jit
    def both(params):
        train = net.apply(params, (), x, key=jax.random.key(1), train=True)[0]
        return train, net.apply(params, (), x)[0]

    train, test = both(params)
    np.testing.assert_allclose(test, 2 * x, rtol=1e-6)
    np.testing.assert_allclose(np.std(train - test, axis=0), 0.5 * np.std(test, axis=0), rtol=0.03)
    slope = jax.grad(lambda p: jnp.sum(both(p)[0][:, 0]))(params)["encoder"]
    assert slope == pytest.approx(float(jnp.sum(x[:, 0])), rel=1e-3)


def test_the_known_joint_and_the_menu():
    place = trainings.known_joint([3, 4], (30, 10), 8, 4)
    known = place.per_seed["known"]
    assert known.shape == (2, 64, 4)
    np.testing.assert_allclose(known.sum(2), 1, rtol=1e-5)
    assert np.abs(known[0] - known[1]).max() > 0.1
    assert set(place.per_seed["train"][0]) & set(place.per_seed["validation"][0]) == set()
    x, _ = place.test({k: v[0] for k, v in place.per_seed.items()}, {})
    assert x.shape == (64, 6)
    assert len(np.unique(np.asarray(x), axis=0)) == 64
    # The labels' frequencies follow p(y | x): the mean probability of the drawn labels exceeds chance.
    rows = ((place.per_seed["x"][0] > 0) @ (2 ** np.arange(6))).astype(int)
    drawn = known[0][rows, place.per_seed["label"][0]]
    assert drawn.mean() > 0.4
    for name in trainings.PLACES:
        assert {len(v) for v in trainings.menu(name).values()} == {9}
        assert len(set(trainings.trained(name))) == 45
