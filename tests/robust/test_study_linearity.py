"""The synthetic tasks and the closed forms of the studies of linearity and of free robustness."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from experiments.robust import _clouds as clouds
from experiments.robust import _free_tasks as free
from experiments.robust._bent import KINDS, bent
from experiments.robust._vulnerability import resized


@pytest.mark.parametrize(
    ("d", "dense", "sparse"), [(10, 0.967, 0.967), (100, 0.933, 0.967), (1000, 0.662, 0.967)]
)
def test_robust_accuracy_of_the_notes(d, dense, sparse):
    assert clouds.bayes_attacked(d, True, 0.05) == pytest.approx(dense, abs=1e-3)
    assert clouds.bayes_attacked(d, False, 0.05) == pytest.approx(sparse, abs=1e-3)
    assert clouds.best_robust(d, True, 0.05) == pytest.approx(dense, abs=1e-3)
    assert clouds.bayes_attacked(10_000, True, 0.05) == pytest.approx(0.001, abs=1e-3)


def test_accuracy_of_a_linear_classifier_is_that_of_a_sample():
    weights, bias, eps = np.random.default_rng(0).normal(size=10).astype(np.float32), 0.3, 0.1
    x, y = jax.jit(lambda: clouds.gaussians(0, jnp.arange(40_000), 10, 1.0))()
    z = np.asarray(clouds.from_box(x))
    weights += 1.5 * np.asarray(clouds.mean_of(10, 1.0))
    reached = (2 * np.asarray(y) - 1) * (z @ weights + bias) - eps * np.abs(weights).sum()
    known = clouds.linear_attacked(weights, bias, clouds.mean_of(10, 1.0), eps)
    assert float(known) == pytest.approx((reached > 0).mean(), abs=0.01)


@pytest.mark.parametrize("length", free.LENGTHS.values())
def test_no_direction_is_more_robust_than_the_bound(length):
    """The closed form against a search over linear classifiers of two free weights, strong and weak."""
    mean = np.asarray(free.mean_of(length), float)

    def short(angle):
        w = np.where(np.arange(free.D) < free.STRONG, np.cos(angle[0]), np.sin(angle[0]))
        return -norm.cdf((w @ mean - free.EPS * np.abs(w).sum()) / np.linalg.norm(w))

    found = min(minimize(short, [a], method="Nelder-Mead").fun for a in (-0.5, 0.1, 0.7))
    known = free.known(length)
    assert known["robust"] == pytest.approx(-found, abs=1e-6)
    assert 0 <= known["cost"] < known["clean"]


def test_spheres_and_the_tilted_task_are_where_they_should_be():
    x, y = jax.jit(lambda: clouds.spheres(1, jnp.arange(64)))()
    radii = np.linalg.norm(clouds.from_box(np.asarray(x)), axis=1)
    np.testing.assert_allclose(radii, np.where(np.asarray(y) == 1, clouds.OUTER, clouds.INNER), rtol=1e-4)
    x, y = jax.jit(lambda: clouds.tilted(1, jnp.arange(64)))()
    z = clouds.from_box(np.asarray(x)) * (2 * np.asarray(y) - 1)[:, None]
    assert (z[:, 0] > 0.59).all()
    assert (z[:, 1] > 0.59 * clouds.FINE).all()


def test_units_are_what_they_say():
    x = np.random.default_rng(0).uniform(size=(8, 5)).astype(np.float32)
    for kind, units in KINDS.items():
        net = bent(3, 8, units, lambda z: z)
        params, _ = net.init(jax.random.key(0), jnp.asarray(x))
        out, _ = net.apply(params, (), jnp.asarray(x))
        params = jax.tree.map(np.asarray, params)
        h = x @ params["w"] + params["b"]
        apart = ((x[:, None] - params["w"].T[None]) ** 2).sum(-1)
        active = {"ReLU": np.maximum(h, 0), "linear": h, "quadratic": h**2 / 2}
        active["RBF"] = np.exp(-apart / np.exp(params["log_s"]))
        np.testing.assert_allclose(out, active[kind] @ params["v"] + params["c"], atol=1e-4)


def test_an_interval_for_many_points_is_wider():
    one = free.Found(0.1, 0.0, 0.2, "open", "", 10)
    wide = free.joint(one, 20)
    assert free.joint(one, 1).low == pytest.approx(0.0)
    assert wide.low < 0 < wide.high - 0.2
    assert wide.effect == one.effect


@pytest.mark.parametrize(("side", "least"), [(2, 2), (4, 4), (8, 4), (16, 4)])
def test_images_above_the_base_are_its_pixels_repeated(side, least):
    image = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    found = resized({"image": image, "label": np.arange(3)}, side, 4)["image"]
    known = np.rint(image.reshape(3, least, 8 // least, least, 8 // least, 1).mean((2, 4)))
    assert found.shape == (3, side, side, 1)
    np.testing.assert_array_equal(found, known.repeat(side // least, 1).repeat(side // least, 2))
