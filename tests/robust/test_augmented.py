"""Training on changed inputs: each change alone, against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check, nets
from lrn.robust.augmented import AugmentedConfig, augmented
from lrn.supervised.optimizers import OptimizerConfig

# One step of sgd at rate 1 from zero weights is minus the gradient, which is linear in the inputs here.
SGD = OptimizerConfig("sgd", learning_rate=1.0, momentum=0.0)
NET = nets.from_function(
    lambda key, x: jnp.zeros((x.shape[1] * x.shape[2], 3)),
    lambda params, x: x.reshape(x.shape[0], -1) @ params,
)
RNG = np.random.default_rng(0)
BATCH = {"image": RNG.random((64, 4, 4, 1), np.float32), "label": RNG.integers(0, 3, 64).astype(np.int32)}


@jax.jit
def moved(config):
    """Minus the gradients of 200 keys at zero weights, [200, 16, 3]."""
    learner = augmented(NET, config)
    state = learner.init(jax.random.key(0), BATCH)
    keys = jax.random.split(jax.random.key(1), 200)
    return jax.vmap(lambda key: learner.step(key, state, BATCH)[0].params)(keys)


def expected(x, targets):
    """Minus the gradient of the cross-entropy at zero weights, whose probabilities are a third."""
    return x.reshape(len(x), -1).T @ (targets - 1 / 3) / len(x)


ONE_HOT = np.eye(3, dtype=np.float32)[BATCH["label"]]


def test_without_changes_it_is_cross_entropy():
    np.testing.assert_allclose(moved(AugmentedConfig(SGD))[0], expected(BATCH["image"], ONE_HOT), atol=1e-6)


def test_smoothing_moves_the_targets():
    soft = 0.7 * ONE_HOT + 0.1
    found = moved(AugmentedConfig(SGD, smoothing=0.3))[0]
    np.testing.assert_allclose(found, expected(BATCH["image"], soft), atol=1e-6)


def test_noise_has_its_deviation_and_no_mean():
    found = np.asarray(moved(AugmentedConfig(SGD, noise=0.5))) - expected(BATCH["image"], ONE_HOT)
    deviation = 0.5 * np.sqrt(((ONE_HOT - 1 / 3) ** 2).sum(0)) / 64  # of each column
    assert np.abs(found.mean(0) / (deviation / np.sqrt(200))).max() < 5
    np.testing.assert_allclose(found.std((0, 1)), deviation, rtol=0.1)


def test_mixup_mixes_inputs_and_targets_by_one_share():
    x, pair, other = BATCH["image"], BATCH["image"][::-1], ONE_HOT[::-1]
    found = np.asarray(moved(AugmentedConfig(SGD, mixup=1.0)))
    ends = expected(x, ONE_HOT), expected(x, other) + expected(pair, ONE_HOT), expected(pair, other)
    shares = []
    for one in found:  # s^2 a + s (1 - s) b + (1 - s)^2 c for a share s
        guess = np.linspace(0, 1, 1001)[:, None, None]
        errors = np.abs(guess**2 * ends[0] + guess * (1 - guess) * ends[1] + (1 - guess) ** 2 * ends[2] - one)
        assert errors.max((1, 2)).min() < 1e-3
        shares.append(guess[errors.max((1, 2)).argmin(), 0, 0])
    assert np.std(np.maximum(shares, 1 - np.asarray(shares))) == pytest.approx(1 / np.sqrt(48), rel=0.2)


def test_shifts_move_whole_images():
    """The sum of an image whose border is empty does not change; its pixels do."""
    batch = {**BATCH, "image": np.pad(BATCH["image"][:, 1:3, 1:3], ((0, 0), (1, 1), (1, 1), (0, 0)))}
    learner = augmented(NET, AugmentedConfig(SGD, shift=1.0))
    state = learner.init(jax.random.key(0), batch)
    found = np.asarray(jax.jit(learner.step)(jax.random.key(1), state, batch)[0].params)
    still = expected(batch["image"], ONE_HOT)
    np.testing.assert_allclose(found.sum(0), still.sum(0), atol=1e-6)
    assert np.abs(found - still).max() > 0.01


@pytest.mark.parametrize(
    "bad", [{"smoothing": 1.5}, {"shift": -0.1}, {"noise": -1.0}, {"mixup": float("nan")}]
)
def test_a_strength_out_of_range_is_refused(bad):
    with pytest.raises(check.InputError, match=next(iter(bad))):
        AugmentedConfig(**bad)
