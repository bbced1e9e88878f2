"""Training on noise against NumPy and finite differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noisy_steps import BATCH, LOGITS, PLAIN_SGD, X, Y, check_loss, check_step, net, noise, softmax

from lrn.check import InputError
from lrn.config import stack
from lrn.robust.noise_training import (
    NoiseTrainingConfig,
    log_mean_softmax,
    mean_cross_entropy,
    noise_training,
    smoothed_cross_entropy,
)
from lrn.supervised.averages import AverageConfig
from lrn.supervised.learner import weights

CONFIG = NoiseTrainingConfig(PLAIN_SGD, sigma=0.6, samples=3)


def copies_of(z):
    return -np.log(softmax(z)[np.arange(5), :, Y]).mean(1)


def test_a_step_is_that_of_numpy():
    check_step(
        noise_training(net(), CONFIG),
        lambda z: {"cross_entropy": copies_of(z).mean()},
        lambda key, w: X[:, None] + noise(key, 0.6, 3),
    )


def test_losses_are_those_of_numpy():
    check_loss(lambda z: mean_cross_entropy(z, jnp.asarray(Y)), copies_of)
    check_loss(
        lambda z: smoothed_cross_entropy(z, jnp.asarray(Y)),
        lambda z: -np.log(softmax(z).mean(1)[np.arange(5), Y]),
    )


def test_a_mean_of_tiny_probabilities_has_a_logarithm():
    value = log_mean_softmax(jnp.asarray([[[0.0, -300.0], [0.0, -200.0]]]))
    np.testing.assert_allclose(value, [[0, -200 - np.log(2)]], atol=1e-5)


def test_noise_is_not_clipped_and_has_the_deviation_sigma():
    seen = []

    def apply(params, state, x, *, key=None, train=False):
        if train:
            jax.debug.callback(lambda z: seen.append(np.asarray(z)), x)
        return x.reshape(len(x), 6) @ params["w"], state

    learner = noise_training(net()._replace(apply=apply), dataclasses.replace(CONFIG, samples=400))
    state = jax.jit(learner.init)(jax.random.key(0), BATCH)
    jax.block_until_ready(jax.jit(learner.step)(jax.random.key(1), state, BATCH))
    jax.effects_barrier()
    added = seen[-1].reshape(5, 400, 2, 3) - X[:, None]
    assert added.std() == pytest.approx(0.6, rel=0.03)
    assert np.abs(added.mean((1, 2, 3))).max() < 0.05  # copies of an input in a row
    assert seen[-1].min() < -1


def test_labels_out_of_range_are_refused_or_become_nan():
    learner = noise_training(net(), CONFIG)
    wrong = BATCH | {"label": np.array([0, 1, 2, 3, 4])}
    with pytest.raises(InputError, match="labels must lie"):
        learner.init(jax.random.key(0), wrong)
    loss = jax.jit(lambda y: mean_cross_entropy(jnp.asarray(LOGITS, jnp.float32), y))(wrong["label"])
    smoothed = jax.jit(lambda y: smoothed_cross_entropy(jnp.asarray(LOGITS, jnp.float32), y))(wrong["label"])
    for values in (loss, smoothed):
        np.testing.assert_array_equal(np.isnan(values), [False] * 4 + [True])


def test_sigma_sweeps_under_vmap_and_weights_are_averaged():
    base = dataclasses.replace(CONFIG, average=AverageConfig("swa"))
    configs = [dataclasses.replace(base, sigma=s) for s in (0.1, 0.9)]

    def run(config):
        learner = noise_training(net(), config)
        state = learner.init(jax.random.key(0), BATCH)
        state, first = learner.step(jax.random.key(1), state, BATCH)
        after, second = learner.step(jax.random.key(2), state, BATCH)
        return (
            (state.params["w"] + after.params["w"]) / 2,
            weights(after)[0]["w"],
            first["loss"],
            second["loss"],
        )

    swept = jax.jit(jax.vmap(run))(stack(configs))
    alone = jax.jit(run)
    for i in range(2):
        each = alone(configs[i])
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-5), swept, each)
    np.testing.assert_allclose(swept[0], swept[1], rtol=1e-5, atol=1e-6)
    assert abs(swept[2][0] - swept[2][1]) > 1e-3


@pytest.mark.parametrize("changes", [{"sigma": 0.0}, {"samples": 0}])
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(InputError):
        NoiseTrainingConfig(**changes)
