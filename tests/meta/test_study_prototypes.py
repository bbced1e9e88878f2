"""The study of prototypes and MAML: equal cost, and its verdict from given accuracies and planted errors."""

from __future__ import annotations

import re

import numpy as np
import pytest
from treatment import cells_alike

from experiments.meta import _few_shot as few_shot
from experiments.meta._few_shot import (
    MAML,
    MEASURED,
    METHODS,
    PLACES,
    PROTOTYPES,
    at,
    candidates,
    cost,
    spent,
)
from experiments.meta.prototypes import ACCURACY, CHEAP, EQUAL, FRESH, LATE, MISLED, STUDY, Config
from lrn import check, table
from lrn.study import OVERLAP, Cell, given, judge
from lrn.study.findings import Findings
from lrn.study.select import EDGE

SEEDS = list(range(10))


def made(lead=0.0, ahead=None, cheap=10, misled=0.2, fresh=0.4, seen=0.0, steps=1):
    """A table of ten seeds; ``ahead`` is the lead in the first place, by default that of the others."""
    config, noise = Config(), np.random.RandomState(0)
    alike = cells_alike(STUDY.controlled(config))
    cells = {(c.arm, c.metric, 0): x for c, x in alike.items()}
    for place in PLACES:
        own = ahead if ahead is not None and place == PLACES[0] else lead
        for m in METHODS:
            right = 0.8 + own * (m == PROTOTYPES)
            for part in (8, 4, 2, 1):
                cells[at(place, m), ACCURACY, spent(config, place) // part] = right
            cells |= {(at(place, m), MISLED, 0): misled, (at(place, m), FRESH, 0): fresh}
            cells |= {
                (at(place, m), LATE, 0): 0.0,
                (at(place, m), EQUAL, 0): right,
                (at(place, m), EDGE, 0): 0.0,
            }
            for a in candidates(place, m):
                cells |= {
                    (a, given("gradients"), 0): 7.0 * (steps if m == MAML else 1),
                    (a, OVERLAP, 0): seen,
                }
        cells[at(place, PROTOTYPES), CHEAP, 0] = -1.0
    rows = []
    for (a, m, step), value in cells.items():
        exact = m in (EDGE, OVERLAP) or Cell(a, m) in alike
        values = np.full(10, value) if exact else value + 0.002 * noise.randn(10)
        rows.append(table.rows(a, SEEDS, step, m, np.arange(10) < cheap if m == CHEAP else values))
    return table.concat(rows)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({}, "supported"),
        ({"lead": -0.01}, "supported"),  # not worse by two points
        ({"lead": -0.05}, "refuted"),
        ({"ahead": -0.05}, "mixed"),
        ({"cheap": 0}, "refuted"),  # as accurate, and no sooner
        ({"cheap": 6}, "open"),
        ({"misled": 0.4}, "invalid"),  # labels without meaning must not help
        ({"fresh": 0.8}, "invalid"),  # the state before the training
        ({"seen": 5.0}, "invalid"),  # an evaluation on training classes
        ({"steps": 2}, "invalid"),  # an arm with twice the steps
    ],
)
def test_the_verdict_follows(found, verdict):
    assert judge(STUDY, Config(), "quick", made(**found))["verdict"] == verdict


def test_the_answer_has_the_numbers():
    assert STUDY.answer is not None
    said = STUDY.answer(Findings(judge(STUDY, Config(), "quick", made(lead=0.05, ahead=-0.05))))
    assert "more accurate than MAML in 3 of 4 comparisons and less accurate in 1;" in said
    assert said.count("100% (") == len(PLACES)
    leads = [float(x) for x in re.findall(r"(-?[\d.]+) \[", said)]
    assert leads == pytest.approx([-5.0, 5.0, 5.0, 5.0], abs=0.3)
    assert "nan" not in said


@pytest.mark.parametrize("place", PLACES)
def test_both_methods_spend_as_many_gradients(place):
    for config in STUDY.presets.values():
        taken = {m: spent(config, place) / config.tasks / cost(m, place[1]) for m in METHODS}
        assert all(n % MEASURED == 0 for n in taken.values())
        equal = MEASURED * cost(PROTOTYPES, place[1]) / cost(MAML, place[1])
        assert equal == int(equal)  # prototypes are measured after as many steps as MAML takes
        assert taken[PROTOTYPES] * equal / MEASURED == taken[MAML]
    assert len({len(candidates(place, m)) for m in METHODS}) == 1


def test_close_at_half_of_the_cost_is_for_two_measurements_and_censored():
    theirs = np.full((4, MEASURED + 1), 0.8)
    ours = np.full((4, MEASURED + 1), 0.7)
    ours[0, 4:] = 0.79  # in time, and within two points
    ours[1, 3] = 0.9  # once, by luck
    ours[2, 5:] = 0.9  # late
    np.testing.assert_array_equal(few_shot.cheaper(ours, theirs), [1, 0, 0, 0])


def test_the_choice_of_each_measurement_is_followed():
    scores = {"test": np.arange(2 * 3 * 1 * 2).reshape(2, 3, 1, 2).astype(float)}
    found = few_shot.along(scores, [(0, 0), (1, 1)])["test"]  # after one step; then another rate, two steps
    np.testing.assert_array_equal(found, [[scores["test"][0, 1, 0, 0], scores["test"][1, 2, 0, 1]]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"training_steps": (100, 24)}, "multiples of 24"), ({"tests": 1}, "tests"), ({"side": 0}, "side")],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(check.InputError, match=message):
        Config(**settings)
