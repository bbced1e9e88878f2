"""The helpers of `robust.certified_smoothing`, on a linear network, whose smoothed classifier is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.robust import _smoothed as smoothed
from lrn.types import Net

DRAWS, SIDE = 1000, 2


def _apply(params, state, x, *, key=None, train=False):
    score = (x.reshape(x.shape[0], -1) - 0.5) @ params
    return jnp.stack([-score, score], 1), state


NET = Net(lambda key, x: (jnp.ones(SIDE * SIDE) / SIDE, ()), _apply)


@pytest.fixture(scope="module")
def judged():
    """Twenty images whose distance to the boundary is known, their certificates, and attacks on these."""
    distance = np.linspace(-0.9, 0.9, 20)
    flat = 0.5 + distance[:, None] / SIDE * np.ones((1, SIDE * SIDE))
    image = np.round(255 * flat.reshape(-1, SIDE, SIDE, 1)).astype(np.uint8)
    test = {"image": image, "label": (distance > 0).astype(np.int32)}
    sigmas = np.array([0.25, 0.5], np.float32)
    weights = jnp.ones((2, SIDE * SIDE)) / SIDE
    rows = np.r_[0:20:2, 1:20:2]  # the attack takes the first half
    one = (np.uint32(0), weights, rows)
    found = jax.jit(lambda: smoothed.certified(NET, sigmas, DRAWS, (0.0, 0.25), one, test))()
    again = (np.uint32(0), weights, found["label"], found["radius"], rows)
    broken = jax.jit(lambda: smoothed.attacked(NET, sigmas, 3.0, again, test))()
    return np.abs(distance)[rows], jax.tree.map(np.asarray, found), broken


def test_certified_radii_stay_below_the_distance_and_the_reach(judged):
    distance, found, _ = judged
    assert (found["radius"] <= distance + 1 / 255).all()
    assert (found["radius"] <= smoothed.reach(DRAWS) * np.array([[0.25], [0.5]])).all()
    assert (found[smoothed.OUTSIDE] == 0).all()
    assert float(found["certified at 0.25"].min()) > 0.4


def test_the_attack_breaks_nothing_inside_and_much_beyond(judged):
    _, _, broken = judged
    assert (broken["inside"] == 0).all()
    assert (broken["beyond"] > 0.3 * broken["certified"]).all()


def test_the_reach_is_that_of_the_clopper_pearson_bound():
    from scipy.stats import beta, norm

    assert smoothed.reach(100) == pytest.approx(norm.ppf(beta.ppf(0.001, 100, 1)), abs=1e-9)
