"""Matching without pairs: POT's plan, recovered permutations and rotations, and the sets that hide them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.ssl.matching import distances, gromov_wasserstein, procrustes, procrustes_wasserstein


def by_numpy(x: np.ndarray) -> np.ndarray:
    z = x / np.linalg.norm(x, axis=1, keepdims=True)
    square = np.maximum(2 - 2 * z @ z.T, 0) * (1 - np.eye(len(x)))
    return np.sqrt(square / square.mean())


DISTANCES = jax.jit(distances)
GW = jax.jit(gromov_wasserstein, static_argnames=("iterations", "inner"))
PW = jax.jit(procrustes_wasserstein, static_argnames=("iterations", "inner"))


def test_the_plan_equals_pots():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(6, 3))
    a, b = (DISTANCES(z.astype(np.float32)) for z in (x, y))
    np.testing.assert_allclose(a, by_numpy(x), atol=1e-5)
    match = GW(a, b, 0.3, iterations=200, inner=50)
    # POT 0.9.7: ot.gromov.entropic_gromov_wasserstein(by_numpy(x), by_numpy(y), uniform, uniform,
    # "square_loss", epsilon=.3, max_iter=2000, tol=1e-12), its first row; and the sum over all i, j, k, l.
    row = [0.01095636651576914, 0.007057905884496253, 0.005862903112530344]
    row += [0.031057441327931465, 0.022462724433061736, 0.04760265872621104]
    np.testing.assert_allclose(match.plan[0], row, rtol=1e-3)
    assert match.loss == pytest.approx(0.22387047377255406, rel=1e-4)
    c = np.square(by_numpy(x)[:, None, :, None] - by_numpy(y)[None, :, None, :])
    assert match.loss == pytest.approx(np.einsum("ijkl,ij,kl", c, match.plan, match.plan), rel=1e-4)
    np.testing.assert_allclose(match.plan.sum(axis=1), 1 / 8, rtol=1e-5)
    assert match.error < 1e-5


def hidden(rows: int, dim: int, noise: float = 0.0):
    """Clustered embeddings, and the same rotated, shuffled and with noise; row i of both is row order[i]."""
    rng = np.random.default_rng(3)
    a = rng.normal(size=(rows, dim)) * np.geomspace(2, 0.5, dim) + rng.normal(size=dim)
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    order = rng.permutation(rows)
    unit = a / np.linalg.norm(a, axis=1, keepdims=True)
    b = (unit @ rotation)[order] + noise * rng.normal(size=(rows, dim))
    return a.astype(np.float32), b.astype(np.float32), rotation, order


def test_a_hidden_rotation_and_order_are_found():
    a, b, rotation, order = hidden(40, 5, 0.02)
    match = GW(DISTANCES(a), DISTANCES(b), 0.01, hot=30.0, iterations=60, inner=50)
    assert np.mean(np.argmax(match.plan, axis=0) == order) > 0.8
    found, better = PW(a, b, match.plan, 0.02, iterations=10, inner=50)
    assert np.mean(np.argmax(better.plan, axis=0) == order) > 0.95
    np.testing.assert_allclose(found, rotation, atol=0.1)
    np.testing.assert_allclose(found @ found.T, np.eye(5), atol=1e-5)


def test_from_the_uniform_plan_a_rotation_alone_is_not_found():
    """The uniform plan's cross products of centered sets vanish: the geometry of each set must begin."""
    a, b, _, order = hidden(40, 5)
    _, match = PW(a, b, np.full((40, 40), 1 / 1600, np.float32), 0.02, iterations=10, inner=50)
    assert np.mean(np.argmax(match.plan, axis=0) == order) < 0.5


def test_known_pairs_give_the_rotation():
    a, b, rotation, order = hidden(12, 5)
    plan = np.zeros((12, 12), np.float32)
    plan[order, np.arange(12)] = 1
    unit = a / np.linalg.norm(a, axis=1, keepdims=True)
    np.testing.assert_allclose(procrustes(*map(jnp.asarray, (unit, b, plan))), rotation, atol=1e-4)


X = jnp.ones((4, 3))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gromov_wasserstein(X, X), "a must be distances"),
        (lambda: gromov_wasserstein(X[:3], X[:1, :1]), "b must be distances"),
        (lambda: gromov_wasserstein(X[:3], X[:3], 0.0), "epsilon"),
        (lambda: gromov_wasserstein(X[:3], X[:3], hot=0.5), "hot"),
        (lambda: gromov_wasserstein(X[:3], X[:3], inner=0), "inner"),
        (lambda: gromov_wasserstein(X[:3], X[:3], start=X), "start"),
        (lambda: procrustes_wasserstein(X, X, X), "the plan"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
