"""The shortest move to a hyperplane within the box, against linear programs and a bisection in float64."""

# pyright: reportArgumentType=false, reportCallIssue=false
# NumPy arrays stand in for jax arrays.

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, linprog

from lrn.robust.hyperplane import length, nearest_move
from lrn.robust.norms import NORMS

ROWS, DIM = 60, 7


def cases():
    """Points, gradients and values: in reach and not, on faces, with zero gradients, of both signs."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(ROWS, DIM))
    x[:6, :3] = [[0, 1, 0.5], [1, 1, 1], [0, 0, 0], [0, 1, 0], [1, 0, 1], [0.5, 0, 1]]
    gradient = rng.normal(size=(ROWS, DIM)) * rng.exponential(size=(ROWS, DIM))
    gradient[4:30:5, 2:5] = 0
    value = rng.normal(size=ROWS)
    value[::7] *= 10  # the hyperplane misses the box
    value[3] = 0
    return x.astype(np.float32), gradient.astype(np.float32), value.astype(np.float32)


X, G, V = cases()
RUN = jax.jit(lambda x, g, v: {norm: nearest_move(x, g, v, norm) for norm in NORMS})
OURS = RUN(X, G, V)


def reach(x, g, v):
    """The least absolute value of the linear function in the box, and the corner's move."""
    down = -np.sign(v) * np.sign(g)
    corner = np.where(down > 0, 1 - x, np.where(down < 0, -x, 0))
    return abs(v) - abs(corner @ g), corner


def program(x, g, v, norm):
    """The least norm by a linear program: over d and t >= |d| (Linf), or over the parts of d (L1)."""
    n = len(x)
    if norm == "linf":
        bound = np.ones((n, 1))
        over = np.block([[np.eye(n), -bound], [-np.eye(n), -bound]])
        return linprog(
            np.r_[np.zeros(n), 1],
            over,
            np.zeros(2 * n),
            np.r_[g, 0][None],
            [-v],
            [*zip(-x, 1 - x), (0, None)],
        ).fun
    return linprog(
        np.ones(2 * n), A_eq=np.r_[g, -g][None], b_eq=[-v], bounds=[*zip(0 * x, 1 - x), *zip(0 * x, x)]
    ).fun


def euclidean(x, g, v):
    """The projection: d = clip(-s g) by its optimality conditions."""

    def move(s):
        return np.clip(-s * g, -x, 1 - x)

    end = 1e6 * np.sign(v)
    return move(brentq(lambda s: v + move(s) @ g, 0, end, xtol=1e-14, maxiter=500))


@pytest.mark.parametrize("norm", NORMS)
def test_lies_on_the_hyperplane_at_the_least_distance(norm):
    moves = np.asarray(OURS[norm], np.float64)
    missed = 0
    for x, g, v, d in zip(X.astype(float), G.astype(float), V.astype(float), moves):
        short, corner = reach(x, g, v)
        assert ((x + d >= -1e-7) & (x + d <= 1 + 1e-7)).all()
        assert (d[g == 0] == 0).all()
        if short >= 0:
            missed += 1
            np.testing.assert_allclose(d, corner, atol=1e-7)
            continue
        assert v + d @ g == pytest.approx(0, abs=1e-5)
        if norm == "l2":
            np.testing.assert_allclose(d, euclidean(x, g, v) if v else 0 * x, atol=1e-5)
        else:
            size = np.abs(d).max() if norm == "linf" else np.abs(d).sum()
            assert size == pytest.approx(program(x, g, v, norm), rel=1e-4, abs=1e-6)
    assert 4 < missed < ROWS / 2


def test_only_the_ratio_of_value_and_gradient_matters():
    for scale in (1e-25, 1e20):
        scaled = RUN(X, G * np.float32(scale), V * np.float32(scale))
        for norm in NORMS:
            np.testing.assert_allclose(scaled[norm], OURS[norm], atol=2e-6)
    still = RUN(X, 0 * G, V)
    huge = RUN(X, G, np.full_like(V, np.inf))
    for norm in NORMS:
        np.testing.assert_array_equal(still[norm], 0 * X)
        np.testing.assert_array_equal(huge[norm], [reach(x, g, 1)[1] for x, g in zip(X, G)])


def test_equal_slopes_share_the_move():
    x, g = np.full((1, 4), 0.5, np.float32), np.array([[2.0, -2.0, 2.0, 0.1]], np.float32)
    moves = jax.jit(lambda v: {norm: nearest_move(x, g, v, norm) for norm in NORMS})(jnp.array([1.2]))
    for norm in ("l1", "l2"):
        spread = [[-0.2, 0.2, -0.2, 0]] if norm == "l1" else -1.2 * g / (g**2).sum()
        np.testing.assert_allclose(moves[norm], spread, atol=1e-6)
    np.testing.assert_allclose(moves["linf"], -1.2 / 6.1 * np.sign(g), atol=1e-6)


def test_a_row_that_is_nan_leaves_the_others_alone():
    bad = G.copy()
    bad[5] = np.nan
    ours = RUN(X, bad, V)
    for norm in NORMS:
        np.testing.assert_array_equal(np.delete(ours[norm], 5, 0), np.delete(OURS[norm], 5, 0))


def test_lengths_and_names():
    d = np.random.default_rng(1).normal(size=(5, 9)).astype(np.float32)
    run = jax.jit(lambda d: [length(d, norm) for norm in NORMS])
    for ours, order in zip(run(d), (np.inf, 2, 1)):
        np.testing.assert_allclose(ours, np.linalg.norm(d, order, axis=1), rtol=1e-6)
    np.testing.assert_allclose(run(d * np.float32(1e-25))[1], 1e-25 * np.linalg.norm(d, axis=1), rtol=1e-6)
    for call in (lambda: length(d, "l3"), lambda: nearest_move(X, G, V, "l0")):
        with pytest.raises(ValueError, match="is not known"):
            call()
