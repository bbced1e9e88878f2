"""Target networks, queues and stop-gradients: MoCo, BYOL and SimSiam step by step in NumPy.

Encoders are matrices and heads the identity, so that NumPy can follow the steps. Each test fails if the part
that it is named after is removed.
"""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.check import InputError
from lrn.ssl.byol import BYOLConfig, byol, byol_loss
from lrn.ssl.dino import DINOConfig, dino
from lrn.ssl.moco import MoCoConfig, enqueue, moco, moco_loss
from lrn.ssl.simsiam import SimSiamConfig, simsiam, simsiam_loss
from lrn.ssl.target import rising
from lrn.ssl.views import draw
from lrn.supervised.optimizers import OptimizerConfig

SGD = OptimizerConfig("sgd", learning_rate=0.5, momentum=0.0)
N, DIM, OUT = 4, 3, 2
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, N, DIM)).astype(np.float32)  # the batches of five steps


def linear():
    """Rows times a matrix [DIM, OUT]."""
    return nets.from_function(
        lambda key, x: jax.random.normal(key, (x.shape[-1], OUT)), lambda params, x: x @ params
    )


def identity():
    return nets.from_function(lambda key, x: (), lambda params, x: x)


def plain(key, x):
    return x


def steps(learner, count: int):
    """The states before and after each of ``count`` steps, and the metrics of each step."""
    init, step = jax.jit(learner.init), jax.jit(learner.step)
    states, metrics = [init(jax.random.key(0), {"x": X[0]})], []
    for i in range(count):
        state, found = step(jax.random.key(i), states[-1], {"x": X[i]})
        states.append(state)
        metrics.append(found)
    return jax.device_get(states), jax.device_get(metrics)


def matrix(state):
    return state.training.params["encoder"]


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def close(a, b, atol=1e-6):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


def test_moco_keeps_the_newest_keys_of_a_slow_network_first():
    config = MoCoConfig(SGD, temperature=0.5, momentum=0.75, queue=10)
    states, metrics = steps(moco(linear(), identity(), plain, config), 4)
    queue, slow = states[0].memory.queue, matrix(states[0])
    close(np.linalg.norm(queue, axis=1), 1)
    assert np.linalg.matrix_rank(queue) == OUT
    for i in range(4):
        before, after = states[i], states[i + 1]
        keys = unit(X[i] @ slow)
        # The loss compares with the queue before the batch's own keys enter.
        scores = unit(X[i] @ matrix(before)) @ np.concatenate([keys, queue]).T / 0.5
        own = np.diagonal(scores)
        rest = np.exp(scores[:, N:]).sum(1)
        assert metrics[i]["loss"] == pytest.approx(np.mean(np.log(np.exp(own) + rest) - own), rel=1e-5)
        queue = np.concatenate([keys, queue])[:10]
        slow = 0.75 * slow + 0.25 * matrix(after)
        close(after.memory.queue, queue)
        close(after.memory.target.params["encoder"], slow)
    assert not np.allclose(matrix(states[1]), states[1].memory.target.params["encoder"], atol=1e-4)


def noisy(key, x):
    return x + jax.random.normal(key, x.shape)


def test_moco_takes_no_gradient_through_keys():
    config = MoCoConfig(SGD, temperature=0.5, queue=10)
    states, _ = steps(moco(linear(), identity(), noisy, config), 1)
    start, queue = matrix(states[0]), states[0].memory.queue
    a, b = draw(noisy, jax.random.split(jax.random.key(0))[0], X[0])  # the views of the step

    @jax.jit
    def slopes(start):
        fixed = jax.grad(lambda w: moco_loss(a @ w, b @ start, queue, 0.5))(start)
        return fixed, jax.grad(lambda w: moco_loss(a @ w, b @ w, queue, 0.5))(start)

    fixed, moving = slopes(start)
    close(matrix(states[1]), start - 0.5 * np.asarray(fixed))
    assert np.abs(np.asarray(fixed) - moving).max() > 0.01


@pytest.mark.parametrize("horizon", [0, 3])
def test_the_target_of_byol_follows_its_schedule(horizon):
    config = BYOLConfig(SGD, momentum=0.5, steps=horizon)
    states, metrics = steps(byol(linear(), identity(), identity(), plain, config), 5 if horizon else 2)
    slow = matrix(states[0])
    for i, (before, after) in enumerate(itertools.pairwise(states)):
        p, t = unit(X[i] @ matrix(before)), unit(X[i] @ slow)
        assert metrics[i]["loss"] == pytest.approx(2 * np.mean(np.sum((p - t) ** 2, 1)), rel=1e-4, abs=1e-5)
        done = min(i / horizon, 1) if horizon else 0
        tau = 1 - (1 - 0.5) * (np.cos(np.pi * done) + 1) / 2
        slow = tau * slow + (1 - tau) * matrix(after)
        close(after.memory.params["encoder"], slow)
    if horizon:
        close(states[4].memory.params["encoder"], states[5].memory.params["encoder"])  # the momentum is 1


