"""How far a network departs from its linear expansion, against closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.robust.local_linearity import departure, first_order

W = np.array([[1.0, -2.0], [0.5, 1.0], [3.0, -1.0]], np.float32)
THREE = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)


def linear(z):
    return z @ W


def squared(z):
    """The margin for label 0 is (w . z)^2."""
    return jnp.stack([jnp.zeros(z.shape[0]), (z @ W[:, 0]) ** 2], 1)


@pytest.fixture
def points():
    x, z = np.random.default_rng(0).uniform(size=(2, 6, 3)).astype(np.float32)
    return x, z, np.zeros(6, np.int32)


def test_a_linear_network_does_not_depart(points):
    x, z, y = points
    change, foretold = jax.jit(lambda: first_order(linear, x, z, y))()
    np.testing.assert_allclose(change, (z - x) @ (W[:, 1] - W[:, 0]), atol=1e-5)
    np.testing.assert_allclose(change, foretold, atol=1e-5)
    assert float(departure(linear, x, z, y)) < 1e-5
    assert float(departure(lambda a: a @ THREE, x, z, y)) < 1e-5  # whichever class comes second


def test_a_quadratic_network_departs_by_its_second_order_term(points):
    x, z, y = points
    before, step = x @ W[:, 0], (z - x) @ W[:, 0]
    change, foretold = jax.jit(lambda: first_order(squared, x, z, y))()
    np.testing.assert_allclose(foretold, 2 * before * step, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(change - foretold, step**2, rtol=1e-4, atol=1e-5)
    known = (step**2).sum() / np.abs(change).sum()
    np.testing.assert_allclose(departure(squared, x, z, y), known, rtol=1e-4)


def test_a_vanished_gradient_departs_wholly_and_no_change_not_at_all(points):
    x, z, y = points
    sharp = lambda a: linear(jnp.round(a * 4))  # noqa: E731
    np.testing.assert_allclose(departure(sharp, x, z, y), 1.0)
    assert float(departure(linear, x, x, y)) == 0.0


def test_a_broken_network_is_not_linear_and_shapes_must_agree(points):
    x, z, y = points
    assert np.isnan(float(jax.jit(lambda: departure(lambda a: linear(a) * jnp.nan, x, z, y))()))
    with pytest.raises(ValueError, match="z must have the shape of x"):
        first_order(linear, x, z[:1], y)
