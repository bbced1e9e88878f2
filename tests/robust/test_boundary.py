"""Linearized boundaries against central differences."""

# pyright: reportArgumentType=false, reportCallIssue=false
# NumPy arrays stand in for jax arrays.

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.robust.boundary import likeliest_wrong, linearize, linearize_nearest
from tests import plain

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(2, 6, 4)).astype(np.float32).astype(float)
X = RNG.uniform(size=(9, 3, 2)).astype(np.float32).astype(float)
Y = RNG.integers(0, 4, 9)


def logits_of(x, xp=np):
    flat = x.reshape(len(x), 6)
    return flat @ xp.asarray(WEIGHTS[0]) + flat**2 @ xp.asarray(WEIGHTS[1])


def gap_of(x, wrong):
    z = logits_of(x)
    return z[np.arange(9), wrong] - z[np.arange(9), Y]


def test_the_likeliest_wrong_classes_come_first():
    logits = logits_of(X)
    ours = jax.jit(lambda z, y: likeliest_wrong(z, y, 9))(logits, Y.astype(np.uint8))
    np.testing.assert_array_equal(ours.T, [[k for k in np.argsort(-z) if k != y] for z, y in zip(logits, Y)])
    np.testing.assert_array_equal(likeliest_wrong(jnp.asarray(logits), jnp.asarray(Y), 2), ours[:2])


def test_one_class_by_central_differences():
    wrong = (Y + 1 + np.arange(9) % 3) % 4
    value, gradient = jax.jit(lambda x: linearize(lambda z: logits_of(z, jnp), x, Y, wrong))(X)
    np.testing.assert_allclose(value, gap_of(X, wrong), atol=1e-5)
    np.testing.assert_allclose(gradient, plain.gradient(lambda x: gap_of(x, wrong).sum(), X), atol=1e-4)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
def test_the_nearest_class_by_its_distance(norm, dual):
    value, gradient = jax.jit(lambda x: linearize_nearest(lambda z: logits_of(z, jnp), x, Y, norm))(X)
    values = np.array([gap_of(X, (Y + k) % 4) for k in (1, 2, 3)])
    slopes = np.array([plain.gradient(lambda x, k=k: gap_of(x, (Y + k) % 4).sum(), X) for k in (1, 2, 3)])
    distances = np.abs(values) / np.linalg.norm(slopes.reshape(3, 9, 6), dual, axis=2)
    nearest = distances.argmin(axis=0)
    assert (nearest != np.abs(values).argmin(axis=0)).any()
    np.testing.assert_allclose(value, values[nearest, np.arange(9)], atol=1e-5)
    np.testing.assert_allclose(gradient, slopes[nearest, np.arange(9)], atol=1e-4)


def test_numbers_that_are_not_finite_become_zero():
    def logits(z):  # the second row is NaN, and the first has no gradient
        z = z.reshape(2, 6) * jnp.array([[0], [jnp.nan]])
        return jnp.stack([z.sum(axis=1), z.sum(axis=1) + 1, jnp.full(2, 2.0)], axis=1)

    y = jnp.zeros(2, int)
    for value, gradient in jax.jit(
        lambda x: (linearize(logits, x, y, y + 1), linearize_nearest(logits, x, y, "l2"))
    )(X[:2]):
        assert np.isfinite(value).all()
        np.testing.assert_array_equal(gradient, np.zeros((2, 3, 2)))
