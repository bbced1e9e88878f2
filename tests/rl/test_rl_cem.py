"""The cross-entropy method finds optima that are known in closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.rl.model_based.cem import CEMConfig, cem, shift

CONFIG = CEMConfig(population=200, elites=20, iterations=15)


def test_it_finds_the_optimum_of_a_quadratic():
    best = jnp.array([[0.3, -0.7], [0.0, 0.5]])
    result = jax.jit(
        lambda k: cem(lambda _, x: -((x - best[None]) ** 2).sum((1, 2)), k, jnp.zeros((2, 2)), CONFIG)
    )(jax.random.key(0))
    np.testing.assert_allclose(result.mean, best, atol=5e-3)
    assert float(result.score) > -1e-3


def test_it_reaches_the_bounds_and_never_leaves_them():
    seen = []

    def score(_, x):
        jax.debug.callback(lambda x: seen.append(np.abs(x).max()), x)
        return x[:, 0] - x[:, 1]

    result = cem(score, jax.random.key(0), jnp.array([5.0, 0.0]), CONFIG)  # a first guess outside is clipped
    np.testing.assert_allclose(result.mean, [1.0, -1.0], atol=0.05)
    assert max(seen) <= 1.0


def test_scores_that_are_not_finite_are_the_worst():
    def score(_, x):
        return jnp.where(x[:, 0] > 0, jnp.nan, x[:, 0])

    result = cem(score, jax.random.key(0), jnp.zeros(1), CONFIG)
    assert -0.05 < float(result.mean[0]) <= 0.0


def test_it_finds_the_plan_of_a_linear_quadratic_regulator():
    """For a double integrator the optimal open-loop plan solves the normal equations."""
    a, b = np.array([[1.0, 0.2], [0.0, 1.0]]), np.array([[0.0], [0.3]])
    horizon, r, x0 = 6, 0.1, np.array([0.4, -0.2])
    # States are x_t = a^t x0 + sum_k a^(t-1-k) b u_k.
    free = np.stack([np.linalg.matrix_power(a, t) @ x0 for t in range(1, horizon + 1)]).reshape(-1)
    moves = np.zeros((2 * horizon, horizon))
    for t in range(horizon):
        for k in range(t + 1):
            moves[2 * t : 2 * t + 2, k] = (np.linalg.matrix_power(a, t - k) @ b)[:, 0]
    best = np.linalg.solve(moves.T @ moves + r * np.eye(horizon), -moves.T @ free)
    assert np.abs(best).max() < 1

    def score(_, plans):
        def total(plan):
            def step(x, u):
                x = jnp.asarray(a, jnp.float32) @ x + jnp.asarray(b, jnp.float32) @ u
                return x, -(x @ x) - r * u @ u

            return jax.lax.scan(step, jnp.asarray(x0, jnp.float32), plan)[1].sum()

        return jax.vmap(total)(plans)

    config = CEMConfig(population=400, elites=40, iterations=25)
    result = jax.jit(lambda k: cem(score, k, jnp.zeros((horizon, 1)), config))(jax.random.key(0))
    np.testing.assert_allclose(result.mean[:, 0], best, atol=0.02)
    cost = ((free + moves @ best) ** 2).sum() + r * (best**2).sum()
    np.testing.assert_allclose(result.score, -cost, rtol=1e-3)


def test_a_plan_one_step_later():
    np.testing.assert_array_equal(shift(jnp.array([[1.0], [2.0], [3.0]])), [[2.0], [3.0], [0.0]])


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"elites": 1}, "elites must be at least 2"), ({"population": 5}, "population must be at least 20")],
)
def test_bad_input(settings, says):
    with pytest.raises(ValueError, match=says):
        CEMConfig(**settings)
