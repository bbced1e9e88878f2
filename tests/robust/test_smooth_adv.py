"""SmoothAdv against NumPy and finite differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noisy_steps import PLAIN_SGD, X, Y, check_step, net, noise, softmax

from lrn.check import InputError
from lrn.robust.smooth_adv import SmoothAdvConfig, smooth_adv, smoothed_pgd
from tests import plain

CONFIG = SmoothAdvConfig(PLAIN_SGD, sigma=0.4, samples=3, eps=0.5, steps=4, warmup=2.0)


def attacked(w, added, eps, steps=4, ratio=2.0):
    """PGD on the mean probabilities in evaluation mode, by central differences."""

    def loss(x):
        p = softmax(2 * ((x[:, None] + added).reshape(5, -1, 6) - 0.3) @ w).mean(1)
        return -np.log(p[np.arange(5), Y]).sum()

    start = X.astype(np.float64)
    x = start.copy()
    for _ in range(steps):
        slope = plain.gradient(loss, x)
        x = x + ratio * eps / steps * slope / np.linalg.norm(slope, axis=(1, 2), keepdims=True)
        size = np.linalg.norm(x - start, axis=(1, 2), keepdims=True)
        x = np.clip(start + (x - start) * np.minimum(1, eps / size), 0, 1)
    return x


@pytest.mark.parametrize("every_copy", [True, False])
def test_a_step_is_that_of_numpy(every_copy):
    # The first step of a warm-up over 2 steps has half of the radius.
    def noisy(key, w):
        added = noise(key, 0.4, 3)
        moved = attacked(w, added, 0.25)
        assert np.abs(moved - X).max() > 0.05
        return moved[:, None] + added

    def terms(z):
        loss = -np.log(softmax(z)[np.arange(5), :, Y])
        return {"cross_entropy": (loss if every_copy else loss[:, :1]).mean()}

    check_step(smooth_adv(net(), dataclasses.replace(CONFIG, every_copy=every_copy)), terms, noisy)


def test_the_attack_is_that_of_numpy_and_stays_in_ball_and_box():
    w = np.random.default_rng(1).normal(size=(6, 4))
    added = 0.4 * np.random.default_rng(2).normal(size=(5, 2, 2, 3))
    logits_fn = lambda z: 2 * (z.reshape(-1, 6) - 0.3) @ jnp.asarray(w, jnp.float32)  # noqa: E731
    x, y, noises = jnp.asarray(X), jnp.asarray(Y), jnp.asarray(added, jnp.float32)
    run = jax.jit(lambda eps, ratio: smoothed_pgd(logits_fn, x, y, noises, eps, 4, ratio))
    found = np.asarray(run(0.8, 1.5))
    np.testing.assert_allclose(found, attacked(w, added, 0.8, ratio=1.5), atol=2e-5)
    assert ((found == 0) | (found == 1)).any()
    radii = np.array([0, 0.1, 0.2, 0.3, 0.4], np.float32)
    each = np.asarray(jax.jit(lambda eps: smoothed_pgd(logits_fn, x, y, noises, eps, 4))(radii))
    size = np.linalg.norm((each - X).reshape(5, -1), axis=1)
    assert (size <= radii + 1e-6).all()
    assert size[1:].min() > 0.05
    np.testing.assert_array_equal(each[0], X[0])


def test_the_radius_has_no_gradient_and_may_be_zero():
    @jax.jit
    @jax.value_and_grad
    def loss(eps):
        learner = smooth_adv(net(), dataclasses.replace(CONFIG, eps=eps, warmup=0.0))
        state = learner.init(jax.random.key(0), {"image": X, "label": Y})
        return learner.step(jax.random.key(1), state, {"image": X, "label": Y})[1]["loss"]

    (none, slope), (some, _) = loss(0.0), loss(0.5)
    assert slope == 0
    assert some > none + 0.1
    SmoothAdvConfig(eps=0.0)


@pytest.mark.parametrize("changes", [{"steps": 0}, {"eps": -1.0}, {"step_ratio": 0.0}, {"warmup": -1.0}])
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(InputError):
        SmoothAdvConfig(**changes)
