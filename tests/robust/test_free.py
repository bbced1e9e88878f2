"""Free adversarial training against NumPy and finite differences."""

import dataclasses

import jax
import numpy as np
import pytest
from two_layers import BATCH, PLAIN_SGD, WEIGHTS, X, Y, cross_entropy, logits, single, slope, start

from lrn.config import stack
from lrn.robust.free import FreeConfig, free, in_ball
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import weights
from lrn.types import Net
from tests import plain

RATE = dataclasses.replace(PLAIN_SGD, learning_rate=0.1)


def by_hand(norm, replays, batches, eps=0.1, ratio=0.6):
    """Algorithm 1: the weights, the perturbation and the loss of every update."""
    params, delta, losses = WEIGHTS, np.zeros(X.shape), []
    for x in batches:
        for _ in range(replays):
            moved = np.clip(x + delta, 0, 1)
            loss = lambda w, z=moved: cross_entropy(logits(w, z)).mean()  # noqa: E731
            losses.append(loss(params))
            gradient = slope(lambda z, w=params: cross_entropy(logits(w, z)), moved)
            gradient = gradient * ((x + delta >= 0) & (x + delta <= 1))
            params = jax.tree.map(lambda w, g: w - 0.1 * g, params, plain.gradient(loss, params))
            if norm == "linf":
                delta = np.clip(delta + ratio * eps * np.sign(gradient), -eps, eps)
            else:
                delta = delta + ratio * eps * gradient / np.sqrt((gradient**2).sum((1, 2, 3), keepdims=True))
                size = np.sqrt((delta**2).sum((1, 2, 3), keepdims=True))
                delta = delta * np.minimum(1, eps / size)
    return params, delta, np.array(losses)


@pytest.mark.parametrize(("norm", "replays"), [("linf", 1), ("linf", 3), ("l2", 2)])
def test_the_perturbation_is_carried_over(mlp, norm, replays):
    """With one replay this is training on a single step of FGSM whose start is the last perturbation."""
    batches = [X, X[::-1], np.round(X)]  # pixels at the faces of the box too
    learner = free(mlp(6, 4), FreeConfig(RATE, eps=0.1, step_ratio=0.6, replays=replays, norm=norm))
    state, step, losses = start(learner), jax.jit(learner.step), []
    for i, x in enumerate(batches):
        state, metrics = step(jax.random.key(i), state, {"image": x.astype(np.float32), "label": Y})
        losses.append(metrics["loss"])
    params, delta, exact = by_hand(norm, replays, batches)
    np.testing.assert_allclose(losses, exact.reshape(3, replays).mean(1), rtol=1e-4)
    np.testing.assert_allclose(state.perturbation, delta, atol=2e-5)
    plain.assert_trees_close(state.training.params, params, 1e-3, 2e-5)
    assert state.training.step == 3 * replays
    assert np.abs(delta).max() > 0.05


def test_eps_of_zero_is_standard_training_and_eps_sweeps(mlp):
    @jax.jit
    def run(config):
        learner = free(mlp(6, 4), config)
        return learner.step(jax.random.key(0), start(learner), BATCH)

    configs = [FreeConfig(RATE, AverageConfig("ema", 0.5), eps=e, replays=2) for e in (0.0, 0.2)]
    swept, alone = jax.vmap(run)(stack(configs)), [run(config) for config in configs]
    for i in range(2):
        plain.assert_trees_close(jax.tree.map(lambda v, i=i: v[i], swept), alone[i], 1e-4, 1e-5)
    assert not alone[0][0].perturbation.any()
    params = WEIGHTS
    for _ in range(2):
        gradient = plain.gradient(lambda w: cross_entropy(logits(w, X)).mean(), params)
        params = jax.tree.map(lambda w, g: w - 0.1 * g, params, gradient)
    plain.assert_trees_close(alone[0][0].training.params, params, 1e-3, 2e-5)
    averaged, _ = weights(alone[0][0].training)  # of the two updates
    assert not np.allclose(averaged[0]["w"], params[0]["w"], atol=1e-5)


def test_every_replay_changes_the_state_of_the_network():
    def apply(params, state, x, *, key=None, train=False):
        return x.reshape(len(x), -1) @ params, state + 1 if train else state

    net = Net(lambda key, x: (np.eye(12, 4, dtype=np.float32), np.zeros((), np.int32)), apply)
    learner = free(net, FreeConfig(RATE, replays=4))
    state = jax.jit(learner.init)(jax.random.key(0), BATCH)
    after, _ = jax.jit(learner.step)(jax.random.key(1), state, BATCH)
    assert after.training.net_state == 4


def test_ball():
    delta = single([[3.0, 4.0], [0.3, -0.4], [0.0, 0.0]])
    np.testing.assert_allclose(in_ball(delta, 1.0, "l2"), [[0.6, 0.8], [0.3, -0.4], [0, 0]], rtol=1e-6)
    eps = single([1.0, 0.35, 0.0])
    np.testing.assert_allclose(in_ball(delta, eps, "linf"), [[1, 1], [0.3, -0.35], [0, 0]], rtol=1e-6)


def test_refused(mlp):
    learner = free(mlp(6, 4), FreeConfig())
    state = start(learner)
    with pytest.raises(ValueError, match="batches of one shape"):
        learner.step(jax.random.key(0), state, {"image": BATCH["image"][:3], "label": Y[:3]})
    with pytest.raises(ValueError, match="replays must be at least 1"):
        FreeConfig(replays=0)
    with pytest.raises(ValueError, match="step_ratio must be a finite number above 0"):
        FreeConfig(step_ratio=0.0)
