"""RS-FGSM step by step, with the start of the authors' code for CIFAR-10 and with that for MNIST."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm

EPS = 0.3
WEIGHTS = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)


def linear(z):
    return z.reshape(len(z), -1) @ jnp.asarray(WEIGHTS)


def signs(z):
    """The signs of the gradient of the cross-entropy of the linear network."""
    logits = z.reshape(len(z), -1) @ WEIGHTS
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return np.sign((p - np.eye(3)[LABELS]) @ WEIGHTS.T).reshape(z.shape)


@pytest.mark.parametrize("clip_start", [True, False])
def test_the_official_steps(clip_start):
    x = np.random.default_rng(1).uniform(size=(6, 8, 8, 1)).astype(np.float32)
    attack = rs_fgsm(RSFGSMConfig(eps=EPS, clip_start=clip_start))
    found = np.asarray(attack(jax.random.key(3), linear, jnp.asarray(x), jnp.asarray(LABELS)))
    delta = EPS * np.asarray(jax.random.uniform(jax.random.key(3), x.shape, minval=-1, maxval=1))
    delta = np.clip(delta, -x, 1 - x) if clip_start else delta
    delta = np.clip(delta + 1.25 * EPS * signs(x + delta), -EPS, EPS)
    np.testing.assert_allclose(found, np.clip(x + delta, 0, 1), atol=1e-6)


def test_a_clipped_start_leaves_two_values_on_black_pixels():
    x = jnp.zeros((6, 8, 8, 1))
    values = {
        clip: np.asarray(
            rs_fgsm(RSFGSMConfig(eps=EPS, clip_start=clip))(jax.random.key(3), linear, x, jnp.asarray(LABELS))
        )
        for clip in (True, False)
    }
    assert set(np.round(values[True], 5).ravel()) == {0.0, np.float32(0.3)}
    between = (values[False] > 0) & (values[False] < 0.299)
    # A start below -.25 eps, of a pixel that is raised, ends inside of the ball: .375 of half of the pixels.
    assert between.mean() == pytest.approx(0.375 / 2, abs=0.06)
