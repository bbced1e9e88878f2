"""The study of similar tasks: its dials, and its verdict from given gains and from broken learners."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from treatment import cells_alike

from experiments.meta import _distances as distances
from experiments.meta._distances import (
    CLASSES,
    DIALS,
    METHODS,
    PHASES,
    PLACES,
    SINE,
    SPOTS,
    at,
    home,
    spots_of,
    trainings,
    who,
)
from experiments.meta.task_similarity import BEFORE, BLIND, GAIN, LEAD, LOSS, MISLED, STUDY, Config
from lrn import check, table
from lrn.meta.episode import draw
from lrn.study import given, judge
from lrn.study.findings import Findings
from lrn.study.select import EDGE

SEEDS = list(range(10))


def made(
    gains=(0.8, 0.4, 0.1, -0.1), other=None, told=0.3, misled=3.0, own=0.6, swapped=0.0, harder=0.0, steps=1
):
    """A table of ten seeds; ``other`` are the gains on the dial of phases, by default those of the rest."""
    spread, gradients = np.random.RandomState(0).randn(len(SEEDS)) * 0.005, given("gradients")
    cells = {(c.arm, c.metric): x for c, x in cells_alike(STUDY.controlled(Config())).items()}
    for arm in trainings(SINE, home(PHASES)):
        cells[arm, gradients] *= steps
    for family, both in DIALS.items():
        for name in both:
            cells |= {(name, f"{LEAD} {d}"): 0.1 - swapped for d in (0, 1)}
            cells |= {(at(name, 1, home(name)), GAIN): own, (at(name, 1), BLIND): gains[-1]}
            for d, gain in zip(PLACES, other if other and name == PHASES else gains):
                cells[at(name, d), GAIN] = gain
                for method in (*who(family), "told"):
                    values = {LOSS: 1.0, BEFORE: 2.0, MISLED: misled, EDGE: 0.0}
                    cells |= {(at(name, d, method), m): v for m, v in values.items()}
                cells[at(name, d, "scratch"), LOSS] = 1.5 + harder * d
                cells[at(name, d, "told"), LOSS] = told
    exact = (EDGE, gradients, given("candidates"))
    noise = {k: 0.0 if k[1] in exact else spread for k in cells}
    return table.concat([table.rows(a, SEEDS, 0, m, v + noise[a, m]) for (a, m), v in cells.items()])


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({}, "supported"),
        ({"other": (0.8, 0.8, 0.81, 0.82)}, "mixed"),  # beyond its range the advantage is kept
        ({"gains": (0.8, 0.8, 0.81, 0.82)}, "refuted"),
        ({"gains": (0.02, 0.01, 0.0, -0.2)}, "open"),  # there is nothing to lose
        ({"told": 1.5}, "invalid"),  # an oracle that is a constant
        ({"misled": 1.0}, "invalid"),  # the support set is not used
        ({"own": 0.05}, "invalid"),  # far tasks that nobody can meta-learn
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
    assert said.count("-10 [-1") == 4
    assert "nan" not in said


@pytest.fixture(scope="module")
def drawn():
    """Tasks at the start and at both ends of a family's dials, by the same keys, and what is told of them."""

    def at_spots(family):
        def at_spot(spot):
            tasks = draw(distances.tasks_at(family, spot), jax.random.key(0), 6)
            return tasks, jax.vmap(lambda e: distances.told(family, e, spot))(tasks)

        return jax.lax.map(at_spot, np.array([SPOTS[0], (1, 0), (0, 1)], np.float32))

    return jax.device_get(jax.jit(lambda: {family: at_spots(family) for family in DIALS})())


def test_a_dial_begins_at_the_training_and_ends_at_its_end():
    for both in DIALS.values():
        for i, name in enumerate(both):
            spots = [SPOTS[k] for k in spots_of(name)]
            assert [spot[i] for spot in spots] == list(PLACES)
            assert {spot[1 - i] for spot in spots} == {0.0}


def test_dials_move_what_they_name(drawn):
    waves, classes = drawn[SINE][0], drawn[CLASSES][0]
    for part in (waves.support, waves.query):
        np.testing.assert_allclose(part["y"][1], -part["y"][0], atol=1e-4)  # by pi: the other sign
    amplitude, sine, cosine = (waves.code[2, :, i, None, None] for i in range(3))
    x, y = waves.query["x"][2], waves.query["y"][2]
    np.testing.assert_allclose(y, amplitude * (np.sin(2 * x) * cosine + np.cos(2 * x) * sine), atol=1e-3)
    frame, moved = classes.code[0].reshape(6, 2, -1), classes.query["x"][1] - classes.query["x"][0]
    np.testing.assert_allclose(np.einsum("tnd,tkd->tnk", moved, frame), 12 / math.sqrt(2), rtol=1e-4)
    turned = classes.code[2].reshape(6, 2, -1)
    np.testing.assert_allclose(np.einsum("tkd,tjd->tkj", frame, turned), 0, atol=1e-6)


def test_who_is_told_the_task_is_as_good_at_all_ends(drawn):
    tasks, told = drawn[CLASSES]
    assert (told.argmax(-1) == tasks.query["y"]).mean((1, 2)).min() > 0.5
    np.testing.assert_allclose(told[1], told[0], atol=2e-2)
    tasks, told = drawn[SINE]
    np.testing.assert_allclose(told, tasks.query["y"], atol=1e-3)


@pytest.mark.parametrize("family", DIALS)
def test_every_method_has_as_many_starts(family):
    arms = [trainings(family, method) for method in who(family)]
    assert {len(a) for a in arms} == {3}
    assert len({a for each in arms for a in each}) == 3 * len(who(family))
    ends = [{(arm.moved, arm.changed) for arm in a.values()} for a in arms]
    assert ends == [{(0.0, 0.0)}] * len(METHODS) + [{(1.0, 0.0)}, {(0.0, 1.0)}]


@pytest.mark.parametrize("settings", [{"tasks": 0}, {"tests": 1}, {"rate": 0.0}, {"steps": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(check.InputError, match=next(iter(settings))):
        Config(**settings)
