"""The L1 geometry against quadratic and linear programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog, minimize

from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.l1 import project_l1, sparse_direction, steepest_step_l1
from lrn.robust.norms import distance, project
from lrn.robust.pgd import PGDConfig, pgd

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(8, 6))
X[0, :3] = [0, 1, 0.02]
SCALES = np.array([0.01, 0.3, 0.3, 1, 1, 3, 3, 30])[:, None]


def nearest(z, x, eps):
    """The projection as a quadratic program in d = up - down, up and down >= 0."""
    n, start = len(x), np.zeros(2 * len(x))
    result = minimize(
        lambda v: 0.5 * ((x + v[:n] - v[n:] - z) ** 2).sum(),
        start,
        jac=lambda v: np.concatenate([x + v[:n] - v[n:] - z, z - x - v[:n] + v[n:]]),
        bounds=[*((0, 1 - a) for a in x), *((0, a) for a in x)],
        constraints={"type": "ineq", "fun": lambda v: eps - v.sum(), "jac": lambda v: -np.ones(2 * n)},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return x + result.x[:n] - result.x[n:]


@pytest.mark.parametrize("eps", [0.05, 0.7, 1.5])
def test_projection_solves_the_quadratic_program(eps):
    z = X + SCALES * RNG.normal(size=X.shape)
    with jax.enable_x64(True):
        ours = np.asarray(jax.jit(project_l1)(z, X, eps))
    exact = np.stack([nearest(a, b, eps) for a, b in zip(z, X)])
    np.testing.assert_allclose(ours, exact, atol=2e-6)
    small = np.asarray(project(jnp.asarray(z, jnp.float32), jnp.asarray(X, jnp.float32), eps, "l1"))
    np.testing.assert_allclose(small, exact, atol=1e-5)
    # Where the ball binds, its surface is reached: the clip of a projection on the ball falls short of it.
    bound = np.minimum(np.abs(z - X), np.where(z > X, 1 - X, X)).sum(1) > eps
    assert bound.any()
    np.testing.assert_allclose(np.abs(ours - X).sum(1)[bound], eps, rtol=1e-12)


def test_ties_zeros_and_the_edges_of_eps():
    x = jnp.full((3, 4), 0.5)
    z = x + jnp.array([[0.3, 0.3, 0.3, -0.3], [0.3, 0.1, 0.0, 0.0], [9.0, 9.0, 0.0, -9.0]])
    run = jax.jit(lambda eps: project_l1(z, x, eps) - x)
    np.testing.assert_allclose(
        run(0.2), [[0.05, 0.05, 0.05, -0.05], [0.2, 0, 0, 0], [1 / 15, 1 / 15, 0, -1 / 15]], atol=1e-6
    )
    np.testing.assert_array_equal(run(0.0), np.zeros((3, 4)))
    np.testing.assert_allclose(run(99.0)[2], [0.5, 0.5, 0, -0.5])
    per_example = run(np.array([[0.0], [0.2], [99.0]], np.float32))
    np.testing.assert_allclose(np.abs(per_example).sum(1), [0, 0.2, 1.5], atol=1e-6)


@pytest.mark.parametrize("size", [0.1, 1.3, 99.0])
def test_the_steepest_step_solves_the_linear_program(size):
    g = RNG.normal(size=X.shape)
    g[0, :4] = [2, 2, 0, -2]
    with jax.enable_x64(True):
        ours = np.asarray(jax.jit(steepest_step_l1)(g, X, size))
    for step, slope, x in zip(ours, g, X):
        best = linprog(
            -np.concatenate([slope, -slope]),
            A_ub=np.ones((1, 12)),
            b_ub=[size],
            bounds=[*((0, 1 - a) for a in x), *((0, a) for a in x)],
        )
        assert step @ slope == pytest.approx(-best.fun, abs=1e-9)
        assert np.abs(step).sum() <= size + 1e-12
        assert ((x + step >= -1e-15) & (x + step <= 1 + 1e-15)).all()


def test_sparse_direction_takes_the_largest_entries():
    g = jnp.array([[3.0, -4.0, 0.5, 0.0], [1.0, 1.0, -1.0, 0.2], [0.0, 0.0, 0.0, 0.0]])
    run = jax.jit(sparse_direction)
    np.testing.assert_allclose(
        run(g, 2), [[0.5, -0.5, 0, 0], [1 / 3, 1 / 3, -1 / 3, 0], [0, 0, 0, 0]], rtol=1e-6
    )
    np.testing.assert_allclose(
        run(g, np.array([[1], [4], [4]])), [[0, -1, 0, 0], [0.25, 0.25, -0.25, 0.25], 4 * [0]]
    )


def test_fgsm_and_pgd_reach_the_worst_case_of_a_linear_model(linear):
    x = np.asarray(linear.x, np.float64).reshape(48, 64)
    run = jax.jit(
        lambda key: [
            fgsm(FGSMConfig(2.0, "l1"))(key, linear.logits, linear.x, linear.y),
            pgd(PGDConfig(2.0, 0.1, 60, norm="l1"))(key, linear.logits, linear.x, linear.y),
        ]
    )
    exact = []
    for z, slope in zip(x, linear.direction.astype(np.float64)):
        left, gain = 2.0, 0.0
        for i in np.argsort(-np.abs(slope)):
            move = min(left, 1 - z[i] if slope[i] > 0 else z[i])
            left, gain = left - move, gain + move * abs(slope[i])
        exact.append(gain)
    with jax.debug_key_reuse(False):
        once, many = run(jax.random.key(0))
    clean = linear.margins(linear.x)
    np.testing.assert_allclose(linear.margins(once) - clean, exact, rtol=1e-4)
    np.testing.assert_allclose(linear.margins(many) - clean, exact, rtol=0.02)
    for found in (once, many):
        assert distance(found, linear.x, "l1").max() <= 2 + 1e-5
