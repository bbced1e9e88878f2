"""What the methods choose where the invariant predictor is known, and what only an oracle can."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from lrn import nets, train
from lrn.data import spurious_gaussians as gaussians
from lrn.data.in_environments import each
from lrn.data.sampler import minibatch
from lrn.representation.erm import ERMConfig, erm
from lrn.representation.irm import irm
from lrn.representation.penalized import PenaltyConfig
from lrn.representation.told import told, with_code
from lrn.representation.vrex import vrex
from lrn.supervised.learner import weights
from lrn.supervised.losses import cross_entropy
from lrn.supervised.optimizers import OptimizerConfig

WORLD = gaussians.World(
    np.array([1.0], np.float32), np.array([[0.5], [2.0], [3.0]], np.float32), 1.0, 1.0, np.eye(2, dtype="f4")
)
ADAM = OptimizerConfig("adam", 0.02)
LINEAR = nets.mlp(1, ())


def trained(factory, config, net=LINEAR, steps=400):
    data = jax.jit(lambda key: gaussians.sample(key, WORLD, 4000))(jax.random.key(0))
    fit = train.fit(
        lambda c: factory(net, cross_entropy, c), config, [0], steps=steps, data=data,
        sampler=each(minibatch(256, columns=("x", "y"))), progress=False,
    )  # fmt: skip
    return weights(jax.tree.map(lambda x: x[0], fit.arm("default")))


def in_reverse(params):
    """The accuracy, in closed form, in an environment whose spurious feature points the other way."""
    other = gaussians.reversed_means(WORLD)
    head = params["head"]
    return float(gaussians.accuracy(other, head["kernel"][:, 0], head["bias"][0])[0])


def test_pooling_uses_what_is_spurious_and_the_penalties_drop_it():
    best = float(gaussians.accuracy(WORLD, gaussians.invariant_weights(WORLD))[0])
    assert best == pytest.approx(0.8413, abs=1e-3)
    pooled, _ = trained(erm, ERMConfig(ADAM))
    assert in_reverse(pooled) < 0.4
    for factory in (irm, vrex):
        params, _ = trained(factory, PenaltyConfig(ADAM, penalty=300.0, begin=50.0), steps=1500)
        assert in_reverse(params) > best - 0.05, factory


def test_a_model_that_is_told_the_environment_uses_what_holds_there():
    """One spurious feature that points either way: no pooled predictor can use it, a told one can."""
    world = WORLD._replace(spurious=np.array([[2.0], [-2.0]], np.float32))
    data = jax.jit(lambda key: gaussians.sample(key, world, 4000))(jax.random.key(0))
    net = nets.mlp(2, (16,))
    found = {}
    for name, factory in (("pooled", erm), ("told", told)):
        fit = train.fit(
            lambda c, f=factory: f(net, cross_entropy, c), ERMConfig(ADAM), [0], steps=300, data=data,
            sampler=each(minibatch(256, columns=("x", "y"))), progress=False,
        )  # fmt: skip
        params, state = weights(jax.tree.map(lambda x: x[0], fit.arm("default")))
        x, y = np.asarray(data["x"][1]), np.asarray(data["y"][1])
        seen = np.asarray(with_code(x, 1, 2)) if name == "told" else x
        found[name] = np.mean(np.argmax(net.apply(params, state, seen)[0], -1) == y)
    ceiling = float(gaussians.accuracy(world, gaussians.best_weights(world)[1])[1])
    assert found["told"] == pytest.approx(ceiling, abs=0.02)
    assert found["told"] > found["pooled"] + 0.03
