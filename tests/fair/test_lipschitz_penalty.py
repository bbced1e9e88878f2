"""The Lipschitz penalty against loops over pairs, finite differences, and the metric of the same name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_net import PARAMS, WEIGHT, X, Y, batch, linear, logit, sigmoid

from lrn.check import InputError
from lrn.fair import training
from lrn.fair.individual import lipschitz
from lrn.fair.lipschitz import (
    draw_pairs,
    lipschitz_pairs_penalty,
    lipschitz_penalty,
    pair_distances,
    similar_treatment,
)
from lrn.fair.penalized import PenalizedConfig, fit_penalized
from lrn.supervised.optimizers import OptimizerConfig

SCORE = sigmoid(2 * logit(PARAMS))
ALL = np.array([(i, j) for i in range(len(Y)) for j in range(len(Y)) if i != j])


def far(a, b):
    return np.sqrt(np.sum((X[a] - X[b]) ** 2))


def hinge(score, pairs, distances, bound, weights):
    """The mean excess, by a loop."""
    total = mass = 0.0
    for (a, b), distance in zip(pairs, distances):
        mass += weights[a] * weights[b]
        total += weights[a] * weights[b] * max(abs(score[a] - score[b]) - bound * distance, 0)
    return total / mass


def check_gradient(run, score, gradient):
    for row in (0, 5, 17):
        move = np.zeros(len(score))
        move[row] = 1e-6
        slope = (run(score + move)[0] - run(score - move)[0]) / 2e-6
        assert float(gradient[row]) == pytest.approx(float(slope), abs=1e-7)
    assert np.abs(gradient).max() > 1e-3


def test_all_pairs():
    with jax.enable_x64(True):
        run = jax.jit(jax.value_and_grad(lambda s: lipschitz_penalty(X, s, 0.1, WEIGHT)))
        value, gradient = run(SCORE)
        wanted = hinge(SCORE, ALL, [far(a, b) for a, b in ALL], 0.1, WEIGHT)
        assert float(value) == pytest.approx(wanted, rel=1e-9)
        assert wanted > 0.01
        check_gradient(run, SCORE, gradient)
        constant, flat = run(np.full(len(Y), 0.5))
        assert float(constant) == 0
        assert np.isfinite(flat).all()
        assert np.isnan(run(SCORE + 1)[0])


def test_given_pairs():
    pairs, rng = ALL[::7], np.random.default_rng(0)
    judged = rng.exponential(size=len(pairs))
    with jax.enable_x64(True):
        penalty = lambda s, d, w: lipschitz_pairs_penalty(s, pairs, d, 0.2, w)  # noqa: E731
        run = jax.jit(jax.value_and_grad(penalty))
        value, gradient = run(SCORE, judged, WEIGHT)
        wanted = hinge(SCORE, pairs, judged, 0.2, WEIGHT)
        assert float(value) == pytest.approx(wanted, rel=1e-9)
        check_gradient(lambda s: run(s, judged, WEIGHT), SCORE, gradient)
        distances = jax.jit(pair_distances)(X, pairs)
        np.testing.assert_allclose(distances, [far(a, b) for a, b in pairs], rtol=1e-12)
        np.testing.assert_allclose(
            jax.jit(lambda x, p: pair_distances(x, p, lambda row, x: abs(row[0] - x[:, 0])))(X, pairs),
            abs(X[pairs[:, 0], 0] - X[pairs[:, 1], 0]),
        )
        # Over all pairs it is the metric's excess.
        whole, metric = jax.jit(
            lambda s, d: (
                lipschitz_pairs_penalty(s, ALL, d, 0.1, WEIGHT),
                lipschitz(X, s, 0.1, WEIGHT).excess,
            )
        )(SCORE, np.array([far(a, b) for a, b in ALL]))
        assert float(whole) == pytest.approx(float(metric), rel=1e-9)
        for broken in ((SCORE, -judged, WEIGHT), (SCORE, judged, -WEIGHT), (SCORE, judged, 0 * WEIGHT)):
            assert np.isnan(run(*broken)[0])
        outside = jax.jit(lambda p: lipschitz_pairs_penalty(SCORE, p, judged, 0.2))(pairs + 1)
        assert np.isnan(outside)
        assert np.isnan(jax.jit(pair_distances)(X, pairs + 1)).any()


def test_pairs_are_drawn_uniformly_among_different_rows():
    pairs = np.asarray(jax.jit(lambda key: draw_pairs(key, 4, 12_000))(jax.random.key(0)))
    assert (pairs[:, 0] != pairs[:, 1]).all()
    counts = np.bincount(pairs[:, 0] * 4 + pairs[:, 1], minlength=16).reshape(4, 4)
    assert (np.diag(counts) == 0).all()
    # 1000 expected, standard deviation 30
    assert np.abs(counts[~np.eye(4, dtype=bool)] - 1000).max() < 130


def test_as_a_penalty_of_training():
    people = jax.jit(training.read, static_argnums=1)(batch(), 2)
    z = jnp.asarray(logit(PARAMS), jnp.float32)
    key = jax.random.key(3)
    value = jax.jit(lambda z: similar_treatment(0.05)(key, z, people))(z)
    wanted = hinge(sigmoid(z), ALL, [far(a, b) for a, b in ALL], 0.05, WEIGHT)
    assert value == pytest.approx(wanted, rel=1e-4)
    run = jax.jit(lambda key, z, w: similar_treatment(0.05, 500)(key, z, people._replace(weights=w)))
    chosen = np.asarray(draw_pairs(jax.random.key(3), len(Y), 500))
    some = hinge(sigmoid(z), chosen, [far(a, b) for a, b in chosen], 0.05, WEIGHT)
    assert run(jax.random.key(3), z, people.weights) == pytest.approx(some, rel=1e-4)
    assert run(jax.random.key(3), z, 0 * people.weights) == 0

    one_row = np.eye(len(Y), dtype=np.float32)[0]
    alone = jax.jit(
        jax.value_and_grad(lambda z: similar_treatment(0.05)(key, z, people._replace(weights=one_row)))
    )
    assert alone(z)[0] == 0
    assert np.isfinite(alone(z)[1]).all()

    def train(strength):
        config = PenalizedConfig(OptimizerConfig("adam", 0.05), strength=strength)
        x = batch()["x"]
        fit = fit_penalized(
            jax.random.key(0),
            linear(),
            similar_treatment(0.05, 40),
            x,
            Y,
            np.zeros(len(Y), int),
            1,
            config,
            steps=200,
        )
        return lipschitz(x, fit(x), 0.05).excess

    plainly, fair = jax.jit(jax.vmap(train))(np.array([0, 30], np.float32))
    assert plainly > 0.05
    assert fair < 0.3 * plainly


def test_bad_input():
    pairs = ALL[:3]
    with pytest.raises(InputError, match="pairs must be integers"):
        lipschitz_pairs_penalty(SCORE, pairs[:, 0], np.ones(3))
    with pytest.raises(InputError, match="distances must be finite and between 0"):
        lipschitz_pairs_penalty(SCORE, pairs, [-1.0, 0.0, 0.0])
    with pytest.raises(InputError, match="must lie between 0 and 23"):
        lipschitz_pairs_penalty(SCORE, pairs + 23, np.ones(3))
    with pytest.raises(InputError, match="n must be at least 2"):
        draw_pairs(jax.random.key(0), 1, 3)
    with pytest.raises(InputError, match="bound must be a finite number, 0 or more"):
        similar_treatment(-1.0)
    with pytest.raises(InputError, match="pairs must be at least 1"):
        similar_treatment(1.0, 0)
    with pytest.raises(InputError, match="prediction must be a decision 0 or 1 or a probability"):
        lipschitz_penalty(X, 3 * SCORE)


def test_wrong_values_make_value_and_gradient_nan():
    every = jax.jit(jax.value_and_grad(lambda s, w: lipschitz_penalty(X, s, 0.1, w)))
    few = jax.jit(jax.value_and_grad(lambda s, w: lipschitz_pairs_penalty(s, ALL[:3], np.zeros(3), 0.1, w)))
    one, first = np.ones(len(SCORE)), np.arange(len(SCORE)) == 0
    for run in (every, few):
        assert np.isfinite(run(SCORE, one)[1]).all()
        assert np.isfinite(run(0 * SCORE, one)[1]).all()
        for score, weight in [(np.where(first, np.nan, SCORE), one), (SCORE, np.where(first, -1.0, one))]:
            value, gradient = run(score, weight)
            assert np.isnan(value)
            assert np.isnan(gradient).all()
