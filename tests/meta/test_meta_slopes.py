"""Meta-gradients through optimizers whose derivative has no value at a gradient of zero: finite differences.

A support set whose second input is always 0 gives a weight whose gradient is exactly 0, and the parameters
``v`` are those of a layer that is never used. Nothing is lost of the derivative by the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain
import pytest
from jax.flatten_util import ravel_pytree

from lrn.meta import maml
from lrn.meta.adapt import InnerConfig, adapt
from lrn.meta.episode import Episode
from lrn.meta.problem import regression
from lrn.meta.slopes import finite_slopes
from lrn.types import Net
from lrn.xla.runtime import jit_brief


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


ELEMENTS: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "adam": optax.adam,
    "adamw": lambda rate: optax.adamw(rate, weight_decay=0.1),
    "rmsprop": lambda rate: optax.rmsprop(rate, eps=0.0, initial_scale=0.0, centered=False),
    "adagrad": lambda rate: optax.adagrad(rate, initial_accumulator_value=0.0, eps=0.0),
    "adabelief": lambda rate: optax.adabelief(rate, eps_root=0.0),
    "yogi": lambda rate: optax.chain(
        optax.scale_by_yogi(initial_accumulator_value=0.0), optax.scale_by_learning_rate(rate)
    ),
    "amsgrad": optax.amsgrad,
}
LAYERS: dict[str, Callable[[Any], optax.GradientTransformation]] = {  # optimizers with norms of whole layers
    "lamb": optax.lamb,
    "lars": optax.lars,
    "novograd": optax.novograd,
    "clipped": lambda rate: optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(rate)),
}


def sets(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    rng = np.random.default_rng(seed)
    x, other = rng.normal(size=(2, 4, 3))
    x[:, 1] = 0
    y, wanted = rng.normal(size=(2, 4))
    return {"x": x, "y": y}, {"x": other, "y": wanted}


def squared(params: Any, batch: Any) -> Any:
    w = params["w"]
    return ((jnp.asarray(batch["x"]) @ w - batch["y"]) ** 2).mean()


def compare(optimizer: Callable[[Any], optax.GradientTransformation], params: Any, support: Any) -> None:
    """The meta-gradient through two steps equals central differences, for every parameter."""
    query = sets(0)[1]
    config = InnerConfig(steps=2, rate=0.05, optimizer=optimizer)
    flat, tree = ravel_pytree(params)

    def after(flat: Any) -> Any:
        adapted = adapt(squared, tree(flat), support, config)
        return squared(adapted, query) + 0.3 * sum(jnp.sum(v**2) for v in adapted.get("v", ()))

    both = jit_brief(jax.value_and_grad(after))
    h = 1e-6
    differences = [(both(flat + h * d)[0] - both(flat - h * d)[0]) / (2 * h) for d in np.eye(flat.size)]
    np.testing.assert_allclose(both(flat)[1], differences, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", sorted(ELEMENTS))
def test_an_input_that_is_never_there(name):
    compare(ELEMENTS[name], {"w": jnp.array([0.3, -0.7, 0.5])}, sets(0)[0])


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_a_layer_that_is_never_used(name):
    """LAMB and LARS jump at zero, so a gradient must not be moved off zero for its derivative."""
    compare(LAYERS[name], {"w": jnp.array([0.3, -0.7, 0.5]), "v": (jnp.array([0.4, -0.3]),)}, sets(0)[0])


@pytest.mark.parametrize("name", ["clipped", "novograd"])
def test_a_gradient_that_is_zero_everywhere(name):
    support = {"x": np.zeros((4, 3)), "y": np.ones(4)}
    compare(LAYERS[name], {"w": jnp.array([0.3, -0.7, 0.5])}, support)


def test_the_adapted_parameters_are_those_of_adam():
    support, params = sets(0)[0], {"w": np.array([0.3, -0.7, 0.5])}
    config = InnerConfig(steps=3, rate=0.05, optimizer=optax.adam)
    adapted = jit_brief(lambda params: adapt(squared, params, support, config))(params)
    reference = plain.Adam(params)
    for _ in range(3):
        off = support["x"] @ params["w"] - support["y"]
        params = reference.step(params, {"w": 2 / 4 * support["x"].T @ off}, 0.05)
    np.testing.assert_allclose(adapted["w"], params["w"], rtol=1e-6)


def test_at_a_gradient_that_is_zero_but_not_around():
    """At w = c the loss h (w - c)^2 / 2 has the gradient 0, and Adam's first step -rate g / (|g| + eps)."""
    rate, eps, h = 0.05, 0.1, 3.0
    inner = InnerConfig(steps=1, rate=rate, optimizer=lambda rate: optax.adam(rate, eps=eps))

    def after(w: Any) -> Any:
        return adapt(lambda w, c: h / 2 * ((w - c) ** 2).sum(), w, jnp.array([1.0, 2.0]), inner)

    # At the second w the gradient is 3 and its root has a slope: eps / (|g| + eps)^2.
    slopes = np.array([1 / eps, eps / (3 + eps) ** 2])
    np.testing.assert_allclose(
        jit_brief(jax.jacobian(after))(jnp.array([1.0, 3.0])), np.diag(1 - rate * h * slopes), rtol=1e-9
    )


