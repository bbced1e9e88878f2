"""Optimizers against optax's of the same names, on problems with known minima, and in sweeps."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrn.check import InputError
from lrn.config import stack
from lrn.supervised.optimizers import (
    OPTIMIZERS,
    OptimizerConfig,
    clip_by_norm,
    everything,
    learning_rate,
    matrices,
    optimizer,
)

PARAMS: Any = {"w": jnp.array([[0.3, -0.7], [1.1, 0.2]]), "b": jnp.array([0.5, -0.1])}
ON: Any = {"learning_rate": 0.1, "weight_decay": 0.3, "clip": 1.5}


def mask(params):
    return {"w": True, "b": False}


RATE = optax.join_schedules(
    [optax.linear_schedule(0.05, 0.1, 1), optax.cosine_decay_schedule(0.1, 6, 0.2)], [2]
)
PEERS = {
    "sgd": lambda: optax.chain(optax.add_decayed_weights(0.3, mask), optax.sgd(RATE, 0.8, nesterov=True)),
    "adam": lambda: optax.chain(optax.add_decayed_weights(0.3, mask), optax.adam(RATE, 0.85, 0.97, 1e-3)),
    "adamw": lambda: optax.adamw(RATE, 0.85, 0.97, 1e-3, weight_decay=0.3, mask=mask),
    "lars": lambda: optax.lars(RATE, 0.3, mask, 0.02, 0.0, mask, momentum=0.8, nesterov=True),
    "lamb": lambda: optax.lamb(RATE, 0.85, 0.97, 1e-3, weight_decay=0.3, mask=mask),
}


def path(transform, gradients) -> Any:
    """The parameters after each of a few steps with given gradients."""

    def step(carry, gradient):
        params, state = carry
        updates, state = transform.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.lax.scan(step, (PARAMS, transform.init(PARAMS)), gradients)[1]


def gradients(steps=8):
    key = jax.random.key(0)
    return jax.tree.map(lambda x: jax.random.normal(key, (steps, *x.shape)), PARAMS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_equal_to_optax_with_every_option_on(name):
    settings = OptimizerConfig(
        name, **ON, warmup=2.0, schedule="cosine", steps=8, end=0.2, momentum=0.8, nesterov=True, b1=0.85,
        b2=0.97, eps=1e-3, trust=0.02,
    )  # fmt: skip
    peer = optax.chain(optax.clip_by_global_norm(1.5), PEERS[name]())
    ours, theirs = path(optimizer(settings), gradients()), path(peer, gradients())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), ours, theirs)
    every = path(optimizer(dataclasses.replace(settings, decayed="all")), gradients())
    assert np.abs(every["b"] - ours["b"]).max() > 1e-3


# Rates with which each optimizer solves its problem. lars and lamb keep the length of a step in proportion
# to the weights, so only a falling rate lets them converge.
SOLVING: dict[str, Any] = {
    "sgd": {"learning_rate": 2e-3},
    "adam": {"learning_rate": 0.1},
    "adamw": {"learning_rate": 0.1},
    "lars": {"learning_rate": 1.0, "trust": 0.01},
    "lamb": {"learning_rate": 0.02},
}


def rosenbrock(params):
    x, y = params["w"][0]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def regression(params):
    x = jax.random.normal(jax.random.key(1), (32, 3))
    y = x @ jnp.array([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]]) + jnp.array([2.0, -1.0])[None]
    return jnp.mean((x @ params["w"] + params["b"][None] - y) ** 2)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    ("problem", "start", "steps"),
    [
        (rosenbrock, {"w": jnp.array([[-1.0, 1.5]])}, 4000),
        (regression, {"w": jnp.full((3, 2), 0.1), "b": jnp.zeros(2)}, 2000),
    ],
)
def test_it_solves(name, problem, start, steps):
    settings = {**SOLVING[name]}
    if problem is regression and name == "sgd":
        settings["learning_rate"] = 0.05
    if problem is regression and name == "lars":
        settings["learning_rate"] = 3.0
    transform = optimizer(OptimizerConfig(name, schedule="cosine", steps=steps, **settings))

    def step(carry, _):
        params, state = carry
        updates, state = transform.update(jax.grad(problem)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    end = jax.jit(lambda: jax.lax.scan(step, (start, transform.init(start)), None, length=steps)[0][0])()
    assert problem(start) > 1
    assert problem(end) < 1e-4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_sweep_of_every_float_equals_a_loop(name):
    base = OptimizerConfig(name, **ON, schedule="cosine", steps=8)
    other = OptimizerConfig(
        name, learning_rate=0.02, weight_decay=0.0, clip=0.7, warmup=3.0, schedule="cosine", steps=8, end=0.5,
        momentum=0.0, b1=0.5, b2=0.9, eps=0.1, trust=0.3,
    )  # fmt: skip
    endless = OptimizerConfig(name, schedule="cosine", steps=8)
    configs = [base, other, endless]
    run = lambda c: path(optimizer(c), gradients())  # noqa: E731
    together = jax.jit(jax.vmap(run))(stack(configs))
    for i, c in enumerate(configs):
        # As arrays, because 1 - b2 is exact for a Python float, and rounded for a swept float32.
        alone = jax.jit(run)(jax.tree.map(jnp.float32, c))
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6), together, alone
        )


def test_every_schedule_as_a_function_of_the_step():
    def rates(**settings):
        return np.asarray(learning_rate(OptimizerConfig(learning_rate=0.4, **settings))(jnp.arange(7)))

    np.testing.assert_allclose(rates(), np.full(7, 0.4), rtol=1e-6)
    np.testing.assert_allclose(rates(warmup=2.0), [0.2, *[0.4] * 6], rtol=1e-6)
    np.testing.assert_allclose(
        rates(schedule="linear", steps=6, warmup=2.0),
        [0.2, 0.4, 0.4, 0.3, 0.2, 0.1, 0.0],
        rtol=1e-6,
        atol=1e-8,
    )
    half = 0.3 + 0.1 * np.cos(np.pi * np.minimum(np.arange(7) / 4, 1))
    np.testing.assert_allclose(rates(schedule="cosine", steps=4, end=0.5), half, rtol=1e-6)
    np.testing.assert_allclose(
        rates(schedule="piecewise", drops=(3, 5), drop=0.5, warmup=2.0), [0.2, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1],
        rtol=1e-6,
    )  # fmt: skip


def test_the_clip_is_that_of_optax_and_safe_where_it_does_nothing():
    tree = {"a": jnp.array([3.0, -4.0]), "b": jnp.array([[12.0]])}
    for largest in (0.1, 13.0, 20.0):
        ours, _ = clip_by_norm(largest).update(tree, optax.EmptyState())
        theirs, _ = optax.clip_by_global_norm(largest).update(tree, optax.EmptyState())
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours, theirs)
    zero = jax.tree.map(jnp.zeros_like, tree)

    def total(tree, largest):
        clipped, _ = clip_by_norm(largest).update(tree, optax.EmptyState())
        return sum(x.sum() for x in jax.tree.leaves(clipped))

    slope = jax.jit(jax.grad(total, (0, 1)))
    for given, largest in ((tree, jnp.inf), (zero, jnp.inf), (zero, 1.0)):
        by_tree, by_largest = slope(given, largest)
        jax.tree.map(lambda x: np.testing.assert_array_equal(x, jnp.ones_like(x)), by_tree)
        assert by_largest == 0
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), tree)
    clipped = jax.jit(lambda c: clip_by_norm(c).update(half, optax.EmptyState())[0])(1.0)
    assert all(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(clipped))
    assert float(optax.tree.norm(clipped)) == pytest.approx(1.0, rel=1e-2)


def test_masks():
    params = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}, "norm": {"scale": jnp.ones(3)}}
    assert matrices(params) == {"dense": {"kernel": True, "bias": False}, "norm": {"scale": False}}
    assert all(jax.tree.leaves(everything(params)))
    only_bias = optimizer(OptimizerConfig("sgd", **ON), lambda p: {"w": False, "b": True})
    updates: Any = only_bias.update(jax.tree.map(jnp.zeros_like, PARAMS), only_bias.init(PARAMS), PARAMS)[0]
    np.testing.assert_array_equal(updates["w"], 0)
    np.testing.assert_allclose(updates["b"], -0.1 * 0.3 * PARAMS["b"], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adamx"}, "optimizer 'adamx' is not known; did you mean adam"),
        ({"schedule": "cosin", "steps": 3}, "schedule 'cosin' is not known; did you mean cosine"),
        ({"decayed": "none"}, "decayed 'none' is not known"),
        ({"nesterov": 1}, "nesterov must be True or False"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number above 0"),
        ({"weight_decay": -0.1}, "weight_decay must be a finite number, 0 or more"),
        ({"clip": 0.0}, "clip must be a finite number above 0"),
        ({"momentum": 1.0}, "momentum must be below 1"),
        ({"b2": 1.5}, "b2 must lie between 0 and 1"),
        ({"schedule": "cosine"}, "needs the length of the training"),
        ({"schedule": "linear", "steps": 10, "warmup": 10.0}, "warmup must be below steps, got 10 and 10"),
        ({"steps": -1}, "steps must be at least 0"),
        ({"schedule": "piecewise"}, "go together"),
        ({"drops": (10,)}, "go together"),
        ({"schedule": "piecewise", "drops": [10]}, "drops must be a tuple"),
        ({"schedule": "piecewise", "drops": (20, 10)}, "drops must ascend"),
        ({"schedule": "piecewise", "drops": (0,)}, "every entry of drops must be at least 1"),
        ({"schedule": "piecewise", "drops": (5,), "warmup": 6.0}, "warmup must end before the first drop"),
    ],
)
def test_bad_configs(settings, message):
    with pytest.raises(InputError, match=message):
        OptimizerConfig(**settings)
