"""The tools of the references (tests/plain.py) against optax and jax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain
import pytest

PARAMS = {"w": jnp.array([[0.3, -0.7], [1.1, 0.2]]), "b": jnp.array([0.5, -0.1])}


def loss(params):
    return (params["w"] ** 3).sum() + (params["w"] @ params["b"]).prod()


def test_gradient_is_that_of_jax():
    plain.assert_trees_close(plain.gradient(loss, PARAMS), jax.grad(loss)(PARAMS), rtol=1e-5)


def test_adam_and_the_clip_are_those_of_optax():
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(0.1, eps=1e-5))
    state, params, expected = optimizer.init(PARAMS), PARAMS, PARAMS
    adam = plain.Adam(PARAMS, eps=1e-5)
    for _ in range(3):
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        params = optax.apply_updates(params, updates)
        expected = adam.step(expected, plain.clipped(plain.gradient(loss, expected), 0.5), 0.1)
    plain.assert_trees_close(params, expected)


def test_log_softmax_is_that_of_jax():
    x = np.array([[1.0, 2.0, -3.0], [100.0, 0.0, 50.0]])
    np.testing.assert_allclose(plain.log_softmax(x), jax.nn.log_softmax(x), rtol=1e-6)


def test_a_leaf_that_differs_is_named():
    with pytest.raises(AssertionError, match=r"\['b'\]"):
        plain.assert_trees_close(PARAMS, {**PARAMS, "b": PARAMS["b"] + 1e-3})