def test_the_schedule_rises_from_its_start_to_one():
    momenta = jax.jit(lambda k: jax.vmap(lambda k: rising(0.9, k, 100))(k))(jnp.arange(121))
    assert momenta[0] == pytest.approx(0.9)
    assert momenta[50] == pytest.approx(0.95)
    close(momenta[100:], 1)
    assert np.all(np.diff(momenta[:101]) > 0)


# The method with and without the stop-gradient; its loss by the embeddings of the two (equal) views.
SIMSIAM = SimSiamConfig(SGD)
BYOL = BYOLConfig(SGD, target=False)
STOPPED = {
    "simsiam": (simsiam, SIMSIAM, lambda p, z: simsiam_loss(p, p, z, z, stop_gradient=False)),
    "byol": (byol, BYOL, lambda p, z: byol_loss(p, p, z, z)),
}


@pytest.mark.parametrize("name", STOPPED)
def test_the_stop_gradient_cuts_the_targets_and_can_be_removed(name):
    """The first step equals one by the gradient with constant targets, or, without the stop, by all."""
    method, config, loss = STOPPED[name]

    def scaled():
        """A predictor by a matrix that is no rotation, so predictions differ from embeddings."""
        return nets.from_function(lambda key, x: jnp.array([[1.0, 0.0], [2.0, 1.0]]), lambda p, x: x @ p)

    both = [
        steps(
            method(linear(), identity(), scaled(), plain, dataclasses.replace(config, stop_gradient=stop)), 1
        )
        for stop in (True, False)
    ]
    start = matrix(both[0][0][0])
    predict = jnp.array([[1.0, 0.0], [2.0, 1.0]])

    @jax.jit
    def slopes(start):
        cut = jax.grad(lambda w: loss(X[0] @ w @ predict, X[0] @ start))(start)
        return cut, jax.grad(lambda w: loss(X[0] @ w @ predict, X[0] @ w))(start)

    cut, uncut = slopes(start)
    for (states, _), slope in zip(both, (cut, uncut)):
        close(matrix(states[1]), start - 0.5 * np.asarray(slope), atol=1e-5)
    assert np.abs(np.asarray(cut) - uncut).max() > 0.01
    assert both[0][1][0]["loss"] == pytest.approx(both[1][1][0]["loss"], rel=1e-6)


def test_without_a_predictor_the_embedding_is_the_prediction():
    """For equal views the losses are then at their minimum."""
    given = linear(), identity(), linear(), plain
    for learner, least in (
        (simsiam(*given, SimSiamConfig(SGD, predictor=False)), -1.0),
        (byol(*given, BYOLConfig(SGD, target=False, predictor=False)), 0.0),
    ):
        states, metrics = steps(learner, 1)
        assert metrics[0]["loss"] == pytest.approx(least, abs=1e-5)
        assert set(states[0].training.params) == {"encoder", "head"}


def test_a_swept_momentum_out_of_its_range_makes_the_target_nan():
    swept = {
        "moco": lambda v: moco(linear(), identity(), plain, MoCoConfig(SGD, momentum=v, queue=4)),
        "byol": lambda v: byol(linear(), identity(), identity(), plain, BYOLConfig(SGD, momentum=v)),
        "dino": lambda v: dino(linear(), identity(), plain, DINOConfig(SGD, prototypes=2, momentum=v)),
    }

    def second(value):
        found = {}
        for name, of in swept.items():
            learner = of(value)
            state = learner.init(jax.random.key(0), {"x": X[0]})
            state, _ = learner.step(jax.random.key(1), state, {"x": X[0]})
            found[name] = learner.step(jax.random.key(2), state, {"x": X[1]})[1]["loss"]
        return found

    quick = {"xla_backend_optimization_level": 0}
    found = jax.jit(jax.vmap(second), compiler_options=quick)(jnp.asarray([0.5, 1.0, -0.1, 1.1]))
    for name, value in found.items():
        assert np.isnan(value).tolist() == [False, False, True, True], name


MOCO = linear(), identity(), plain


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: enqueue(jnp.ones((3, 2)), jnp.ones((4, 2))), "the queue has 3 keys and the batch 4"),
        (lambda: moco(*MOCO, MoCoConfig(queue=3)).init(jax.random.key(0), {"x": X[0]}), "the queue has 3"),
        (lambda: MoCoConfig(momentum=1.5), "momentum"),
        (lambda: MoCoConfig(temperature=0.0), "temperature"),
        (lambda: MoCoConfig(queue=0), "queue"),
        (lambda: BYOLConfig(momentum=-0.1), "momentum"),
        (lambda: BYOLConfig(stop_gradient=False), "target=False"),
        (lambda: BYOLConfig(steps=-1), "steps"),
        (lambda: SimSiamConfig(predictor="no"), "predictor"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
