"""The study of shared structure: its verdict follows from the gains, and broken learners void it."""

from __future__ import annotations

import numpy as np
import pytest
from treatment import judge

from experiments.meta.shared_structure import (
    BEFORE,
    DIALS,
    GAIN,
    LOSS,
    MISLED,
    PART,
    SINE,
    STUDY,
    TURNED,
    VARIANCE,
    Config,
    at,
    trainings,
)
from lrn import check, table
from lrn.study.findings import Findings
from lrn.study.select import EDGE

SEEDS = list(range(10))
METRICS = {LOSS: 1.0, BEFORE: 1.6, MISLED: 3.0}


def made(gains=(0.8, 0.4, 0.1, 0.0), told=0.5, misled=3.0, harder=0.0, leak=0.0, variance=VARIANCE):
    """A table of ten seeds in which these came out, for both families."""
    spread = np.random.RandomState(0).randn(len(SEEDS)) * 0.005
    cells = {}
    for family in (SINE, TURNED):
        for dial, gain in zip(DIALS, gains):
            cells[at(family, dial), GAIN] = leak if family == SINE and dial == 1 else gain
            cells[at(family, dial), PART] = gain
            for method in ("MAML", "pooled", "scratch"):
                cells |= {(at(family, dial, method), m): v for m, v in METRICS.items()}
                cells[at(family, dial, method), EDGE] = 0.0
            cells[at(family, dial, "MAML"), MISLED] = misled
            cells[at(family, dial, "scratch"), LOSS] = 2.0 + harder * dial
            cells[at(family, dial, "told"), LOSS] = told
    cells[at(SINE, 1, "told"), LOSS] = variance
    noise = {k: 0.0 if k[1] == EDGE else spread for k in cells}
    return table.concat([table.rows(a, SEEDS, 0, m, v + noise[a, m]) for (a, m), v in cells.items()])


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({}, "supported"),
        ({"gains": (0.8, 0.6, 0.4, 0.3)}, "mixed"),  # the gain falls and is not gone: the directions fail
        ({"gains": (0.2, 0.1, 0.05, 0.0)}, "refuted"),  # short of a quarter
        ({"gains": (0.3, 0.4, 0.6, 0.8)}, "refuted"),  # it rises
        ({"gains": (0.02, 0.01, 0.0, 0.0)}, "open"),  # there is no gain to explain
        ({"told": 1.5}, "invalid"),  # MAML beats who is told
        ({"misled": 1.0}, "invalid"),  # a learner that ignores the support set
        ({"harder": 1.0}, "invalid"),  # the dial makes tasks harder
        ({"leak": 0.3}, "invalid"),  # random targets are guessed: test tasks leak
        ({"variance": 0.7 * VARIANCE}, "invalid"),  # the targets are not random
    ],
)
def test_the_verdict_follows(seen, verdict):
    assert judge(STUDY, Config(), "quick", made(**seen))["verdict"] == verdict


def test_the_answer_has_the_numbers():
    assert STUDY.answer is not None
    said = STUDY.answer(Findings(judge(STUDY, Config(), "quick", made())))
    assert "gains 80 [80, 81] where" in said or "gains 80 [80, 80] where" in said
    assert "points less" in said
    assert "nan" not in said


@pytest.mark.parametrize("family", [SINE, TURNED])
def test_every_method_has_as_many_starts(family):
    arms = [trainings(family, Config(), method) for method in ("MAML", "pooled", "scratch")]
    assert {len(a) for a in arms} == {3 * len(DIALS)}
    assert len({name for a in arms for name in a}) == 9 * len(DIALS)


@pytest.mark.parametrize("settings", [{"tasks": 0}, {"tests": 1}, {"rate": 0.0}, {"steps": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(check.InputError, match=next(iter(settings))):
        Config(**settings)
