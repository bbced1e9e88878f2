"""The study of similar tasks: its dials, and its verdict from given gains and from broken learners."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from treatment import cells_alike

from experiments.meta import _distances as distances
from experiments.meta._distances import CENTERS, CLASSES, DIALS, FREQUENCY, PHASES, PLACES, TURNED
from experiments.meta.task_similarity import (
    BEFORE,
    BLIND,
    GAIN,
    HOME,
    LEAD,
    LOSS,
    METHODS,
    MISLED,
    STUDY,
    Config,
    at,
    trainings,
)
from lrn import check, table
from lrn.meta.episode import draw
from lrn.study import given, judge
from lrn.study.findings import Findings
from lrn.study.select import EDGE

SEEDS = list(range(10))


def made(
    gains=(0.8, 0.4, 0.1, -0.1), other=None, told=0.3, misled=3.0, home=0.6, swapped=0.0, harder=0.0, steps=1
):
    """A table of ten seeds; ``other`` are the gains on the dial of phases, by default those of the rest."""
    spread, gradients = np.random.RandomState(0).randn(len(SEEDS)) * 0.005, given("gradients")
    cells = {(c.arm, c.metric): x for c, x in cells_alike(STUDY.controlled(Config())).items()}
    for arm in trainings(PHASES, Config(), "MAML", 1.0):
        cells[arm, gradients] *= steps
    for name in DIALS:
        own = other if other and name == PHASES else gains
        for d, gain in zip(PLACES, own):
            cells |= {
                (at(name, d), GAIN): gain,
                (at(name, d), BLIND): gain,
                (at(name, d), LEAD): 0.1 - swapped,
            }
            cells[at(name, d, HOME), GAIN] = home
            for method in (*METHODS, HOME, "told"):
                cells |= {
                    (at(name, d, method), m): v for m, v in ((LOSS, 1.0), (BEFORE, 2.0), (MISLED, misled))
                }
                cells[at(name, d, method), EDGE] = 0.0
            cells[at(name, d, "scratch"), LOSS] = 1.5 + harder * d
            cells[at(name, d, "told"), LOSS] = told
    exact = (EDGE, gradients, given("candidates"))
    noise = {k: 0.0 if k[1] in exact else spread for k in cells}
    return table.concat([table.rows(a, SEEDS, 0, m, v + noise[a, m]) for (a, m), v in cells.items()])


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({}, "supported"),
        ({"other": (0.8, 0.8, 0.79, 0.78)}, "mixed"),  # beyond its range the advantage is kept
        ({"gains": (0.8, 0.8, 0.81, 0.82)}, "refuted"),
        ({"gains": (0.02, 0.01, 0.0, -0.2)}, "open"),  # there is nothing to lose
        ({"told": 1.5}, "invalid"),  # an oracle that is a constant
        ({"misled": 1.0}, "invalid"),  # the support set is not used
        ({"home": 0.1}, "invalid"),  # far tasks that nobody can meta-learn
        ({"swapped": 0.5}, "invalid"),  # the state of the other training, or far tasks that are near
        ({"harder": 1.0}, "invalid"),  # the dial makes tasks harder
        ({"steps": 2}, "invalid"),  # an arm with twice the steps
    ],
)
def test_the_verdict_follows(seen, verdict):
    assert judge(STUDY, Config(), "quick", made(**seen))["verdict"] == verdict


def test_the_answer_has_the_numbers():
    assert STUDY.answer is not None
    said = STUDY.answer(Findings(judge(STUDY, Config(), "quick", made())))
    assert said.count("80 [80, 8") == len(DIALS)
    assert "nan" not in said


@pytest.fixture(scope="module")
def drawn():
    """Tasks at both ends of each dial, by the same keys, and what is told of them."""

    def ends(name):
        def at_end(d):
            tasks = draw(distances.tasks_at(name, d), jax.random.key(0), 6)
            return tasks, jax.vmap(lambda e: distances.told(name, e, d))(tasks)

        return jax.lax.map(at_end, np.float32([0, 1]))

    return jax.device_get(jax.jit(lambda: {name: ends(name) for name in DIALS})())


@pytest.mark.parametrize("name", DIALS)
def test_at_distance_0_the_dials_of_a_family_have_the_same_tasks(drawn, name):
    family = DIALS[name]
    first = next(n for n, f in DIALS.items() if f == family)
    for ours, theirs in zip(jax.tree.leaves(drawn[name][0]), jax.tree.leaves(drawn[first][0])):
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)


def test_dials_move_what_they_name(drawn):
    phases, waves = drawn[PHASES][0], drawn[FREQUENCY][0]
    for part in (phases.support, phases.query):
        np.testing.assert_allclose(part["y"][1], -part["y"][0], atol=1e-4)  # by pi: the other sign
    amplitude, sine, cosine = (waves.code[1, :, i, None, None] for i in range(3))
    x, y = waves.query["x"][1], waves.query["y"][1]
    np.testing.assert_allclose(y, amplitude * (np.sin(2 * x) * cosine + np.cos(2 * x) * sine), atol=1e-3)
    centers, turned = drawn[CENTERS][0], drawn[TURNED][0]
    frame = centers.code[0].reshape(6, 2, -1)
    moved = centers.query["x"][1] - centers.query["x"][0]
    np.testing.assert_allclose(np.einsum("tnd,tkd->tnk", moved, frame), 12 / math.sqrt(2), rtol=1e-4)
    frames = turned.code.reshape(2, 6, 2, -1)
    np.testing.assert_allclose(np.einsum("tkd,tjd->tkj", *frames), 0, atol=1e-6)


@pytest.mark.parametrize("name", DIALS)
def test_who_is_told_the_task_is_as_good_at_both_ends(drawn, name):
    tasks, told = drawn[name]
    if DIALS[name] == CLASSES:
        right = (told.argmax(-1) == tasks.query["y"]).mean((1, 2))
        assert right.min() > 0.5
        np.testing.assert_allclose(told[1], told[0], atol=2e-2)
    else:
        np.testing.assert_allclose(told, tasks.query["y"], atol=1e-3)


@pytest.mark.parametrize("name", DIALS)
def test_every_method_has_as_many_starts(name):
    arms = [trainings(name, Config(), method) for method in METHODS]
    assert {len(a) for a in (*arms, trainings(name, Config(), "MAML", 1.0))} == {3}
    assert len({a for each in arms for a in each}) == 9


@pytest.mark.parametrize("settings", [{"tasks": 0}, {"tests": 1}, {"rate": 0.0}, {"steps": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(check.InputError, match=next(iter(settings))):
        Config(**settings)
