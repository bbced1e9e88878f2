"""GradAlign against NumPy and finite differences of finite differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_layers import BATCH, NOISE, PLAIN_SGD, WEIGHTS, WEIGHTS32, X, Y, cross_entropy, logits, slope, start

from lrn import nets
from lrn.config import stack
from lrn.robust import grad_align as module
from lrn.robust.grad_align import GradAlignConfig, grad_align, grad_align_objective
from lrn.types import Net
from tests import plain

BESIDE = np.clip(X + 0.7 * np.tanh(NOISE), 0, 1)  # x + eta
FGSM = np.clip(X + 0.1 * np.sign(slope(lambda z: cross_entropy(logits(WEIGHTS, z)), X)), 0, 1)


def input_gradient(weights, x):
    """The gradient of the cross-entropy by the input, by the chain rule, [batch, 12]."""
    first, second = weights
    hidden = np.tanh(x.reshape(len(x), -1) @ first["w"] + first["b"])
    p = np.exp(plain.log_softmax(hidden @ second["w"] + second["b"]))
    p[np.arange(len(Y)), Y] -= 1
    return (p @ second["w"].T * (1 - hidden**2)) @ first["w"].T


HERE = input_gradient(WEIGHTS, X)  # a constant of the loss


def alignment(weights):
    there = input_gradient(weights, BESIDE)
    sizes = np.linalg.norm(HERE, axis=1) * np.linalg.norm(there, axis=1)
    return ((HERE * there).sum(1) / sizes).mean()


def loss_of(weights):
    return cross_entropy(logits(weights, FGSM)).mean() + 10 * (1 - alignment(weights))


def test_a_step(mlp, monkeypatch):
    monkeypatch.setattr(module, "random_start", lambda key, x, eps, norm: jnp.asarray(BESIDE, x.dtype))
    learner = grad_align(mlp(6, 4), GradAlignConfig(PLAIN_SGD, penalty=10.0, eps=0.1))
    before = start(learner)
    after, metrics = jax.jit(learner.step)(jax.random.key(0), before, BATCH)
    assert metrics["loss"] == pytest.approx(loss_of(WEIGHTS), rel=1e-5)
    assert metrics["alignment"].value == pytest.approx(alignment(WEIGHTS), rel=1e-5)
    assert metrics["alignment"].weight == 5
    assert 10 * (1 - alignment(WEIGHTS)) > 0.5  # the penalty is no rounding
    step = jax.tree.map(lambda a, b: a - b, before.params, after.params)
    plain.assert_trees_close(step, plain.gradient(loss_of, WEIGHTS), 1e-3, 2e-5)


def test_no_penalty_where_the_loss_is_linear():
    """The gradients of a linear network with two classes differ in length alone."""
    net = nets.mlp(2, ())
    learner = grad_align(net, GradAlignConfig(PLAIN_SGD, penalty=100.0, eps=0.3))
    batch = {"image": BATCH["image"], "label": Y % 2}
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    _, metrics = jax.jit(learner.step)(jax.random.key(1), state, batch)
    assert metrics["alignment"].value == pytest.approx(1, abs=1e-6)
    assert metrics["loss"] == pytest.approx(float(metrics["robust_loss"]), abs=2e-4)


def test_examples_without_a_gradient_are_left_out():
    """A network that is constant in two of the five examples, whose gradients are exactly zero."""

    def apply(params, state, x, *, key=None, train=False):
        alive = jnp.array([1.0, 0, 1, 0, 1])[: len(x), None]
        hidden = jnp.tanh(alive * (x.reshape(len(x), -1) @ params["w"]))
        return hidden @ params["v"], state

    net = Net(lambda key, x: ({"w": WEIGHTS32[0]["w"], "v": WEIGHTS32[1]["w"]}, ()), apply)
    objective = grad_align_objective(net, GradAlignConfig(eps=0.1))
    params = net.init(jax.random.key(0), BATCH["image"])[0]
    value = jax.value_and_grad(objective.loss, argnums=1, has_aux=True)
    (_, (_, metrics)), gradient = jax.jit(value)(
        jax.random.key(0), params, (), BATCH["image"], BATCH["image"], Y
    )
    assert metrics["alignment"].weight == 3
    assert 0.5 < metrics["alignment"].value < 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_second_order_through_a_convolution_and_a_sweep():
    net = nets.cnn(10, (4,))
    batch = {"image": jax.random.uniform(jax.random.key(0), (8, 8, 8, 1)), "label": np.arange(8)}

    @jax.jit
    def run(config):
        learner = grad_align(net, config)
        state, first = learner.step(jax.random.key(1), learner.init(jax.random.key(0), batch), batch)
        return first["loss"], learner.step(jax.random.key(2), state, batch)[1]["loss"]

    gentle = dataclasses.replace(PLAIN_SGD, learning_rate=0.01)
    configs = [GradAlignConfig(gentle, penalty=p, eps=e) for p, e in ((0.0, 0.0), (1.0, 0.1))]
    swept = jax.jit(jax.vmap(run))(stack(configs))
    for i, config in enumerate(configs):
        np.testing.assert_allclose([v[i] for v in swept], run(config), rtol=1e-4)
    assert swept[1][1] > swept[1][0] + 0.01


def test_bad_configs():
    with pytest.raises(ValueError, match="penalty must be a finite number, 0 or more"):
        GradAlignConfig(penalty=-1.0)
    with pytest.raises(ValueError, match="eps must lie between 0 and 1"):
        GradAlignConfig(eps=8.0)
