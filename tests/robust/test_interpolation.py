"""Interpolation of clean and robust loss, and what every method shares, against other trainings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_layers import BATCH, NOISE, PLAIN_SGD, WEIGHTS, X, Y, cross_entropy, logits, start

from lrn import nets
from lrn.config import stack
from lrn.robust.adversarial_training import AdversarialTrainingConfig, adversarial_training
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.grad_align import GradAlignConfig, grad_align
from lrn.robust.interpolation import InterpolationConfig, interpolated
from lrn.robust.trades import TRADESConfig, trades
from lrn.robust.training import Objective, train_on
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import weights
from lrn.supervised.settings import TrainingConfig
from lrn.types import Net
from tests import plain

X_ADV = np.clip(X + 0.1 * np.sign(NOISE), 0, 1)


def fixed(key, logits_fn, x, y):
    return jnp.asarray(X_ADV, x.dtype)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_step_is_that_of_the_weighted_mean(mlp, share):
    def loss(params):
        clean, robust = (cross_entropy(logits(params, z)).mean() for z in (X, X_ADV))
        return (1 - share) * clean + share * robust

    learner = interpolated(mlp(6, 4), InterpolationConfig(PLAIN_SGD, robust_share=share), fixed)
    before = start(learner)
    after, metrics = jax.jit(learner.step)(jax.random.key(0), before, BATCH)
    assert metrics["loss"] == pytest.approx(loss(WEIGHTS), rel=1e-5)
    assert metrics["clean_loss"] == pytest.approx(cross_entropy(logits(WEIGHTS, X)).mean(), rel=1e-5)
    assert metrics["robust_loss"] == pytest.approx(cross_entropy(logits(WEIGHTS, X_ADV)).mean(), rel=1e-5)
    step = jax.tree.map(lambda a, b: a - b, before.params, after.params)
    plain.assert_trees_close(step, plain.gradient(loss, WEIGHTS), 1e-3, 1e-5)


def trained(learner, state, steps=3):
    body = lambda s, k: learner.step(k, s, BATCH)  # noqa: E731
    return jax.jit(lambda key, s: jax.lax.scan(body, s, jax.random.split(key, steps)))(
        jax.random.key(5), state
    )


def test_a_share_of_one_is_adversarial_training(mlp):
    net, attack = mlp(6, 4), fgsm(FGSMConfig(eps=0.1))
    theirs = adversarial_training(net, AdversarialTrainingConfig(learning_rate=0.1, momentum=0.5), attack)
    optimizer = dataclasses.replace(PLAIN_SGD, learning_rate=0.1, momentum=0.5)
    ours = interpolated(net, InterpolationConfig(optimizer, robust_share=1.0), attack)
    (a, x), (b, z) = (trained(k, start(k)) for k in (ours, theirs))
    plain.assert_trees_close(a.params, b.params, 1e-4, 1e-5)
    np.testing.assert_allclose(x["loss"], z["loss"], rtol=1e-5)
    np.testing.assert_allclose(x["robust_accuracy"], z["accuracy"])


@pytest.mark.parametrize("method", ["trades", "interpolated", "grad_align"])
def test_eps_of_zero_is_standard_training(mlp, method):
    net, optimizer = mlp(6, 4), dataclasses.replace(PLAIN_SGD, learning_rate=0.1, momentum=0.5)
    learner = {
        "trades": lambda: trades(net, TRADESConfig(optimizer, eps=0.0, steps=2)),
        "interpolated": lambda: interpolated(net, InterpolationConfig(optimizer), fgsm(FGSMConfig(eps=0.0))),
        "grad_align": lambda: grad_align(net, GradAlignConfig(optimizer, eps=0.0)),
    }[method]()
    theirs = adversarial_training(net, AdversarialTrainingConfig(learning_rate=0.1, momentum=0.5))
    (a, x), (b, z) = (trained(k, start(k)) for k in (learner, theirs))
    plain.assert_trees_close(a.params, b.params, 1e-4, 1e-5)
    np.testing.assert_allclose(x["loss"], z["loss"], rtol=1e-5)


def test_the_average_is_that_of_the_supervised_learner(mlp):
    config = InterpolationConfig(PLAIN_SGD, AverageConfig("swa"))
    learner = interpolated(mlp(6, 4), config, fixed)
    state, step, seen = start(learner), jax.jit(learner.step), []
    for i in range(3):
        state, _ = step(jax.random.key(i), state, BATCH)
        seen.append(state.params[0]["w"])
    np.testing.assert_allclose(weights(state)[0][0]["w"], np.mean(seen, axis=0), rtol=1e-5)
    assert state.step == 3


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_the_attack_sees_the_mode_it_asks_for(mode):
    calls = []

    def apply(params, state, x, *, key=None, train=False):
        calls.append((train, key is not None))
        return x.reshape(len(x), -1) @ params, state + 1 if train else state

    net = Net(lambda key, x: (jnp.eye(12, 4), jnp.zeros((), jnp.int32)), apply)
    config = InterpolationConfig(PLAIN_SGD, attack_mode=mode)
    learner = interpolated(net, config, fgsm(FGSMConfig(eps=0.1)))
    state = jax.jit(learner.init)(jax.random.key(0), BATCH)
    calls.clear()
    after, _ = jax.jit(learner.step)(jax.random.key(1), state, BATCH)
    assert set(calls[:-2]) == {(mode == "training", mode == "training")}
    assert calls[-2:] == [(True, True)] * 2
    assert after.net_state == 2  # the attack changes nothing


def test_an_attack_in_training_mode_sees_one_mask_of_dropout():
    """Two calls of the network give the same logits, and other steps other masks."""
    seen = []

    def attack(key, logits_fn, x, y):
        seen.append(jnp.stack([logits_fn(x), logits_fn(x)]))
        return x

    def loss(key, params, net_state, x, x_adv, y):
        return jnp.sum(params["dense_0"]["bias"] ** 2), (net_state, {"twice": seen.pop()})

    net = nets.mlp(4, (8,), dropout=0.5)
    learner = train_on(net, Objective(attack, loss, "training"), TrainingConfig(PLAIN_SGD))
    state = jax.jit(learner.init)(jax.random.key(0), BATCH)
    step = jax.jit(learner.step)
    one, other = (step(jax.random.key(i), state, BATCH)[1]["twice"] for i in range(2))
    np.testing.assert_array_equal(one[0], one[1])
    assert not np.allclose(one[0], other[0])


def test_shares_sweep(mlp):
    @jax.jit
    def run(config):
        learner = interpolated(mlp(6, 4), config, fixed)
        return learner.step(jax.random.key(0), start(learner), BATCH)

    configs = [InterpolationConfig(PLAIN_SGD, robust_share=a) for a in (0.0, 0.4, 1.0)]
    swept = jax.vmap(run)(stack(configs))
    for i, config in enumerate(configs):
        plain.assert_trees_close(jax.tree.map(lambda v, i=i: v[i], swept), run(config), 1e-4, 1e-5)


def test_refused(mlp):
    learner = interpolated(mlp(6, 4), InterpolationConfig(), fixed)
    for batch, message in (
        ({"x": X.astype(np.float32) * 255, "y": Y}, r"x must lie in \[0, 1\]"),
        ({"x": X.astype(np.float32), "y": Y + 4}, "labels must lie between 0 and 3"),
        ({"x": X.astype(np.float32), "y": Y.astype(float)}, "integer class labels"),
    ):
        with pytest.raises(ValueError, match=message):
            learner.init(jax.random.key(0), batch)
    after, metrics = jax.jit(learner.step)(jax.random.key(0), start(learner), BATCH | {"label": Y + 4})
    assert jnp.isnan(metrics["loss"])
    assert jnp.isnan(after.params[0]["w"]).all()
    with pytest.raises(ValueError, match="robust_share must lie between 0 and 1"):
        InterpolationConfig(robust_share=1.5)
    with pytest.raises(ValueError, match="attack_mode 'eval' is not known; did you mean evaluation"):
        InterpolationConfig(attack_mode="eval")
    with pytest.raises(ValueError, match="attack_mode 'train' is not known"):
        train_on(mlp(6, 4), Objective(None, lambda *a: a, "train"), TrainingConfig())
