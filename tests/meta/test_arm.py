"""Adaptive risk minimization: the context is a mean over inputs; ARM with a constant context is pooling."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from lrn import nets, train
from lrn.meta.arm import ARMConfig, arm, context_of, told
from lrn.meta.episode import TaskFamily, draw, episodes
from lrn.meta.evaluate import per_task
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.pooled import PooledConfig, pooled
from lrn.meta.problem import regression

PROBLEM = regression(nets.mlp(None, (16,)))
SILENT = nets.from_function(lambda key, x: (), lambda params, x: jnp.zeros((x.shape[0], 2)))


def close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


def test_a_context_that_says_nothing_is_pooled_training():
    """With a context of zeros the loss, the step and the predictions equal those of pooled."""
    given = draw(sinusoid(), jax.random.key(0), 4)
    learner = arm(PROBLEM, SILENT, ARMConfig(meta_rate=0.1, optimizer=optax.sgd))
    state = learner.init(jax.random.key(1), given)
    beside = jax.vmap(lambda e: e._replace(
        support={**e.support, "x": told(e.support["x"], jnp.zeros(2))},
        query={**e.query, "x": told(e.query["x"], jnp.zeros(2))},
    ))(given)  # fmt: skip
    plain = pooled(PROBLEM, PooledConfig(meta_rate=0.1, optimizer=optax.sgd))
    other = plain.init(jax.random.key(2), beside)._replace(meta=state.meta["params"])
    after, metrics = learner.step(jax.random.key(3), state, given)
    expected, wanted = plain.step(jax.random.key(3), other, beside)
    close(metrics["loss"], wanted["loss"])
    close(after.meta["params"], expected.meta)
    task, told_task = (jax.tree.map(lambda x: x[0], e) for e in (given, beside))
    outputs = learner.curve(after, task.support, task.query["x"], (), 2)
    close(outputs[0], plain.curve(expected, told_task.support, told_task.query["x"], (), 0)[0])
    close(outputs[0], outputs[2])


def test_the_context_is_of_the_inputs_and_not_of_their_labels_or_order():
    given = draw(sinusoid(), jax.random.key(0), 4)
    learner = arm(PROBLEM, nets.mlp(3, (8,)), ARMConfig())
    state = learner.init(jax.random.key(1), given)
    task = jax.tree.map(lambda x: x[0], given)
    x = task.query["x"]
    outputs = learner.curve(state, task.support, x, (), 0)
    lied = {"x": task.support["x"][::-1], "y": -7 * task.support["y"]}
    close(learner.curve(state, lied, x, (), 0), outputs)
    moved = {**task.support, "x": task.support["x"] + 3}
    assert not np.allclose(learner.curve(state, moved, x, (), 0), outputs, atol=1e-3)


def test_context_by_hand():
    double = nets.from_function(lambda key, x: (), lambda params, x: 2 * x)
    x = jnp.array([[1.0, 2.0], [3.0, 6.0]])
    np.testing.assert_allclose(context_of(double, (), x), [4, 8])
    np.testing.assert_allclose(told(x, jnp.array([9.0])), [[1, 2, 9], [3, 6, 9]])
    image = told(jnp.zeros((5, 4, 4, 1)), jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(image, np.broadcast_to([0.0, 1.0, 2.0], (5, 4, 4, 3)))


def test_it_learns_what_only_the_batch_tells():
    """y = x - (mean of the task's inputs): a batch of inputs determines the mean, a single input does not."""

    def batch(key, task):
        x = task + jax.random.normal(key, (40, 1))
        part = {"x": x, "y": x - task}
        return jax.tree.map(lambda a: a[:20], part), jax.tree.map(lambda a: a[20:], part)

    family = TaskFamily("places", lambda key: 3 * jax.random.normal(key), batch, 1)
    linear = regression(nets.mlp(None, ()))
    itself = nets.from_function(lambda key, x: (), lambda params, x: x)
    losses = {}
    for name, net in {"told": itself, "silent": SILENT}.items():
        fit = train.fit(
            lambda c, net=net: arm(linear, net, c), ARMConfig(meta_rate=0.03), [0], steps=500,
            sampler=episodes(family, 8), progress=False,
        )  # fmt: skip
        learner = arm(linear, net, ARMConfig())
        state = jax.tree.map(lambda x: x[0, 0], fit.state)
        tasks = draw(family, jax.random.key(5), 100)
        losses[name] = per_task(learner, linear, state, tasks, 0)["loss"].mean()
    # The mean of 20 inputs has a squared error of 1/20; a single input leaves 9/10 of the variance.
    assert losses["told"] == pytest.approx(0.05, abs=0.03)
    assert losses["silent"] == pytest.approx(0.9, abs=0.3)


class Normed(nn.Module):
    """A context network that keeps statistics."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.BatchNorm(use_running_average=not train)(x)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nets.from_flax(Normed()), "keeps statistics"),
        (nets.from_function(lambda key, x: (), lambda params, x: x[:, 0]), r"to \[n, c\]"),
    ],
)
def test_a_context_network_that_does_not_fit(net, message):
    given = draw(sinusoid(), jax.random.key(0), 2)
    with pytest.raises(ValueError, match=message):
        arm(PROBLEM, net, ARMConfig()).init(jax.random.key(0), given)
    with pytest.raises(ValueError, match="meta_rate"):
        ARMConfig(meta_rate=0.0)
