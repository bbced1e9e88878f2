"""The compiled functions of `fit`: sizes of products, compiler options, checks of states and metrics."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.train.program import Program
from lrn.types import Learner, Mean
from lrn.xla.products import largest_product
from lrn.xla.runtime import brief_options


def product(x, w):
    return x @ w


def in_loop(x, w):
    return jax.lax.fori_loop(0, 9, lambda i, x: jnp.tanh(x @ w), x)


def in_branch(x, w):
    return jax.lax.cond(x[0, 0] > 0, lambda: jax.jit(product)(x, w), lambda: x)


def in_gradient(x, w):
    return jax.grad(lambda w: jax.checkpoint(product)(x, w).sum())(w)


@pytest.mark.parametrize("function", [product, in_loop, in_branch, in_gradient])
def test_a_product_is_found_wherever_it_is(function):
    x, w = jnp.ones((5, 7)), jnp.ones((7, 7))
    assert largest_product(jax.make_jaxpr(function)(x, w).jaxpr) == 2 * 5 * 7 * 7


def test_a_batch_counts_as_one_product_and_the_largest_product_counts():
    def function(x, w):
        return jax.vmap(product)(x, w).sum() + (x[0] @ w[0]).sum()

    traced = jax.make_jaxpr(function)(jnp.ones((3, 5, 7)), jnp.ones((3, 7, 2)))
    assert largest_product(traced.jaxpr) == 2 * 3 * 5 * 7 * 2


def test_a_convolution():
    """Each of 8 x 6 x 6 x 4 outputs sums over a window of 3 x 3 and 2 channels."""

    def function(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    traced = jax.make_jaxpr(function)(jnp.ones((8, 8, 8, 2)), jnp.ones((3, 3, 2, 4)))
    assert largest_product(traced.jaxpr) == 2 * (8 * 6 * 6 * 4) * (3 * 3 * 2)


def test_no_product():
    assert largest_product(jax.make_jaxpr(jnp.sin)(jnp.ones(3)).jaxpr) == 0


# Compiler options.


def program(width: int, lanes: int = 1, evaluate=None, brief: bool = False) -> Program:
    """The program of a learner whose step is one product of [64, width] with [width, width]."""

    def learner(config):
        def step(key, state, batch):
            return state + 0 * jnp.tanh(jnp.ones((64, width)) @ state).sum(), {"loss": state.sum()}

        return Learner(lambda key, batch: config * jnp.ones((width, width)), step)

    configs = np.ones(lanes, np.float32)
    return Program(learner, configs, lanes, [0], None, {}, None, evaluate, None, brief)


SMALL_OPTIONS = {
    "xla_backend_optimization_level": 2,
    "xla_cpu_prefer_vector_width": 512,
    "xla_cpu_multi_thread_eigen": False,
}


def test_small_products_run_together_on_one_thread(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    compiled = program(8, lanes=2)
    assert compiled._go.options == compiled._look.options == SMALL_OPTIONS
    assert compiled._start.options == {"xla_backend_optimization_level": 0}
    assert (compiled._small, compiled._in_turn) == (True, False)
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=1")
    del (remaining := dict(SMALL_OPTIONS))["xla_backend_optimization_level"]
    assert program(8)._go.options == remaining


def test_large_products_run_in_turn(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    compiled = program(1024, lanes=2)
    assert compiled._go.options is compiled._look.options is None
    assert compiled._start.options == {"xla_backend_optimization_level": 1}  # a million numbers
    assert (compiled._small, compiled._in_turn) == (False, True)
    assert program(360)._small  # 2 * 64 * 360 * 360 is just below 2^24
    assert not program(363)._small


@pytest.mark.parametrize("width", [8, 1024])
def test_a_brief_training_is_compiled_with_little_optimization(width, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    compiled = program(width, brief=True)
    assert compiled._start.options == compiled._go.options == compiled._look.options
    assert compiled._go.options == brief_options(0)
    assert (
        brief_options(0)
        != brief_options(1)
        == {
            "xla_backend_optimization_level": 1,
            "xla_cpu_use_fusion_emitters": False,
        }
    )


def test_other_backends_than_cpu_get_no_options(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    compiled = program(1024, lanes=2)
    assert compiled._go.options is compiled._start.options is None
    assert not compiled._in_turn


@pytest.mark.parametrize("processes", [1, 2])
def test_compile_compiles_what_runs_later(processes, monkeypatch):
    """Functions compile in two threads, or one after another in a job of several processes."""
    fit_program = program(4, evaluate=lambda learner, config, key, state, data: {"mean": state.mean()})
    assert fit_program.memory() == {}
    carry = fit_program.start()
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    fit_program.compile(carry)
    compiled = fit_program._go._compiled, fit_program._look._compiled
    assert None not in compiled
    assert fit_program.evaluate(carry, 0)["mean"].tolist() == [1.0]
    carry, windows = fit_program.advance(carry, 0, 3, 2)
    assert windows.mean["loss"][0, :3].tolist() == [16.0, 16.0, 0.0]
    assert (fit_program._go._compiled, fit_program._look._compiled) == compiled
    assert fit_program.memory()["arguments"] > 0


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        (
            {"a": jnp.zeros(2), "b": jnp.zeros(1)},
            "of another structure than its init .* return the same pytree",
        ),
        ({"a": jnp.zeros(3)}, r"changes \['a'\] from float32\[2\] to float32\[3\]; a state keeps its shapes"),
        ({"a": jnp.zeros(2, jnp.int32)}, r"changes \['a'\] from float32\[2\] to int32\[2\]"),
    ],
)
def test_a_state_keeps_its_form(after, sentence):
    learner = Learner(lambda key, batch: {"a": jnp.zeros(2)}, lambda *_: (after, {}))
    with pytest.raises(ValueError, match=sentence):
        Program(lambda _: learner, np.zeros(1), 1, [0], None, {}, None, None, None)


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        ({"m": jnp.zeros(2)}, r"step returned the metric 'm' with shape \[2\]; metrics are scalars"),
        ({"m": Mean(jnp.zeros(()), jnp.zeros(3))}, r"the metric 'm' with shape \[3\]"),
        (jnp.zeros(()), "step must return its metrics as a dict from name to scalar, got "),
    ],
)
def test_a_metric_is_a_scalar(metrics, sentence):
    learner = Learner(lambda key, batch: jnp.zeros(2), lambda key, state, batch: (state, metrics))
    with pytest.raises(ValueError, match=sentence):
        Program(lambda _: learner, np.zeros(1), 1, [0], None, {}, None, None, None)
