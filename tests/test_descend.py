"""`clipped_step` against optax's chain of a clipped norm and an optimizer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn.xla.descend import clipped_step

PARAMS = {"a": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": (jnp.array(0.5), jnp.array([2.0, -3.0]))}


def gradients(scale):
    keys = jax.random.split(jax.random.key(0), 5)
    return [jax.tree.map(lambda x, k=k: scale * jax.random.normal(k, x.shape), PARAMS) for k in keys]


OPTIMIZERS = {
    "adam": optax.adam(0.1, eps=1e-5),
    "radam, falling": optax.radam(optax.linear_schedule(0.1, 0.0, 10)),
    "rmsprop": optax.rmsprop(0.1, decay=0.99),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "weight decay, which reads the parameters": optax.adamw(0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_a_step_equals_that_of_optaxs_chain(optimizer, scale):
    """Both give the same over five steps, with gradients below, near and far above the limit."""
    chain: Any = optax.chain(optax.clip_by_global_norm(1.0), optimizer)
    params, state = PARAMS, optimizer.init(PARAMS)
    expected: Any = PARAMS
    chain_state: Any = chain.init(PARAMS)
    step = jax.jit(lambda g, s, p: clipped_step(optimizer, g, s, p, 1.0))
    for gradient in gradients(scale):
        params, state = step(gradient, state, params)
        updates, chain_state = chain.update(gradient, chain_state, expected)
        expected = optax.apply_updates(expected, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), params, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-9), state, chain_state[1])
    assert jax.tree.structure(state) == jax.tree.structure(optimizer.init(PARAMS))


def test_no_gradient_and_one_array():
    """A norm of zero makes no NaN; the parameters may be a single array."""
    optimizer = optax.adam(0.1)
    params = jnp.ones(3)
    stepped, _ = clipped_step(optimizer, jnp.zeros(3), optimizer.init(params), params, 1.0)
    np.testing.assert_array_equal(stepped, params)


def test_a_nan_is_not_hidden():
    optimizer = optax.sgd(0.1)
    bad = {"a": jnp.full((2, 3), jnp.nan), "b": (jnp.array(1.0), jnp.ones(2))}
    stepped, _ = clipped_step(optimizer, bad, optimizer.init(PARAMS), PARAMS, 1.0)
    assert all(np.isnan(x).all() for x in jax.tree.leaves(stepped))


def test_the_limit_may_be_swept():
    optimizer = optax.sgd(1.0)
    gradient = jnp.array([3.0, 4.0])

    def step(limit):
        return clipped_step(optimizer, gradient, optimizer.init(gradient), jnp.zeros(2), limit)[0]

    stepped = jax.vmap(step)(jnp.array([1.0, 2.5, 10.0]))
    np.testing.assert_allclose(stepped, -jnp.array([[0.6, 0.8], [1.5, 2.0], [3.0, 4.0]]), rtol=1e-6)


def test_a_norm_beyond_float32_is_clipped_to_its_limit():
    """The squares of these numbers overflow float32; the clipped gradient is finite."""
    gradient = jax.tree.map(lambda x: 1e25 * x, PARAMS)
    optimizer = optax.sgd(1.0)
    after, _ = clipped_step(optimizer, gradient, optimizer.init(PARAMS), PARAMS, 0.5)
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(PARAMS)]).astype(np.float64)
    expected = flat - 0.5 * flat / np.linalg.norm(flat)
    flat_after = np.concatenate([np.ravel(x) for x in jax.tree.leaves(after)])
    np.testing.assert_allclose(flat_after, expected, rtol=1e-5)
