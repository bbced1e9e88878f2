"""The inner loop and its derivatives: against linear algebra and finite differences."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from lrn import nets
from lrn.meta.adapt import InnerConfig, adapt, adapt_path
from lrn.meta.imaml import implicit_adapt, proximal
from lrn.meta.problem import regression


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def line(seed: int, n: int = 6, dim: int = 3):
    """A support or query set of a linear regression, in float64."""
    rng = np.random.default_rng(seed)
    return {"x": jnp.asarray(rng.normal(size=(n, dim))), "y": jnp.asarray(rng.normal(size=n))}


def squared(w, batch):
    return jnp.mean((batch["x"] @ w - batch["y"]) ** 2)


def slope(w, batch):
    x, y = np.asarray(batch["x"]), np.asarray(batch["y"])
    return 2 / len(y) * x.T @ (x @ w - y)


def curvature(batch):
    x = np.asarray(batch["x"])
    return 2 / len(x) * x.T @ x


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 4, 15])
def test_linear_regression_is_linear_algebra(x64, steps, checkpoint):
    """The adapted weights, the meta-gradient of both orders: w' = w - a g, dw'/dw = (I - a H)^steps."""
    support, query, w, rate = line(0), line(1), np.array([0.3, -1.0, 0.5]), 0.1
    expected = w
    for _ in range(steps):
        expected = expected - rate * slope(expected, support)
    config = InnerConfig(steps=steps, rate=rate, checkpoint=checkpoint)
    np.testing.assert_allclose(adapt(squared, jnp.asarray(w), support, config), expected, rtol=1e-12)

    def meta(order):
        inner = dataclasses.replace(config, order=order)
        return jax.grad(lambda w: squared(adapt(squared, w, support, inner), query))(jnp.asarray(w))

    jacobian = np.linalg.matrix_power(np.eye(3) - rate * curvature(support), steps)
    np.testing.assert_allclose(meta("second"), jacobian.T @ slope(expected, query), rtol=1e-10)
    np.testing.assert_allclose(meta("first"), slope(expected, query), rtol=1e-10)


def test_checkpointed_steps_take_the_memory_of_one():
    """The working memory of a wide network on many examples, mostly activations."""
    problem = regression(nets.mlp(None, (64, 64)))
    batch = {"x": jnp.ones((2_000, 8)), "y": jnp.ones((2_000, 1))}
    params, state = problem.init(jax.random.key(0), batch["x"])

    def temporaries(steps, checkpoint):
        inner = InnerConfig(steps=steps, rate=0.01, checkpoint=checkpoint)

        def outer(params):
            loss = lambda p, b: problem.loss_on(p, state, b, b)  # noqa: E731
            return loss(adapt(loss, params, batch, inner), batch)

        memory = jax.jit(jax.grad(outer)).lower(params).compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    assert temporaries(10, True) < 1.5 * temporaries(1, False) + 10 * 64 * 64 * 4 * 4
    assert temporaries(10, False) > 3 * temporaries(10, True)


def small_task(seed: int, n: int = 5):
    rng = np.random.default_rng(seed)
    return {"x": jnp.asarray(rng.normal(size=(n, 2))), "y": jnp.asarray(rng.normal(size=(n, 1)))}


@pytest.mark.parametrize("optimizer", [optax.sgd, optax.adam, lambda rate: optax.sgd(rate, momentum=0.9)])
def test_second_order_meta_gradients_equal_finite_differences(x64, optimizer):
    """Central differences through five inner steps of a curved network, in every direction of its weights."""
    problem = regression(nets.mlp(None, (4,), activation="tanh"))
    support, query = small_task(0), small_task(1)
    params, net_state = problem.init(jax.random.key(0), support["x"])
    params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
    flat, unflatten = ravel_pytree(params)
    config = InnerConfig(steps=5, rate=0.05, optimizer=optimizer)

    def loss(params, batch):
        return problem.loss_on(params, net_state, batch, batch)

    @jax.jit
    def meta(flat):
        return loss(adapt(loss, unflatten(flat), support, config), query)

    exact, h = jax.grad(meta)(flat), 1e-6
    steps = h * jnp.eye(flat.size)
    differences = jax.vmap(lambda d: (meta(flat + d) - meta(flat - d)) / (2 * h))(steps)
    np.testing.assert_allclose(exact, differences, rtol=1e-6, atol=1e-6 * float(jnp.abs(exact).max()))
    # The first-order gradient differs visibly.
    first = dataclasses.replace(config, order="first")
    rough = jax.grad(lambda f: loss(adapt(loss, unflatten(f), support, first), query))(flat)
    assert float(jnp.abs(rough - exact).max()) > 0.01 * float(jnp.abs(exact).max())


def test_first_order_is_second_order_where_the_hessian_vanishes(x64):
    """A support loss linear in the weights has no curvature to differentiate through."""
    support, query, w = line(0), line(1), jnp.array([0.3, -1.0, 0.5])

    def linear(w, batch):
        return jnp.mean(batch["x"] @ w)

    def meta(order):
        inner = InnerConfig(steps=3, rate=0.1, order=order)
        return jax.grad(lambda w: squared(adapt(linear, w, support, inner), query))(w)

    np.testing.assert_allclose(meta("first"), meta("second"), rtol=1e-12)


def test_the_path_is_every_shorter_loop():
    support, w = line(0), jnp.array([0.3, -1.0, 0.5])
    config = InnerConfig(steps=4, rate=0.1)
    last, path = adapt_path(squared, w, support, config, lambda w: w)
    for steps in range(5):
        shorter = adapt(squared, w, support, dataclasses.replace(config, steps=steps))
        np.testing.assert_allclose(path[steps], shorter, rtol=1e-6)
    np.testing.assert_array_equal(path[-1], last)


def test_rates_a_step_and_a_weight():
    """Rates for each step, equal for all weights; then rates for each step and weight."""
    support, w = line(0), np.array([0.3, -1.0, 0.5], np.float32)
    config = InnerConfig(steps=2, rate=123.0)
    given = adapt(squared, jnp.asarray(w), support, config, rates=jnp.array([0.1, 0.02]))
    one = w - 0.1 * slope(w, support)
    np.testing.assert_allclose(given, one - 0.02 * slope(one, support), rtol=1e-5)
    each = np.array([[0.1, 0.2, 0.0], [0.0, 0.1, -0.1]], np.float32)
    given = adapt(squared, jnp.asarray(w), support, config, rates=jnp.asarray(each))
    one = w - each[0] * slope(w, support)
    np.testing.assert_allclose(given, one - each[1] * slope(one, support), rtol=1e-5)


def test_implicit_gradients_equal_those_through_a_long_loop(x64):
    """The more steps the unrolled loop has, the closer its meta-gradient is to the implicit one."""
    support, query, w, strength = line(0), line(1), jnp.array([0.3, -1.0, 0.5]), 0.7

    def unrolled(w, steps):
        pulled = proximal(squared, w, strength)
        return squared(adapt(pulled, w, support, InnerConfig(steps=steps, rate=0.2)), query)

    def implicit(w):
        config = InnerConfig(steps=400, rate=0.2)
        return squared(implicit_adapt(squared, w, support, config, strength, cg_steps=10), query)

    gradient = jax.grad(implicit)(w)
    apart = [float(jnp.abs(jax.grad(lambda w: unrolled(w, n))(w) - gradient).max()) for n in (1, 5, 20, 200)]  # noqa: B023
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 1e-8
    # w' = (H + s I)^-1 (b + s w): the derivative is s (H + s I)^-1.
    h = curvature(support)
    b = -slope(np.zeros(3), support)
    end = np.linalg.solve(h + strength * np.eye(3), b + strength * np.asarray(w))
    expected = strength * np.linalg.solve(h + strength * np.eye(3), slope(end, query))
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(steps=-1), "steps must be at least 0"),
        (dict(steps=1.5), "steps must be a whole number"),
        (dict(rate=0.0), "rate must be a finite number above 0"),
        (dict(order="third"), "order 'third' is not known"),
        (dict(optimizer=0.1), "optimizer must make an optax optimizer"),
    ],
)
def test_bad_settings_of_the_inner_loop(settings, message):
    with pytest.raises(ValueError, match=message):
        InnerConfig(**settings)


def test_bad_rates():
    w = jnp.zeros(3)
    config = InnerConfig(steps=2)
    with pytest.raises(ValueError, match=r"rates must have shape \[2\] or \[2, 3\]"):
        adapt(squared, w, line(0), config, rates=jnp.ones(3))
    with pytest.raises(ValueError, match="rates must be a tree like the parameters"):
        adapt(squared, w, line(0), config, rates={"w": jnp.ones(2)})
