"""AWP against NumPy and finite differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_layers import BATCH, NOISE, PLAIN_SGD, WEIGHTS, WEIGHTS32, X, Y, cross_entropy, logits, single, start

from lrn.robust.awp import AWPConfig, awp, perturbation, weight_perturbed
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.interpolation import InterpolationConfig, interpolated_objective
from lrn.robust.trades import TRADESConfig, trades_objective
from lrn.robust.training import Objective, train_on
from lrn.supervised.settings import TrainingConfig
from lrn.types import Net
from tests import plain

X_ADV = np.clip(X + 0.1 * np.sign(NOISE), 0, 1)


def loss_of(weights):
    return 0.3 * cross_entropy(logits(weights, X)).mean() + 0.7 * cross_entropy(logits(weights, X_ADV)).mean()


def moved(weights, gamma):
    """The weights after the step of ascent: each matrix by gamma |w| along its gradient."""
    gradient = plain.gradient(loss_of, weights)
    return [
        {"w": v["w"] + gamma * np.linalg.norm(v["w"]) * g["w"] / np.linalg.norm(g["w"]), "b": v["b"]}
        for v, g in zip(weights, gradient)
    ]


def objective(net):
    """The loss above, with the attack that returns `X_ADV`."""
    mixed = interpolated_objective(net, InterpolationConfig(robust_share=0.7), fgsm(FGSMConfig()))
    return mixed._replace(attack=lambda key, logits_fn, x, y: jnp.asarray(X_ADV, x.dtype))


def test_a_step_takes_the_gradient_at_the_worst_neighbor(mlp):
    learner = awp(mlp(6, 4), objective(mlp(6, 4)), AWPConfig(PLAIN_SGD, gamma=0.2))
    before = start(learner)
    after, metrics = jax.jit(learner.step)(jax.random.key(0), before, BATCH)
    worst = moved(WEIGHTS, 0.2)
    assert metrics["loss"] == pytest.approx(loss_of(worst), rel=1e-5)
    assert loss_of(worst) > loss_of(WEIGHTS) + 0.1
    step = jax.tree.map(
        lambda a, b: a - b, before.params, after.params
    )  # the weights return from the neighbor
    plain.assert_trees_close(step, plain.gradient(loss_of, worst), 1e-3, 2e-5)


@pytest.mark.parametrize("name", ["trades", "mixed"])
def test_gamma_of_zero_is_the_objective(mlp, name):
    net = mlp(6, 4)
    plainly = {
        "trades": trades_objective(net, TRADESConfig(eps=0.1, step_size=0.05, steps=2)),
        "mixed": interpolated_objective(net, InterpolationConfig(), fgsm(FGSMConfig(eps=0.1))),
    }[name]
    learners = (
        train_on(net, plainly, TrainingConfig(PLAIN_SGD)),
        awp(net, plainly, AWPConfig(PLAIN_SGD, gamma=0.0)),
    )
    (one, a), (other, b) = (jax.jit(k.step)(jax.random.key(3), start(k), BATCH) for k in learners)
    plain.assert_trees_close(one.params, other.params, 1e-6, 1e-6)
    plain.assert_trees_close(dict(a), dict(b), 1e-6, 1e-6)


def test_gammas_sweep(mlp):
    @jax.jit
    def run(config):
        learner = awp(mlp(6, 4), objective(mlp(6, 4)), config)
        return learner.step(jax.random.key(0), start(learner), BATCH)

    configs = [AWPConfig(PLAIN_SGD, gamma=g) for g in (0.0, 0.01, 0.3)]
    swept = jax.vmap(run)(jax.tree.map(lambda *v: jnp.stack([jnp.float32(x) for x in v]), *configs))
    losses = [float(run(config)[1]["loss"]) for config in configs]
    np.testing.assert_allclose(swept[1]["loss"], losses, rtol=1e-5)
    assert losses == sorted(losses)


def test_the_attack_runs_once_and_one_pass_changes_the_state(mlp):
    attacked = []

    def attack(key, logits_fn, x, y):
        attacked.append(logits_fn(x))
        return x

    def apply(params, state, x, *, key=None, train=False):
        return x.reshape(len(x), -1) @ params, state + 1 if train else state

    net = Net(lambda key, x: (jnp.eye(12, 4), jnp.zeros((), jnp.int32)), apply)

    def loss(key, params, net_state, x, x_adv, y):
        z, net_state = net.apply(params, net_state, x_adv, key=key, train=True)
        return jnp.mean(z**2), (net_state, {})

    learner = awp(net, Objective(attack, loss), AWPConfig(PLAIN_SGD))
    state = jax.jit(learner.init)(jax.random.key(0), BATCH)
    after, _ = jax.jit(learner.step)(jax.random.key(1), state, BATCH)
    assert len(attacked) == 1
    assert after.net_state == 1


def test_perturbation_of_each_array():
    params = {"w": jnp.float32([[3.0, 0.0], [0.0, 4.0]]), "b": jnp.ones(2), "still": jnp.ones((2, 2))}
    gradient = {"w": jnp.float32([[0.0, 2.0], [0.0, 0.0]]), "b": jnp.ones(2), "still": jnp.zeros((2, 2))}
    offset = perturbation(params, gradient, 0.1)
    np.testing.assert_allclose(offset["w"], [[0.0, 0.5], [0.0, 0.0]], rtol=1e-6)
    assert not offset["b"].any()
    assert not offset["still"].any()


def test_no_gradient_flows_through_the_step_of_ascent(mlp):
    """The derivative of the perturbed loss is that at constant offsets, also by forward mode."""
    perturbed = weight_perturbed(objective(mlp(6, 4)), 0.2).loss
    value = lambda p: perturbed(jax.random.key(0), p, (), BATCH["image"], single(X_ADV), Y)[0]  # noqa: E731
    direction = jax.tree.map(np.ones_like, WEIGHTS32)
    _, slope = jax.jit(lambda p, d: jax.jvp(value, (p,), (d,)))(WEIGHTS32, direction)
    gradient = plain.gradient(loss_of, moved(WEIGHTS, 0.2))
    assert slope == pytest.approx(sum(float(leaf.sum()) for leaf in jax.tree.leaves(gradient)), rel=1e-3)


def test_bad_config():
    with pytest.raises(ValueError, match="gamma must be a finite number, 0 or more"):
        dataclasses.replace(AWPConfig(), gamma=-0.1)
