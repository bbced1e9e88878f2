"""Expectation over transformation: its steps in NumPy, its draws, and accuracies in closed form."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from lrn.robust.attack import no_attack
from lrn.robust.expectation import (
    expectation_objective,
    expectation_pgd,
    expected,
    expected_accuracy,
    share_correct,
    with_expected,
)
from lrn.robust.norms import distance
from lrn.robust.pgd import PGDConfig, ascend, pgd

RNG = np.random.default_rng(0)
X: Any = RNG.uniform(0.3, 0.7, (5, 3, 2)).astype(np.float32)
WEIGHTS = RNG.normal(size=(6, 3)).astype(np.float32)
Y: Any = np.array([0, 1, 2, 0, 1])


def masked(key, z):
    """Three classes, where a new mask hides pixels in every draw."""
    flat = z.reshape(z.shape[0], 6)
    return (flat * mask(key)[None]) @ jnp.asarray(WEIGHTS, z.dtype)


def mask(key):
    return jax.random.uniform(key, (6,)) * 2 - 0.5


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def judge(key, point, samples, z, y=Y):
    """The mean loss and gradient, and whether half of the draws are wrong, at one point of the ascent."""
    draws = jax.random.split(jax.random.fold_in(key, point), samples)
    losses, gradients, wrong = [], [], []
    for draw in draws:
        m = np.asarray(mask(draw), np.float64)
        logits = (z.reshape(5, 6) * m) @ WEIGHTS.astype(np.float64)
        p = softmax(logits)
        losses.append(-np.log(p[np.arange(5), y]))
        gradients.append(((p - np.eye(3)[y]) @ WEIGHTS.T * m).reshape(z.shape))
        wrong.append(np.argmax(logits, 1) != y)
    return np.mean(losses, 0), np.mean(gradients, 0), np.mean(wrong, 0) >= 0.5


def reference(key, config, samples):
    """PGD from the clean input on mean gradients; the points are numbered from the clean input, number 0."""
    original = X.astype(np.float64)
    best, fooled = (lambda r: (r[0], r[2]))(judge(key, 0, samples, original))
    z, chosen = original.copy(), original.copy()
    for point in range(1, config.steps + 2):
        loss, gradient, wrong = judge(key, point, samples, z)
        take = (wrong & ~fooled) | ((wrong == fooled) & (loss > best))
        chosen[take], best, fooled = z[take], np.where(take, loss, best), np.where(take, wrong, fooled)
        moved = z + config.step_size * np.sign(gradient)
        z = np.clip(np.clip(moved, original - config.eps, original + config.eps), 0, 1)
    return chosen


def test_pgd_follows_the_mean_gradient_of_new_draws_at_every_point():
    config = PGDConfig(eps=0.2, step_size=0.07, steps=4, random_start=False)
    ours = jax.jit(lambda key: expectation_pgd(config, 3)(key, masked, X, Y))(jax.random.key(2))
    with jax.debug_key_reuse(False):
        noise_key = jax.random.split(jax.random.key(2))[1]
        np.testing.assert_allclose(ours, reference(noise_key, config, 3), atol=1e-5)


def test_every_restart_has_draws_of_its_own_and_the_last_iterate_too():
    keys = []

    def objective(z, key):
        jax.debug.callback(lambda k: keys.append(tuple(np.asarray(k))), jax.random.key_data(key))
        return jnp.sum(masked(key, z), axis=1), jnp.zeros(5, bool)

    for config, points in (
        (PGDConfig(steps=3, restarts=2), 1 + 2 * 4),
        (PGDConfig(steps=3, keep="last"), 3),
    ):
        keys.clear()
        run = jax.jit(lambda k, n, c=config: ascend(k, objective, X, c, n)[0])
        run(jax.random.key(0), jax.random.key(1)).block_until_ready()
        jax.effects_barrier()
        assert len(keys) >= points
        assert len(set(keys)) == points


def test_the_objective_is_the_mean_over_its_draws():
    with jax.debug_key_reuse(False):
        key = jax.random.key(3)
        loss, wrong = jax.jit(expectation_objective(masked, jnp.asarray(Y), "cross_entropy", 4))(
            jnp.asarray(X), jax.random.fold_in(key, 7)
        )
        exact, _, half = judge(key, 7, 4, X.astype(np.float64))
    np.testing.assert_allclose(loss, exact, rtol=1e-5)
    np.testing.assert_array_equal(wrong, half)


def test_more_draws_attack_a_noisy_gradient_better():
    w = np.ones((6, 1), np.float32)

    def noisy(key, z):  # the mean is the sum of the pixels; one draw's gradient is mostly noise
        flat = z.reshape(5, 6)
        noise = (flat - 0.5) @ (8 * jax.random.normal(key, (6, 1)))
        score = flat @ w + noise
        return jnp.concatenate([score, -score], axis=1)

    sums = []
    for samples in (1, 100):
        config = PGDConfig(0.2, 0.05, 8, random_start=False, keep="last", loss="margin")
        attack = expectation_pgd(config, samples)
        x_adv = jax.jit(lambda key, a=attack: a(key, noisy, X, 0 * Y))(jax.random.key(0))
        assert distance(x_adv, jnp.asarray(X), "linf").max() <= 0.2 + 1e-6
        sums.append(float(np.mean(np.sum(X - np.asarray(x_adv), (1, 2)))))
    assert sums[1] > 0.75  # the optimum is 1.2
    assert sums[1] > sums[0] + 0.4


def test_the_expected_network_averages_draws_that_change_with_the_pixels():
    x = jnp.full((2, 4), 0.5)

    def shifted(key, z):
        return z[:, :2] * (1 + jax.random.normal(key, ()))

    run = jax.jit(lambda key, z: expected(key, shifted, 6)(z))
    one = np.asarray(run(jax.random.key(0), x))
    np.testing.assert_array_equal(one, run(jax.random.key(0), x))
    others = [run(jax.random.key(0), x.at[i].add(d)) for i, d in ((0, 1e-6), ((1, 3), 0.1), (1, -0.1))]
    others.append(run(jax.random.key(1), x))
    others.append(run(jax.random.key(0), x.at[0, 0].add(0.125).at[0, 1].add(-0.125)))
    factors = [float(np.asarray(o)[0, 0] / 0.5) for o in (one, *others)]
    assert len({round(f, 3) for f in factors}) == 6
    # The gradient is the mean gradient under those draws: here the mean factor itself.
    slope = jax.jit(jax.grad(lambda z: expected(jax.random.key(0), shifted, 6)(z)[0, 1]))(x)
    np.testing.assert_allclose(slope, [[0, one[0, 1] / 0.5, 0, 0], [0] * 4], atol=1e-6)
    many = jax.jit(lambda z: expected(jax.random.key(0), shifted, 4000)(z))(x)
    assert many[0, 0] / 0.5 == pytest.approx(1, abs=5 / 4000**0.5)


def test_any_attack_takes_the_expected_network():
    attack = with_expected(pgd(PGDConfig(0.1, 0.03, 3, restarts=2)), 3)
    x_adv = jax.jit(lambda key: attack(key, masked, X, Y))(jax.random.key(0))
    assert 0.05 < distance(x_adv, jnp.asarray(X), "linf").max() <= 0.1 + 1e-6


def threshold(key, z):
    """Class 1 where the pixel and a normal number of deviation .1 are above .5."""
    score = z[:, 0] - 0.5 + 0.1 * jax.random.normal(key, z.shape[:1])
    return jnp.stack([-score, score], axis=1)


def test_accuracy_is_the_mean_over_new_draws():
    x: Any = np.linspace(0.3, 0.7, 9, dtype=np.float32)[:, None]
    y: Any = np.ones(9, int)
    exact = norm.cdf((x[:, 0] - 0.5) / 0.1)
    share = jax.jit(lambda key: share_correct(key, threshold, x, y, 4000))(jax.random.key(0))
    assert (np.abs(share - exact) <= 4 * np.sqrt(exact * (1 - exact) / 4000) + 1e-3).all()
    for batch_size in (9, 4, 100):
        accuracy = jax.jit(
            lambda key, b=batch_size: expected_accuracy(key, threshold, x, y, no_random_attack, 4000, b)
        )(jax.random.key(1))
        assert accuracy == pytest.approx(exact.mean(), abs=0.015)

    def down(key, logits_fn, x, y):
        return jnp.clip(x - 0.1, 0, 1)

    attacked = jax.jit(lambda key: expected_accuracy(key, threshold, x, y, down, 4000, 4))(jax.random.key(1))
    assert attacked == pytest.approx(norm.cdf((x[:, 0] - 0.6) / 0.1).mean(), abs=0.015)


def no_random_attack(key, logits_fn, x, y):
    return no_attack(key, lambda z: logits_fn(key, z), x, y)


def test_out_of_range_counts_as_wrong_and_is_refused_where_it_can_be_read():
    x: Any = np.array([[0.9], [0.9], [1.7], [0.9]], np.float32)
    y: Any = np.array([1, 1, 1, 2])
    run = jax.jit(lambda x, y: expected_accuracy(jax.random.key(0), threshold, x, y, no_random_attack, 50))
    assert run(x, y) == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ValueError, match=r"x must lie in \[0, 1\]"):
        expected_accuracy(jax.random.key(0), threshold, x, y, no_random_attack, 50)
    for call in (
        lambda: expectation_pgd(PGDConfig(), 0),
        lambda: expected(jax.random.key(0), threshold, 0),
    ):
        with pytest.raises(ValueError, match="samples must be at least 1"):
            call()
    with pytest.raises(ValueError, match="draws must be at least 1"):
        share_correct(jax.random.key(0), threshold, x, y, 0)
