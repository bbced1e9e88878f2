"""Gaussian environments: closed forms against samples and numerical search; samplers in each environment."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from lrn.check import InputError
from lrn.data import spurious_gaussians as gaussians
from lrn.data.in_environments import each
from lrn.data.sampler import full_batch, minibatch


@pytest.fixture(scope="module")
def made():
    """A world, rows of it, predictors, and their accuracies, in one program."""

    @jax.jit
    def found(key):
        world = gaussians.draw(key, 3, 2, 3, signal=0.8, shared=1.5, own=0.7, sd=1.2)
        rows = gaussians.sample(jax.random.fold_in(key, 1), world, 40_000)
        invariant, best = gaussians.invariant_weights(world), gaussians.best_weights(world)
        closed = [gaussians.accuracy(world, w, b) for w in (invariant, best[1]) for b in (0.0, 0.6)]
        reverse = gaussians.reversed_means(world)
        reversed_rows = gaussians.accuracy(reverse, jnp.mean(best, axis=0))
        return world, rows, invariant, best, closed, reverse, reversed_rows

    return jax.device_get(found(jax.random.key(0)))


def test_a_drawn_world_is_what_was_asked_for(made):
    world = made[0]
    assert np.linalg.norm(world.invariant) == pytest.approx(0.8, rel=1e-5)
    assert world.spurious.shape == (3, 3)
    np.testing.assert_allclose(world.mixing @ world.mixing.T, np.eye(5), atol=1e-5)
    np.testing.assert_allclose(made[5].spurious[0], -world.spurious.mean(0), rtol=1e-5)


def test_rows_have_the_stated_means_and_spread(made):
    world, rows = made[:2]
    features, sign = rows["x"] @ world.mixing.T, 2 * rows["y"] - 1
    assert abs(sign.mean()) < 0.02
    along = (features * sign[..., None]).mean(1)
    np.testing.assert_allclose(along[:, :2], np.tile(world.invariant, (3, 1)), atol=0.03)
    np.testing.assert_allclose(along[:, 2:], world.spurious, atol=0.03)
    off = features * sign[..., None] - along[:, None]
    for e in range(3):
        np.testing.assert_allclose(np.cov(off[e].T), 1.44 * np.eye(5), atol=0.04)


def test_accuracies_are_those_of_samples(made):
    _, rows, invariant, best, closed = made[:5]
    for found, (w, b) in zip(closed, [(w, b) for w in (invariant, best[1]) for b in (0.0, 0.6)]):
        sampled = ((rows["x"] @ w + b > 0) == rows["y"]).mean(1)
        np.testing.assert_allclose(found, sampled, atol=0.01)
    # The invariant predictor errs alike everywhere, by the normal distribution of its signal.
    np.testing.assert_allclose(closed[0], norm.cdf(0.8 / 1.2), rtol=1e-4)


def test_the_best_predictors_are_those_of_a_search(made):
    """Maximize the closed-form accuracy over directions; a bias other than 0 can only lose."""
    world, _, invariant, _, closed = made[:5]
    mean = np.concatenate([world.invariant, world.spurious[1]])
    assert closed[2][1] == pytest.approx(norm.cdf(np.linalg.norm(mean) / 1.2), rel=1e-4)
    assert closed[3][1] < closed[2][1]
    directions = np.random.default_rng(0).normal(size=(500, 5))
    reached = norm.cdf(directions @ (mean @ world.mixing) / 1.2 / np.linalg.norm(directions, axis=1))
    assert reached.max() <= closed[2][1]
    # The invariant weights read no spurious feature, and are the log-odds of the others.
    own = world.mixing @ invariant
    np.testing.assert_allclose(own, np.append(2 * world.invariant / 1.44, np.zeros(3)), atol=1e-5)


def test_the_pooled_direction_fails_in_reverse(made):
    assert made[6][0] < 0.5 < made[4][0][0]


def test_a_sampler_in_each_environment_is_a_loop():
    data = {"x": np.arange(24.0).reshape(3, 4, 2).astype(np.float32), "y": np.arange(12).reshape(3, 4)}
    sampler = each(minibatch(3, columns=("x", "y")))
    batch = sampler.draw(jax.random.key(0), data)
    assert batch["x"].shape == (3, 3, 2)
    one = minibatch(3, columns=("x", "y"))
    for e, key in enumerate(jax.random.split(jax.random.key(0), 3)):
        own = one.draw(key, {name: value[e] for name, value in data.items()})
        np.testing.assert_array_equal(batch["x"][e], own["x"])
        np.testing.assert_array_equal(batch["y"][e], own["y"])
    whole = each(full_batch(columns=("x", "y"))).draw(jax.random.key(0), data)
    np.testing.assert_array_equal(whole["x"], data["x"])


def test_bad_input():
    with pytest.raises(InputError, match="environments must be at least 1"):
        gaussians.draw(jax.random.key(0), 0, 1, 1)
    with pytest.raises(InputError, match="sd must be a finite number above 0"):
        gaussians.draw(jax.random.key(0), 2, 1, 1, sd=0.0)
    world = gaussians.World(jnp.ones(1), jnp.ones((2, 1)), 1.0, 1.0, jnp.eye(2))
    with pytest.raises(InputError, match="n must be at least 1"):
        gaussians.sample(jax.random.key(0), world, 0)
    sampler = each(minibatch(2, columns=("x",)))
    with pytest.raises(InputError, match="with as many environments, got x"):
        sampler.draw(jax.random.key(0), {"x": np.ones((2, 3)), "y": np.ones((3, 3))})
    with pytest.raises(InputError, match="got list"):
        sampler.draw(jax.random.key(0), [1])
    listed = each(minibatch(2, rows="part", columns=("x",)))
    assert listed.check is not None
    with pytest.raises(InputError, match="'part' names row 9"):
        listed.check({"x": np.ones((2, 3, 1)), "part": np.array([[0, 1], [0, 9]])})
