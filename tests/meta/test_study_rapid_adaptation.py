"""The study of few steps: its menus and costs, and its verdict from given losses and planted errors."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from treatment import cells_alike

from experiments.meta import _rapid as rapid
from experiments.meta._rapid import CLASSES, FROZEN, HIDDEN, METHODS, PICTURES, SIDE, SINE, STEPS, WAYS
from experiments.meta.rapid_adaptation import (
    BEFORE,
    FAMILIES,
    GAIN,
    LEFT,
    LIMITS,
    LOSS,
    MISLED,
    REUSE,
    STUDY,
    Config,
    arm,
    trainings,
)
from lrn import check, table
from lrn.meta.episode import draw
from lrn.meta.families.sinusoid import sinusoid
from lrn.study import OVERLAP, Cell, given, judge
from lrn.study.findings import Findings
from lrn.study.select import EDGE

SEEDS = list(range(10))


def made(gain=0.6, left=0.3, pictures=None, told=0.0, misled=3.0, before=2.0, seen=0.0, steps=1):
    """A table of ten seeds; ``pictures`` is the gain on Omniglot, by default that on sinusoids."""
    spread = np.random.RandomState(0).randn(len(SEEDS)) * 0.005
    alike = cells_alike(STUDY.controlled(Config()))
    cells = {(c.arm, c.metric): x for c, x in alike.items()}
    for name in trainings(SINE, "MAML"):
        cells[name, given("gradients")] *= steps
    for name in trainings(PICTURES, "MAML"):
        cells[name, OVERLAP] = seen
    for family in FAMILIES:
        own = pictures if pictures is not None and family == PICTURES else gain
        for k in STEPS:
            values = {GAIN: own, LEFT: left, REUSE: 0.5, BEFORE: before, MISLED: misled, LOSS: 1.0}
            cells |= {(arm(family, "MAML", k), m): v for m, v in values.items()}
        cells |= {(arm(family, m, k), EDGE): 0.0 for m in (*METHODS, FROZEN) for k in LIMITS}
    exact = {k for k in cells if k[1] in (EDGE, OVERLAP) or Cell(*k) in alike}
    cells[SINE, "told"] = told
    rows = [
        table.rows(a, SEEDS, 0, m, np.full(10, v) if (a, m) in exact else v + spread)
        for (a, m), v in cells.items()
    ]
    return table.concat(rows)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({}, "supported"),
        ({"pictures": 0.1}, "mixed"),
        ({"gain": 0.1}, "refuted"),
        ({"left": -0.2}, "refuted"),  # others catch up
        ({"told": 0.5}, "invalid"),  # an oracle that is a constant
        ({"misled": 1.0}, "invalid"),  # the support set is not used
        ({"before": 0.9}, "invalid"),  # the state of a method that does not adapt
        ({"seen": 3.0}, "invalid"),  # an evaluation on training classes
        ({"steps": 2}, "invalid"),  # an arm with twice the steps
    ],
)
def test_the_verdict_follows(found, verdict):
    assert judge(STUDY, Config(), "quick", made(**found))["verdict"] == verdict


def test_the_answer_has_the_numbers():
    assert STUDY.answer is not None
    said = STUDY.answer(Findings(judge(STUDY, Config(), "quick", made())))
    assert said.count("60 [60, 6") + said.count("60 [59, 6") == 4
    assert "nan" not in said


def test_a_wide_head_takes_twice_the_products_of_a_narrow_one():
    narrow, wide = (SIDE**2 * HIDDEN + HIDDEN * outputs for outputs in (WAYS, CLASSES))
    assert wide == 2 * narrow
    for config in STUDY.presets.values():
        for family, steps in zip(FAMILIES, config.training_steps):
            costs = rapid.COSTS[family]
            assert steps * costs["MAML"] % costs["pooled"] == 0


def test_a_frozen_body_leaves_the_head_to_adapt():
    """A menu with the body frozen is a linear regression on fixed features."""
    rate, problem = rapid.RATES[SINE][1], rapid.problem_of(SINE)

    def both():
        tasks = draw(sinusoid(10, 10), jax.random.key(0), 3)
        params, _ = problem.init(jax.random.key(1), tasks.support["x"][0])
        starts = jax.tree.map(lambda x: x[None], params)
        menu = rapid.menu_of(SINE, 1, frozen=True)._replace(rates=(rate,))

        def by_hand(task):
            known, seen = (
                problem.features(params["body"], (), b, b["x"]) for b in (task.support, task.query)
            )
            error = known @ params["head"]["kernel"] + params["head"]["bias"][None] - task.support["y"]
            kernel = params["head"]["kernel"] - rate * 2 * known.T @ error / len(known)
            bias = params["head"]["bias"] - rate * 2 * error.mean(0)
            return ((seen @ kernel + bias[None] - task.query["y"]) ** 2).mean()

        return menu.losses(starts, tasks)[0, 0, 0, 1], jax.vmap(by_hand)(tasks).mean()

    ours, theirs = jax.jit(both)()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_every_method_has_as_many_starts():
    for family in FAMILIES:
        assert {len(trainings(family, m)) for m in METHODS} == {3}


@pytest.mark.parametrize(
    ("settings", "message"), [({"training_steps": (7, 6)}, "multiples of 6"), ({"tests": 1}, "tests")]
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(check.InputError, match=message):
        Config(**settings)
