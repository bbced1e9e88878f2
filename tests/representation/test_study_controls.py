"""Each control of a study of representations holds on sound results, and a planted error breaks it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from treatment import about_treatment

from experiments.representation import _bottlenecks as trainings
from experiments.representation import _illusions as its
from experiments.representation import (
    identifiability,
    illusory_disentanglement,
    information_bottleneck,
    invariance,
)
from experiments.representation._curve import BELOW, CLOSED, OF_X, SPENT
from experiments.representation._recoveries import HOLDS, WORLDS
from lrn import table as tables
from lrn.study import Cell, Control, Exact
from lrn.study.verdict import checked

SEEDS = np.arange(10)


def _environments() -> tuple[dict[Cell, float], dict[Cell, float]]:
    sound, wrong = {}, {}
    for place in invariance.PLACES:
        plain, told = (invariance.arm(place, c, invariance.TRAINING_DOMAINS) for c in invariance.CONTROLS)
        sound |= {Cell(plain, invariance.LOSS): 0.0, Cell(plain, invariance.TEST): 0.7}
        sound[Cell(told, invariance.TEST)] = 0.9
        # The inputs called invariant show the spurious feature; the code of the environment is not seen.
        wrong |= {Cell(plain, invariance.LOSS): 0.2, Cell(told, invariance.TEST): 0.65}
    return sound, wrong


def _bottleneck() -> tuple[dict[Cell, float], dict[Cell, float]]:
    study, sound, wrong = information_bottleneck, {}, {}
    for b in study.Config().prices:
        at = study.priced(study.CURVE, b)
        sound |= {Cell(at, BELOW): 0.01, Cell(at, SPENT): 1.1, Cell(at, OF_X): 1.0}
        # More about the labels than any code can have; more about the inputs than the code's bound.
        wrong |= {Cell(at, BELOW): -0.05, Cell(at, SPENT): 0.9}
    closed = Cell(study.priced(study.CURVE, CLOSED), OF_X)
    sound[closed], wrong[closed] = 0.0, 0.1
    for place in trainings.PLACES:
        for method in trainings.METHODS:
            sound[Cell(study.arm(place, method), study.ERROR)] = 0.25
    # An error below that of Bayes, such as one on training rows; a task that is not learned.
    sound[Cell(study.BAYES, study.ERROR)], wrong[Cell(study.BAYES, study.ERROR)] = 0.2, 0.3
    wrong |= {Cell(study.arm(study.JOINT, method), study.ERROR): 0.1 for method in trainings.METHODS}
    wrong |= {Cell(study.arm(place, trainings.NONE), study.ERROR): 0.9 for place in trainings.PLACES}
    return sound, wrong


def _illusions() -> tuple[dict[Cell, float], dict[Cell, float]]:
    sound, wrong = {}, {}
    for place in illusory_disentanglement.PLACES:
        supervised, rotated, untrained = (
            illusory_disentanglement.arm(place, who) for who in (its.SUPERVISED, its.ROTATED, its.UNTRAINED)
        )
        sound |= {Cell(supervised, its.FACTOR): 0.99, Cell(supervised, its.NUISANCE): 0.97}
        sound |= {Cell(supervised, metric): 0.7 for metric in (its.MIG, its.SCORE)}
        sound |= {Cell(rotated, metric): 0.3 for metric in (its.MIG, its.SCORE)}
        sound |= {Cell(untrained, its.SCORE): 0.3, Cell(place, its.READER): 0.98, Cell(place, its.RATIO): 5.0}
        # Codes that follow the nuisance; a metric that sees no rotation; a score that sees no training.
        wrong |= {Cell(supervised, its.FACTOR): 0.8, Cell(untrained, its.SCORE): 0.7}
        wrong |= {Cell(rotated, metric): 0.7 for metric in (its.MIG, its.SCORE)}
        wrong[Cell(place, its.READER)] = 0.5
        if place in illusory_disentanglement.STRONG:
            wrong[Cell(place, its.RATIO)] = 0.5
    return sound, wrong


def _map() -> tuple[dict[Cell, float], dict[Cell, float]]:
    study, sound, wrong = identifiability, {}, {}
    for world in WORLDS:
        exact, turned = (Cell(study.arm(who, world), study.SCORE) for who in (study.EXACT, study.TURNED))
        sound |= {exact: 1.0, turned: 0.2}
        wrong |= {exact: 0.9, turned: 0.9}  # an unmixing that is not the inverse; a score of MCC alone
    cell = Cell(study.arm(study.TURNED, HOLDS), study.MCC)
    sound[cell], wrong[cell] = 0.67, 0.95
    return sound, wrong


STUDIES = [
    (invariance, _environments),
    (information_bottleneck, _bottleneck),
    (illusory_disentanglement, _illusions),
    (identifiability, _map),
]


@pytest.mark.parametrize(("module", "made"), STUDIES, ids=lambda x: getattr(x, "__name__", "").split(".")[-1])
def test_a_planted_error_breaks_a_control(module: Any, made: Any):
    study = module.STUDY
    controls = study.controlled(module.Config())
    treatment = about_treatment(controls)
    own = [c for c in controls if c not in treatment and not isinstance(c.check, Exact)]
    sound, wrong = made()
    for control in own:
        assert judged(control, sound) == "holds", control.check.statement
        planted = [c for c in control.check.cells if c in wrong]
        assert planted, f"no error is planted for {control.check.statement!r}"
        broken = [judged(control, {**sound, cell: wrong[cell]}) for cell in planted]
        assert "fails" in broken, control.check.statement
        assert control.consequence == "invalid"
    assert set(wrong) <= {cell for control in own for cell in control.check.cells}


def judged(control: Control, values: dict[Cell, float]) -> str:
    """The outcome of a control, where each seed has nearly the given value."""
    spread = np.linspace(-1e-4, 1e-4, len(SEEDS))
    cells = [tables.rows(c.arm, SEEDS, 0, c.metric, values[c] + spread) for c in control.check.cells]
    table = tables.concat(cells)
    return checked([control], lambda check: check.find(table), 0.05)[0][2]
