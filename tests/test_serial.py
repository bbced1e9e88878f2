"""`serial` keeps results, and makes functions so short that their kernels run in order."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets, train
from lrn.config import config
from lrn.train import program as _program
from lrn.types import Learner
from lrn.xla.serial import serial, serial_alone, wants_serial

X = jnp.linspace(-1.0, 1.0, 24).reshape(6, 4)
W = [jnp.cos(jnp.arange(16.0) + k).reshape(4, 4) for k in range(8)]


def network(x, weights):
    for w in weights:
        x = jnp.tanh(x @ w) + jax.nn.silu(x)
    return x


def descent(x, weights):
    """A program of many kernels: a loss, its gradient, and a step for each array."""
    loss, slope = jax.value_and_grad(lambda ws: (network(x, ws) ** 2).mean())(weights)
    return loss, [w - 0.1 * s / (1 + jnp.abs(s)) for w, s in zip(weights, slope)]


def loop(x, weights):
    def body(carry, w):
        x, total = carry
        x = jax.lax.fori_loop(0, 3, lambda i, x: jnp.sin(x @ w) + i, x)
        return (x, total + x.sum()), jax.lax.cond(x.sum() > 0, jnp.cos, jnp.sin, x)

    return jax.lax.scan(body, (x, 0.0), jnp.stack(weights))


def random(x, weights):
    keys = jax.random.split(jax.random.key(3), 5)
    rows = jax.random.randint(keys[0], (9,), 0, 6)
    return jax.random.fold_in(keys[1], 2), jax.random.normal(keys[2], (7,)), x[rows], keys[3]


def passed_on(x, weights):
    """A program that returns an input, a constant, a value twice, and None."""
    y = network(x, weights)
    return {"x": x, "one": 1.0, "y": y, "again": y, "none": None, "w": W[0]}


def integers(x, weights):
    order = jnp.argsort(network(x, weights)[:, 0])
    return jnp.zeros(6, jnp.int32).at[order].set(jnp.arange(6)), order > 2


@jax.custom_vjp
def clipped(x):
    return jnp.sin(x)


clipped.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (jnp.clip(g, -0.1, 0.1) + 0 * x,))


def custom(x, weights):
    return clipped(network(x, weights)), jax.grad(lambda x: clipped(network(x, weights)).sum())(x)


def few(x, weights):
    return x + 1


PROGRAMS = [descent, loop, random, passed_on, integers, custom, few]


def plain(tree):
    return jax.tree.map(
        lambda x: np.asarray(
            jax.random.key_data(x) if jnp.issubdtype(jnp.asarray(x).dtype, jax.dtypes.prng_key) else x
        ),
        tree,
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_a_serial_program_gives_the_same_results(program):
    expected, result = jax.jit(program)(X, W), jax.jit(serial(program))(X, W)
    assert jax.tree.structure(expected) == jax.tree.structure(result)
    for a, b in zip(jax.tree.leaves(plain(expected)), jax.tree.leaves(plain(result))):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_serial_works_eagerly_nested_and_under_vmap():
    expected = descent(X, W)
    for f in (serial(descent), serial(serial(descent)), jax.jit(serial(jax.jit(descent)))):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), expected, f(X, W))
    batch = jnp.stack([X, 2 * X, X - 1])
    both = [jax.vmap(f, (0, None))(batch, W) for f in (descent, serial(descent))]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *both)


@pytest.mark.parametrize("program", [descent, custom], ids=lambda f: f.__name__)
def test_the_gradient_of_a_serial_program_is_the_same(program):
    """The gradient uses custom derivatives too: `custom` clips its gradient."""

    def total(f):
        return jax.grad(lambda x: sum(leaf.sum() for leaf in jax.tree.leaves(f(x, W))))

    np.testing.assert_allclose(total(program)(X), total(serial(program))(X), rtol=1e-4, atol=1e-5)


def test_effects_stay_in_order():
    said = []

    def program(x, weights):
        for k, w in enumerate(weights):
            x = jnp.tanh(x @ w)
            jax.debug.callback(lambda v, k=k: said.append(k), x.sum(), ordered=True)
        return x

    jax.block_until_ready(jax.jit(serial(program))(X, W))
    jax.effects_barrier()
    assert said == list(range(len(W)))


def kernels(compiled) -> list[int]:
    """The number of kernels and calls in each computation that the runtime executes step by step."""
    text = compiled.as_text()
    inside = set(re.findall(r"(?:calls|to_apply)=%([\w.\-]+)", text))
    called = set(re.findall(r" call\(.*to_apply=%([\w.\-]+)", text))
    free = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
    counts = []
    for block in text.split("\n\n"):
        head = re.match(r"\s*(?:ENTRY )?%([\w.\-]+)", block)
        if head and (head.group(1) not in inside or head.group(1) in called):
            names = re.findall(r"^\s+(?:ROOT )?%[\w.\-]+ = (?:\(.*?\)|\S+) ([\w\-]+)\(", block, re.MULTILINE)
            counts.append(sum(name not in free for name in names))
    return counts


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the test concerns the CPU runtime")
def test_no_function_has_more_kernels_than_run_in_order():
    """The runtime runs up to eight kernels in order; the whole program has many more."""
    loose = kernels(jax.jit(descent).lower(X, W).compile())
    tight = kernels(jax.jit(serial(descent)).lower(X, W).compile())
    assert max(loose) > 40
    assert max(tight) <= 8
    assert sum(tight) > 40


@config
class ToyRate:
    """The config of `learner`."""

    rate: float = 0.1


def learner(mark):
    net = nets.mlp(1, (8, 8))

    def factory(settings):
        def step(key, params, batch):
            loss, slope = jax.value_and_grad(lambda p: (net.apply(p, (), X)[0] ** 2).mean())(params)
            return jax.tree.map(lambda p, s: p - settings.rate * s, params, slope), {"loss": loss}

        return Learner(lambda key, batch: net.init(key, X)[0], mark(step))

    return factory


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_driver_makes_a_marked_step_serial_for_a_single_lane(seeds, monkeypatch):
    serial_loops = []
    monkeypatch.setattr(_program, "serial", lambda loop: serial_loops.append(loop) or serial(loop))
    fits = [
        train.fit(learner(mark), ToyRate(), range(seeds), steps=20, progress=False, devices=jax.devices()[:1])
        for mark in (lambda step: step, serial_alone)
    ]
    assert len(serial_loops) == (seeds == 1)
    for a, b in zip(*(jax.tree.leaves(f.state) for f in fits)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_environment_turns_serial_off(monkeypatch):
    monkeypatch.setenv("LRN_SERIAL", "0")
    assert not wants_serial(serial_alone(descent))


def test_a_mark_changes_nothing_else():
    marked = serial_alone(descent)
    assert wants_serial(marked)
    assert not wants_serial(descent)
    assert marked.__name__ == "descent"
    jax.tree.map(np.testing.assert_array_equal, marked(X, W), descent(X, W))
