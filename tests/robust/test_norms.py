"""Balls, the box, steps and random starts against their definitions and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lrn.robust.norms import NORMS, distance, project, random_start, steepest_direction

EPS = 0.3
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}


@pytest.fixture
def points():
    a, b = jax.random.split(jax.random.key(0))
    return jax.random.uniform(a, (64, 4, 4, 1)), jax.random.normal(b, (64, 4, 4, 1))


@pytest.mark.parametrize("norm", NORMS)
def test_projection_lands_in_ball_and_box_and_stays(points, norm):
    x, z = points
    eps = EPS if norm == "linf" else 1.2
    p = project(z, x, eps, norm)
    assert 0 <= p.min() <= p.max() <= 1
    flat = np.asarray(p - x, np.float64).reshape(64, -1)
    assert np.linalg.norm(flat, ord=ORDER[norm], axis=1).max() <= eps + 1e-6
    np.testing.assert_allclose(project(p, x, eps, norm), p, atol=1e-6)
    assert not np.allclose(p, z)


@pytest.mark.parametrize("norm", NORMS)
def test_projection_leaves_points_inside_alone(points, norm):
    x, z = points
    inside = jnp.clip(x + 0.01 * z, 0, 1)
    np.testing.assert_allclose(project(inside, x, 1.0, norm), inside, atol=1e-7)
    assert distance(inside, x, norm).max() < 1


def test_l2_projection_is_radial_without_the_box():
    x = jnp.full((1, 4), 0.5)
    z = x + jnp.array([[3.0, 0.0, -4.0, 0.0]])
    np.testing.assert_allclose(project(z, x, 0.1, "l2"), x + jnp.array([[0.06, 0.0, -0.08, 0.0]]), atol=1e-6)


def test_linf_projection_is_the_nearest_point(points):
    x, z = points
    p = project(z, x, EPS, "linf")
    others = project(
        jax.random.uniform(jax.random.key(1), (200, *x.shape), minval=-1, maxval=2), x[None], EPS, "linf"
    )
    gap = jnp.sum((others - z[None]) ** 2, axis=(2, 3, 4)) - jnp.sum((p - z) ** 2, axis=(1, 2, 3))[None]
    assert gap.min() >= 0


@pytest.mark.parametrize("norm", NORMS)
def test_steepest_direction_attains_the_dual_norm(points, norm):
    _, g = points
    d = steepest_direction(g, norm)
    flat_g, flat_d = np.asarray(g).reshape(64, -1), np.asarray(d).reshape(64, -1)
    np.testing.assert_allclose(np.linalg.norm(flat_d, ord=ORDER[norm], axis=1), 1, rtol=1e-5)
    dual = np.linalg.norm(flat_g, ord={"linf": 1, "l2": 2, "l1": np.inf}[norm], axis=1)
    np.testing.assert_allclose(np.sum(flat_g * flat_d, axis=1), dual, rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_zero_tiny_and_broken_gradients(norm):
    g = jnp.array([[0.0, 0.0], [3e-30, -4e-30], [jnp.nan, 1.0], [jnp.inf, -2.0], [3e30, 4e30]])
    d = steepest_direction(g, norm)
    tiny, huge = {
        "linf": ([1.0, -1.0], [1.0, 1.0]),
        "l2": ([0.6, -0.8], [0.6, 0.8]),
        "l1": ([0.0, -1.0], [0.0, 1.0]),
    }[norm]
    np.testing.assert_allclose(d, jnp.array([[0.0, 0.0], tiny, [0.0, 1.0], [0.0, -1.0], huge]), rtol=1e-6)


def test_linf_start_is_uniform():
    x = jnp.full((4000, 5), 0.5)
    delta = np.asarray(random_start(jax.random.key(0), x, EPS, "linf") - x)
    assert stats.kstest(delta.ravel(), stats.uniform(-EPS, 2 * EPS).cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(delta.T) - np.eye(5)).max() < 0.06


def test_l2_start_is_uniform_in_the_ball():
    x = jnp.full((4000, 5), 0.5)
    delta = np.asarray(random_start(jax.random.key(0), x, EPS, "l2") - x)
    radius = np.linalg.norm(delta, axis=1)
    assert stats.kstest((radius / EPS) ** 5, "uniform").pvalue > 1e-3
    # A coordinate u of a uniform point on the sphere in 5 dimensions: (1 + u) / 2 ~ Beta(2, 2).
    assert stats.kstest((1 + delta[:, 0] / radius) / 2, stats.beta(2, 2).cdf).pvalue > 1e-3


def test_l1_start_is_uniform_in_the_ball():
    x = jnp.full((4000, 5), 0.5)
    delta = np.asarray(random_start(jax.random.key(0), x, EPS, "l1") - x)
    size = np.abs(delta).sum(axis=1)
    assert stats.kstest((size / EPS) ** 5, "uniform").pvalue > 1e-3
    # The shares of a uniform point on the simplex of 5 entries: |d_0| / |d|_1 ~ Beta(1, 4).
    assert stats.kstest(np.abs(delta[:, 0]) / size, stats.beta(1, 4).cdf).pvalue > 1e-3
    assert abs((delta > 0).mean() - 0.5) < 0.02


@pytest.mark.parametrize("norm", NORMS)
def test_starts_stay_in_the_box_and_eps_zero_is_identity(points, norm):
    x, _ = points
    start = random_start(jax.random.key(0), x, 0.9, norm)
    assert 0 <= start.min() <= start.max() <= 1
    np.testing.assert_array_equal(random_start(jax.random.key(0), x, 0.0, norm), x)


def test_distance_matches_numpy(points):
    x, z = points
    flat = np.asarray(z - x).reshape(64, -1)
    np.testing.assert_allclose(distance(z, x, "linf"), np.abs(flat).max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(distance(z, x, "l1"), np.abs(flat).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(distance(z, x, "l2"), np.linalg.norm(flat, axis=1), rtol=1e-5)
    np.testing.assert_array_equal(distance(x, x, "l2"), np.zeros(64))


def test_unknown_norm():
    x = jnp.zeros((2, 3))
    with pytest.raises(ValueError, match="norm 'L2' is not known; did you mean l2"):
        project(x, x, 0.1, "L2")
