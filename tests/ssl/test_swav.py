"""SwAV against lightly and loops; what the queue, the freezing and the normalization change."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.ssl import swav as module
from lrn.ssl.crops import crops, swapped_cross_entropy
from lrn.ssl.swav import SwAVConfig, swav_codes
from lrn.supervised.optimizers import OptimizerConfig

ROWS = 6


def tensors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit embeddings [crops, n, dim], prototypes and queues [views, length, dim], as for the peer."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(3, ROWS, 5)), rng.normal(size=(4, 5)), rng.normal(size=(2, 8, 5))
    z, w, queue = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in made)
    return z.astype(np.float32), w.astype(np.float32), queue.astype(np.float32)


@jax.jit
def value(z, w, queue, use):
    """The loss and the codes, as in the learner, for two whole views and a local one."""
    codes = jnp.stack([swav_codes(z[i], w, queue[i], use, 0.05, 3) for i in range(2)])
    return swapped_cross_entropy(codes, jnp.matmul(z, w.T, precision="highest") / 0.1), codes


# lightly 1.6.0, torch 2.13.0, float64: SwaVLoss(temperature=.1, sinkhorn_epsilon=.05, sinkhorn_iterations=3)
# of the scores of two whole views and one local view, without and with the queues.
LIGHTLY = {False: 4.460348691852994, True: 5.477399215459529}


@pytest.mark.parametrize("use", [False, True])
def test_the_loss_equals_lightlys(use):
    assert value(*tensors(), use)[0] == pytest.approx(LIGHTLY[use], rel=1e-5)


def test_a_queue_that_is_not_full_takes_no_part():
    """Zeros in the queue change the codes if they are used, which the rule prevents."""
    z, w, queue = tensors()
    without = value(z, w, queue, False)[1]
    np.testing.assert_allclose(value(z, w, np.zeros_like(queue), False)[1], without)
    assert np.abs(value(z, w, np.zeros_like(queue), True)[1] - without).max() > 0.05


def test_the_cross_entropy_equals_loops():
    z, w, queue = tensors()
    loss, codes = value(z, w, queue, False)
    total = 0.0
    for i in range(2):
        for v in range(3):
            if v != i:
                for n in range(ROWS):
                    s = (z[v, n] @ w.T / 0.1).astype(np.float64)
                    total -= codes[i, n] @ (s - np.log(np.exp(s).sum())) / ROWS / 4
    assert loss == pytest.approx(float(total), rel=1e-5)


# An L2 term under adam: it would turn prototypes whose gradient is zero.
DECAY = OptimizerConfig("adam", learning_rate=0.01, weight_decay=0.1)


@functools.cache
def run(steps: int, **changed) -> tuple[list, list[float]]:
    """The states after each step and the losses of the example with other settings."""
    made = module.example()
    learner = made.factory(dataclasses.replace(made.config, optimizer=DECAY, **changed))
    assert made.sampler is not None
    data = {name: jnp.asarray(made.data[name]) for name in ("image", "label")}
    draw = made.sampler.draw

    def init(key):
        return learner.init(key, draw(key, data))

    def step(key, state):
        return learner.step(key, state, draw(jax.random.fold_in(key, 1), data))

    init, step = (jax.jit(f, compiler_options={"xla_backend_optimization_level": 0}) for f in (init, step))
    states = [init(jax.random.key(0))]
    losses = []
    for i in range(steps):
        state, metrics = step(jax.random.key(i), states[-1])
        states.append(state)
        losses.append(float(metrics["loss"]))
    return states, losses


def test_prototypes_are_frozen_then_move_and_are_normalized():
    states, _ = run(4)
    prototypes = [np.asarray(s.training.params["prototypes"]) for s in states]
    assert (prototypes[0] == prototypes[2]).all()
    assert (prototypes[2] != prototypes[3]).any()
    np.testing.assert_allclose(np.linalg.norm(prototypes[4], axis=1), 1, rtol=1e-6)
    free, _ = run(1, freeze=0)
    assert (np.asarray(free[1].training.params["prototypes"]) != prototypes[0]).any()


def test_the_queue_enters_when_full_and_keeps_the_newest_first():
    """A queue of 64 is full after two batches of 32, so the third step is the first that uses it."""
    states, losses = run(4)
    _, without = run(4, queue=0)
    assert losses[:2] == pytest.approx(without[:2], rel=1e-6)
    assert abs(losses[2] - without[2]) > 1e-4
    queues = [np.asarray(s.memory["queue"]) for s in states]
    assert not queues[1][:, 32:].any()
    assert (queues[3][:, 32:] == queues[2][:, :32]).all()
    _, later = run(4, queue_start=4)
    assert later[2] == pytest.approx(without[2], rel=1e-6)
    assert abs(later[3] - without[3]) > 1e-4


def test_gradients_are_finite_at_zero_and_in_bfloat16():
    from lrn.ssl.similarity import unit

    z, w, queue = tensors()

    @jax.jit
    def gradient(z):
        return jax.grad(lambda z: value(unit(z), w, queue, True)[0])(z)

    assert np.isfinite(gradient(np.zeros_like(z))).all()
    half, full = gradient(z.astype(jnp.bfloat16)), gradient(z.astype(jnp.bfloat16).astype(np.float32))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), full, atol=0.01 * float(np.abs(full).max()))


def small(**changed):
    made = module.example()
    return made.factory(dataclasses.replace(made.config, **changed))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: SwAVConfig(prototypes=1), "two or more"),
        (lambda x: SwAVConfig(temperature=0.0), "temperature"),
        (lambda x: SwAVConfig(epsilon=0.0), "epsilon"),
        (lambda x: small(queue=4).init(jax.random.key(0), {"x": x}), "smaller than a batch of 8"),
        (lambda x: small(queue=8).init(jax.random.key(0), {"x": x[:1]}), "has 1 examples"),
        (lambda x: small(local_views=0), "give both or neither"),
        (lambda x: crops(lambda key, x: x, 1, None, 0), "views"),
        (lambda x: swapped_cross_entropy(x[None, :, :2], x[None]), "of one n"),
        (lambda x: swapped_cross_entropy(x[None], x[None]), "nothing to predict"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(jnp.ones((8, 3)))


def test_views_may_come_as_a_tuple():
    """A tuple of two whole views and three local ones gives the whole ones first, together."""

    def several(key, x):
        return x, 2 * x, *(x[:, :2] + i for i in range(3))

    x = jnp.arange(12.0).reshape(4, 3)
    whole, local = crops(several, 2, None, 0).drawn(jax.random.key(0), x)
    np.testing.assert_array_equal(whole, np.concatenate([x, 2 * x]))
    assert local.shape == (12, 2)
    (whole,) = crops(lambda key, x: several(key, x)[:2], 2, None, 0).drawn(jax.random.key(0), x)
    assert whole.shape == (8, 3)
    for wrong in (lambda key, x: (x,), lambda key, x: (x, x[:, :2]), lambda key, x: (x, x, x, x[:, :2])):
        with pytest.raises(InputError, match="a tuple of views must have 2 whole views"):
            crops(wrong, 2, None, 0).drawn(jax.random.key(0), x)