def test_a_meta_step_of_maml_with_a_dead_unit_in_a_network():
    """Central differences along every parameter of bodies with three units, one of which is never active."""

    def apply(params: Any, state: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        z = x @ params["kernel"] + params["bias"][None]
        return jnp.where(z > 0, z**2, 0), state

    start = {"kernel": jnp.array([[0.5, 0.2, -0.3], [-0.4, 0.1, 0.8]]), "bias": jnp.array([0.1, -99.0, 0.2])}
    problem = regression(Net(lambda key, x: (start, ()), apply))
    config = maml.MAMLConfig(
        inner=InnerConfig(steps=1, rate=0.03, optimizer=optax.adam), meta_rate=1.0, optimizer=optax.sgd
    )
    learner = maml.maml(problem, config)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 1, 5, 2)), rng.normal(size=(2, 1, 5, 1))
    given = Episode(
        {"x": jnp.asarray(x[0]), "y": jnp.asarray(y[0])}, {"x": jnp.asarray(x[1]), "y": jnp.asarray(y[1])}
    )
    state = learner.init(jax.random.key(0), given)
    step, key = jit_brief(learner.step), jax.random.key(1)
    flat, tree = ravel_pytree(state.meta)

    def loss(flat: Any) -> Any:
        return step(key, state._replace(meta=tree(flat)), given)[1]["loss"]

    h = 1e-6
    differences = [(loss(flat + h * d) - loss(flat - h * d)) / (2 * h) for d in np.eye(flat.size)]
    gradient = flat - ravel_pytree(step(key, state, given)[0].meta)[0]
    assert np.abs(differences).max() > 0.1
    np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=1e-7)


# Functions, and their slopes at 0 and at 2.
STEPS: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    "root": (jnp.sqrt, 0.0, 0.5 / np.sqrt(2)),
    "one by a root": (lambda x: jnp.where(x > 0, jax.lax.rsqrt(x), 0.0), 0.0, -0.5 / 2**1.5),
    "quotient": (lambda x: jnp.where(x > 0, 1 / x, 5.0), 0.0, -0.25),
    "power below 0": (lambda x: jnp.where(x > 0, x**-2, 5.0), 0.0, -0.25),
    "logarithm": (lambda x: jnp.where(x > 0, jnp.log(x), 1.0), 0.0, 0.5),
    "power below 1": (lambda x: x**0.7, 0.0, 0.7 * 2**-0.3),
    "power above 1": (lambda x: x**1.5, 0.0, 1.5 * np.sqrt(2)),
    "cube root": (lambda x: jnp.cbrt(x) + 3 * x, 3.0, 3 + 2 ** (-2 / 3) / 3),
    "none of these": (lambda x: x / 4 + x**3, 0.25, 12.25),
    "branch": (lambda x: jax.lax.cond(x < 1, jnp.sqrt, jnp.square, x), 0.0, 4.0),
    "loop": (lambda x: jax.lax.fori_loop(0, 2, lambda i, y: jnp.sqrt(y), x), 0.0, 2**-0.75 / 4),
    "call": (lambda x: 7 * x + jax.jit(jnp.sqrt)(x), 7.0, 7 + 0.5 / np.sqrt(2)),
}


def test_slopes_of_single_steps():
    at = jnp.array([0.0, 2.0])

    @jit_brief
    def all_of_them(at: Any) -> Any:
        made = {name: finite_slopes(function) for name, (function, *_) in STEPS.items()}
        return {
            name: (
                f(at[1]),
                STEPS[name][0](at[1]),
                [jax.grad(f)(x) for x in at],
                jax.jvp(f, (at[0],), (at[1],)),
            )
            for name, f in made.items()
        }

    for name, (value, wanted, slopes, (_, forward)) in all_of_them(at).items():
        assert value == wanted, name
        np.testing.assert_allclose(slopes, STEPS[name][1:], rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(forward, 2 * STEPS[name][1], rtol=1e-12, err_msg=name)
