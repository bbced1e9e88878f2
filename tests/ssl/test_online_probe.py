"""The online probe: bit-equal pretraining, features that its classifier reads, labels that only it sees."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from lrn import nets
from lrn.check import InputError
from lrn.ssl.online_probe import OnlineProbeConfig, online_probe, probe_logits
from lrn.ssl.pretraining import encode
from lrn.ssl.simclr import SimCLRConfig, simclr
from lrn.supervised.learner import SupervisedConfig, supervised
from lrn.supervised.losses import cross_entropy
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Learner

BODY = nets.projector(6, (8,))  # with BatchNorm, whose statistics a pass of the probe could move
HEAD = nets.mlp(4, (5,))
RNG = np.random.default_rng(0)
STEPS, BATCH = 12, 16
Y = RNG.integers(0, 3, (STEPS, BATCH))
X = (RNG.normal(size=(3, 5))[Y] * 2 + 0.5 * RNG.normal(size=(STEPS, BATCH, 5)) + 3).astype(np.float32)
KEYS = jax.random.split(jax.random.key(1), STEPS)


def seen(key, x):
    return x + 0.3 * jax.random.normal(key, x.shape)


PLAIN = simclr(BODY, HEAD, seen, SimCLRConfig(OptimizerConfig(learning_rate=0.01)))
PROBED = online_probe(PLAIN, BODY, 3, OnlineProbeConfig(OptimizerConfig("adam", 0.1), decay=0.5))


def run(learner, key, x, y):
    """States and metrics of all steps."""

    def step(state, given):
        key, x, y = given
        state, metrics = learner.step(key, state, {"x": x, "y": y})
        return state, (state, metrics)

    return jax.lax.scan(step, learner.init(key, {"x": x[0], "y": y[0]}), (KEYS, x, y))[1]


@pytest.fixture(scope="module")
def runs():
    start = jax.random.key(0)
    return [jax.jit(lambda x, y, one=one: run(one, start, x, y))(X, Y) for one in (PLAIN, PROBED)]


def test_the_encoder_is_bit_equal_with_and_without_the_probe(runs):
    (plain, metrics), (probed, more) = runs
    jax.tree.map(np.testing.assert_array_equal, plain, probed.pretraining)
    for name, value in metrics.items():
        np.testing.assert_array_equal(value, more[name])
    assert np.abs(np.asarray(probed.probe.params["kernel"][-1])).max() > 0.1


def test_the_probe_is_logistic_regression_on_standardized_features(runs):
    _, (states, metrics) = runs
    assert metrics["probe_loss"][0] == pytest.approx(np.log(3), rel=1e-5)
    assert metrics["probe_accuracy"][0] == 0  # ties count as wrong
    assert metrics["probe_accuracy"][-3:].mean() > 0.8
    # One step by hand: the loss of step t is of the probe after step t - 1 on features after step t.
    states = jax.tree.map(np.asarray, states)
    at = lambda t: jax.tree.map(lambda x: x[t], states)  # noqa: E731
    features = jax.jit(lambda state, x: encode(BODY, state, x))
    h, means, squares = np.zeros(()), 0.0, 0.0
    for t in range(3):
        h = np.asarray(features(at(t).pretraining, X[t]), np.float64)
        means, squares = 0.5 * means + 0.5 * h.mean(0), 0.5 * squares + 0.5 * (h**2).mean(0)
    mean, square = means / (1 - 0.5**3), squares / (1 - 0.5**3)
    params = jax.tree.map(np.asarray, at(1).probe.params)
    logits = (h - mean) / np.sqrt(square - mean**2) @ params["kernel"] + params["bias"]
    expected = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(BATCH), Y[2]])
    assert metrics["probe_loss"][2] == pytest.approx(expected, rel=1e-3)
    last = jax.jit(lambda state, x: probe_logits(BODY, state, x))(at(-1), X[-1])
    assert np.mean(np.asarray(last).argmax(1) == Y[-1]) > 0.8


def test_the_learner_sees_no_labels():
    def spy(key, batch):
        assert set(batch) == {"x", "length"}
        return PLAIN.init(key, {"x": batch["x"]})

    batch = {"x": X[0], "label": Y[0], "length": np.ones(BATCH)}
    learner = online_probe(PLAIN._replace(init=spy), BODY, 3, OnlineProbeConfig())
    jax.eval_shape(learner.init, jax.random.key(0), batch)


def test_bad_input_is_one_sentence():
    batch, key = {"x": X[0], "y": Y[0]}, jax.random.key(0)
    supervised_one = supervised(nets.mlp(3, ()), cross_entropy, SupervisedConfig())
    other = Learner(lambda key, x: supervised_one.init(key, batch), supervised_one.step)
    wrong, floats = online_probe(other, BODY, 3, OnlineProbeConfig()), np.ones((BATCH, 1), np.float32)
    for call, said in (
        (lambda: online_probe(PLAIN, BODY, 1, OnlineProbeConfig()), "classes must be at least 2"),
        (lambda: OnlineProbeConfig(decay=1.0), "decay must be below 1"),
        (lambda: jax.eval_shape(PROBED.init, key, {"x": X[0]}), "label"),
        (lambda: jax.eval_shape(PROBED.init, key, {"x": X[0], "y": floats}), "integer labels"),
        (lambda: jax.eval_shape(wrong.init, key, batch), "learner of lrn.ssl"),
    ):
        with pytest.raises(InputError, match=said):
            call()
