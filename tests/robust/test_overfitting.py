"""Measures of catastrophic overfitting, on networks whose answers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_layers import WEIGHTS, WEIGHTS32, X, Y, cross_entropy, logits, single, slope

from lrn.robust import overfitting
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.overfitting import cosine, gradient_alignment, has_collapsed, single_step_gap
from lrn.robust.pgd import PGDConfig, pgd


def bumpy(z):
    """Right at distances of 0 and .1 from .5, wrong in between: the margin is .2 - sin(10 pi distance)."""
    distance = (z.reshape(len(z), -1) - 0.5).mean(axis=1, keepdims=True)
    margin = jnp.where(distance > 0, 0.2 - jnp.sin(distance * jnp.pi / 0.1), 0.2 - 30 * distance)
    return jnp.concatenate([margin, jnp.zeros_like(margin)], axis=1)


def test_the_gap_of_a_network_that_resists_one_step_alone():
    x, y = np.full((6, 4), 0.5, np.float32) + 1e-4, jnp.zeros(6, int)
    attacks = fgsm(FGSMConfig(eps=0.1)), pgd(PGDConfig(eps=0.1, step_size=0.025, steps=10))
    run = jax.jit(lambda key, x: single_step_gap(key, bumpy, x, y, *attacks))
    result = {name: float(value) for name, value in run(jax.random.key(0), x).items()}
    assert result == {"single_step_accuracy": 1.0, "strong_accuracy": 0.0, "gap": 1.0}


def test_a_linear_network_has_no_gap_and_full_alignment(linear):
    attacks = fgsm(FGSMConfig(eps=0.05)), pgd(PGDConfig(eps=0.05, step_size=0.02, steps=5))
    run = jax.jit(lambda key, x: single_step_gap(key, linear.logits, x, linear.y, *attacks))
    result = run(jax.random.key(0), linear.x)
    assert result["gap"] == 0
    assert 0 < result["strong_accuracy"] < 1
    aligned = jax.jit(lambda key, x: gradient_alignment(key, linear.logits, x, linear.y, 0.3))
    assert aligned(jax.random.key(0), linear.x) == pytest.approx(1, abs=1e-6)


def test_alignment_is_the_mean_cosine(mlp, monkeypatch):
    beside = np.clip(X + 0.2, 0, 1)
    monkeypatch.setattr(overfitting, "random_start", lambda key, x, eps, norm: jnp.asarray(beside, x.dtype))
    net = mlp(6, 4)
    logits_fn = lambda z: net.apply(WEIGHTS32, (), z)[0]  # noqa: E731
    run = jax.jit(lambda key, x: gradient_alignment(key, logits_fn, x, Y, 0.2))
    a, b = (slope(lambda z: cross_entropy(logits(WEIGHTS, z)), z).reshape(5, -1) for z in (X, beside))
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert run(jax.random.key(0), single(X)) == pytest.approx(cosines.mean(), rel=1e-5)


def test_cosine_of_tiny_and_of_no_gradients():
    a = single([[3e-25, 4e-25], [0, 0], [1, 0], [np.nan, 1]])
    b = single([[4e20, 3e20], [1, 0], [-2, 0], [1, 0]])
    cosines, usable = jax.jit(cosine)(a, b)
    np.testing.assert_allclose(cosines[:3], [0.96, 0, -1], rtol=1e-6)
    assert jnp.isnan(cosines[3])
    np.testing.assert_array_equal(usable, [True, False, True, True])
    slopes = jax.jit(jax.grad(lambda a, b: cosine(a, b)[0][:3].sum()))(a, b)
    assert np.isfinite(slopes[:3]).all()
    # Of two gradients of length 1 the derivative is b minus its part along a.
    unit = single([[0.6, 0.8]])
    slope_here = jax.jit(jax.grad(lambda a: cosine(a, single([[1, 0]]))[0].sum()))(unit)
    np.testing.assert_allclose(slope_here, [[1 - 0.36, -0.48]], atol=1e-6)


def test_alignment_without_gradients_is_nan():
    flat = lambda z: jnp.zeros((len(z), 4)) + 0 * z.reshape(len(z), -1)[:, :1]  # noqa: E731
    assert jnp.isnan(gradient_alignment(jax.random.key(0), flat, single(X), Y, 0.1))
    with pytest.raises(ValueError, match="eps must lie between 0 and 1"):
        gradient_alignment(jax.random.key(0), flat, single(X), Y, 8.0)


def test_collapse():
    before, now = single([0.5, 0.5, 0.3]), single([0.1, 0.4, 0.6])
    np.testing.assert_array_equal(has_collapsed(before, now), [True, False, False])
    np.testing.assert_array_equal(has_collapsed(before, now, 0.05), [True, True, False])
    with pytest.raises(ValueError, match="drop must lie between 0 and 1"):
        has_collapsed(before, now, 20)
