"""The study of shared structure: runs at its smallest, its dials are what they say, its verdict follows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from treatment import judge

from experiments.meta import shared_structure as study
from experiments.meta.shared_structure import DIALS, DIM, SINE, STUDY, TURNED, Config, at
from lrn import check, table
from lrn.meta.episode import draw

SEEDS = list(range(10))


@pytest.mark.parametrize(("dial", "overlap"), [(0.0, 1.0), (1.0, 2 / DIM)])
def test_directions_are_shared_or_not(dial, overlap):
    regime = study._directions(Config())
    episodes = draw(regime.family(dial), jax.random.key(0), 400)
    frames = episodes.code.reshape(400, 2, DIM)
    np.testing.assert_allclose(frames @ frames.swapaxes(1, 2), np.tile(np.eye(2), (400, 1, 1)), atol=1e-5)
    shared = np.linalg.norm(frames[:200] @ frames[200:].swapaxes(1, 2), axis=(1, 2)) ** 2 / 2
    assert abs(shared.mean() - overlap) < 0.02
    # And whoever is told them does as well.
    losses = jax.vmap(lambda e: regime.problem.loss(regime.told(e, dial), e.query["y"]))(episodes)
    assert abs(float(losses.mean()) - 0.6) < 0.05


def test_noise_is_larger_across_the_directions():
    regime = study._directions(Config())
    episode = draw(regime.family(0.5), jax.random.key(1), 2000)
    x, frames = episode.query["x"], episode.code.reshape(-1, 2, DIM)
    inside = jnp.einsum("tnd,tfd->tnf", x, frames)
    across = (x**2).sum(-1) - (inside**2).sum(-1)
    assert float(across.mean()) == pytest.approx((DIM - 2) * study.NUISANCE**2, rel=0.03)
    assert float((inside**2).sum(-1).mean()) == pytest.approx(2 * (study.APART**2 + 1), rel=0.05)


@pytest.mark.parametrize("dial", [0.0, 0.4, 1.0])
def test_told_a_sinusoid_only_the_random_part_is_lost(dial):
    regime = study._sinusoids(Config())
    episodes = draw(regime.family(dial), jax.random.key(0), 2000)
    losses = jax.vmap(lambda e: regime.problem.loss(regime.told(e, dial), e.query["y"]))(episodes)
    variance = float((episodes.code[:, 0] ** 2).mean() / 2)
    assert float(losses.mean()) == pytest.approx(dial * variance, rel=0.05, abs=1e-6)


def made(gains=(0.8, 0.4, 0.1, 0.0), told=0.1, wrong=3.0, harder=0.0):
    """A table of ten seeds in which these came out for both families."""
    spread = np.random.RandomState(0).randn(len(SEEDS)) * 0.01
    cells = {}
    for regime in (SINE, TURNED):
        for dial, gain in zip(DIALS, gains):
            cells[at(regime, dial), "relative gain"] = gain
            if regime == TURNED or dial < 1:
                cells[at(regime, dial), "part of the avoidable"] = gain
            cells[at(regime, dial, "told"), "loss"] = told
            cells[at(regime, dial, "MAML"), "loss"] = 1.0
            cells[at(regime, dial, "scratch"), "loss"] = 2.0 + harder * dial
            cells[at(regime, dial, "MAML"), "loss by a wrong support set"] = wrong
            cells[at(regime, dial), "loss of no adaptation"] = 2.0
    cells[at(SINE, 1.0, "told"), "loss over variance"] = 1.0
    return table.concat([table.rows(a, SEEDS, 0, m, v + spread * (1 + v)) for (a, m), v in cells.items()])


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({}, "supported"),
        ({"gains": (0.8, 0.6, 0.4, 0.3)}, "mixed"),  # falls, but not to zero
        ({"gains": (0.2, 0.1, 0.05, 0.0)}, "mixed"),  # little to begin with
        ({"gains": (0.0, 0.1, 0.4, 0.8)}, "refuted"),
        ({"told": 1.5}, "invalid"),  # nobody beats who is told
        ({"wrong": 1.0}, "invalid"),  # the support set is not used
        ({"harder": 1.0}, "invalid"),  # the dial makes tasks harder
    ],
)
def test_verdict_follows_from_gains(found, verdict):
    assert judge(STUDY, Config(), "quick", made(**found))["verdict"] == verdict


def test_chooses_on_validation_and_measures_on_test():
    means = np.array([[3.0, 2.0], [1.0, 5.0]])
    test = np.arange(8.0).reshape(2, 2, 2)
    losses, chosen = study._chosen(means, test)
    assert chosen == (1, 0)
    np.testing.assert_array_equal(losses, test[1, 0])


@pytest.mark.parametrize(
    "settings", [{"tasks": 0}, {"tests": 1}, {"rate": 0.0}, {"sine_rates": ()}, {"turned_rates": (-1.0,)}]
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(check.InputError, match=next(iter(settings))):
        Config(**settings)
