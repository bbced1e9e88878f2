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
    return {"x": rng.normal(size=(n, dim)), "y": rng.normal(size=n)}


def squared(w, batch):
    return jnp.mean((batch["x"] @ w - batch["y"]) ** 2)


def slope(w, batch):
    x, y = batch["x"], batch["y"]
    return 2 / len(y) * x.T @ (x @ w - y)


def curvature(batch):
    x = batch["x"]
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

    def meta(w, support, query, order):
        inner = dataclasses.replace(config, order=order)
        return jax.grad(lambda w: squared(adapt(squared, w, support, inner), query))(w)

    @jax.jit
    def results(w, support, query):
        orders = [meta(w, support, query, order) for order in ("second", "first")]
        return adapt(squared, w, support, config), *orders

    adapted, second, first = results(w, support, query)
    np.testing.assert_allclose(adapted, expected, rtol=1e-12)
    jacobian = np.linalg.matrix_power(np.eye(3) - rate * curvature(support), steps)
    np.testing.assert_allclose(second, jacobian.T @ slope(expected, query), rtol=1e-10)
    np.testing.assert_allclose(first, slope(expected, query), rtol=1e-10)


def test_checkpointed_steps_take_the_memory_of_one():
    """The working memory of a wide network on many examples, mostly activations."""
    problem = regression(nets.mlp(None, (64, 64)))
    batch = {"x": np.ones((2_000, 8), np.float32), "y": np.ones((2_000, 1), np.float32)}
    params, state = jax.eval_shape(problem.init, jax.random.key(0), batch["x"])

    def temporaries(steps, checkpoint):
        inner = InnerConfig(steps=steps, rate=0.01, checkpoint=checkpoint)

        def outer(params, batch):
            loss = lambda p, b: problem.loss_on(p, state, b, b)  # noqa: E731
            return loss(adapt(loss, params, batch, inner), batch)

        memory = jax.jit(jax.grad(outer)).lower(params, batch).compile().memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    checkpointed = temporaries(10, True)
    assert checkpointed < 1.5 * temporaries(1, False) + 10 * 64 * 64 * 4 * 4
    assert temporaries(10, False) > 3 * checkpointed


def small_task(seed: int, n: int = 5):
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(n, 2)), "y": rng.normal(size=(n, 1))}


@pytest.mark.parametrize("optimizer", [optax.sgd, optax.adam, lambda rate: optax.sgd(rate, momentum=0.9)])
def test_second_order_meta_gradients_equal_finite_differences(x64, optimizer):
    """Central differences through five inner steps of a curved network, in every direction of its weights."""
    problem = regression(nets.mlp(None, (4,), activation="tanh"))
    support, query = small_task(0), small_task(1)
    params, net_state = jax.jit(problem.init)(jax.random.key(0), support["x"])
    flat, unflatten = ravel_pytree(jax.tree.map(lambda p: np.asarray(p, np.float64), params))
    config = InnerConfig(steps=5, rate=0.05, optimizer=optimizer)

    def loss(params, batch):
        return problem.loss_on(params, net_state, batch, batch)

    def meta(flat, config):
        return loss(adapt(loss, unflatten(flat), support, config), query)

    h, first = 1e-6, dataclasses.replace(config, order="first")
    gradients = jax.jit(lambda flat: [jax.grad(meta)(flat, c) for c in (config, first)])
    flat = np.asarray(flat)
    exact, rough = map(np.asarray, gradients(flat))
    moved = np.concatenate([flat + h * np.eye(flat.size), flat - h * np.eye(flat.size)])
    above, below = np.split(np.asarray(jax.jit(jax.vmap(lambda flat: meta(flat, config)))(moved)), 2)
    np.testing.assert_allclose(exact, (above - below) / (2 * h), rtol=1e-6, atol=1e-6 * np.abs(exact).max())
    # The first-order gradient differs visibly.
    assert np.abs(rough - exact).max() > 0.01 * np.abs(exact).max()


def test_first_order_is_second_order_where_the_hessian_vanishes(x64):
    """A support loss linear in the weights has no curvature to differentiate through."""
    support, query = line(0), line(1)

    def linear(w, batch):
        return jnp.mean(batch["x"] @ w)

    def meta(w, order):
        inner = InnerConfig(steps=3, rate=0.1, order=order)
        return jax.grad(lambda w: squared(adapt(linear, w, support, inner), query))(w)

    both = jax.jit(lambda w: (meta(w, "first"), meta(w, "second")))
    np.testing.assert_allclose(*both(np.array([0.3, -1.0, 0.5])), rtol=1e-12)


def test_the_path_is_every_shorter_loop():
    support, config = line(0), InnerConfig(steps=4, rate=0.1)

    @jax.jit
    def paths(w):
        shorter = [adapt(squared, w, support, dataclasses.replace(config, steps=steps)) for steps in range(5)]
        return *adapt_path(squared, w, support, config, lambda w: w), jnp.stack(shorter)

    last, path, shorter = paths(np.array([0.3, -1.0, 0.5], np.float32))
    np.testing.assert_allclose(path, shorter, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(path)[-1], last)


def test_rates_a_step_and_a_weight():
    """Rates for each step, equal for all weights; then rates for each step and weight."""
    support, w = line(0), np.array([0.3, -1.0, 0.5], np.float32)
    config = InnerConfig(steps=2, rate=123.0)
    by_rates = jax.jit(lambda rates: adapt(squared, jnp.asarray(w), support, config, rates=rates))
    given = by_rates(np.array([0.1, 0.02], np.float32))
    one = w - 0.1 * slope(w, support)
    np.testing.assert_allclose(given, one - 0.02 * slope(one, support), rtol=1e-5)
    each = np.array([[0.1, 0.2, 0.0], [0.0, 0.1, -0.1]], np.float32)
    given = by_rates(each)
    one = w - each[0] * slope(w, support)
    np.testing.assert_allclose(given, one - each[1] * slope(one, support), rtol=1e-5)


def test_implicit_gradients_equal_those_through_a_long_loop(x64):
    """The more steps the unrolled loop has, the closer its meta-gradient is to the implicit one."""
    support, query, w, strength = line(0), line(1), np.array([0.3, -1.0, 0.5]), 0.7

    def unrolled(w, steps):
        pulled = proximal(squared, w, strength)
        return squared(adapt(pulled, w, support, InnerConfig(steps=steps, rate=0.2)), query)

    def implicit(w):
        config = InnerConfig(steps=400, rate=0.2)
        return squared(implicit_adapt(squared, w, support, config, strength, cg_steps=10), query)

    gradient, *others = map(
        np.asarray,
        jax.jit(lambda w: [jax.grad(implicit)(w), *(jax.grad(unrolled)(w, n) for n in (1, 5, 20, 200))])(w),
    )
    apart = [np.abs(other - gradient).max() for other in others]
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
