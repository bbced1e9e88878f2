"""The study of epsilon-greedy: its smoke preset runs, and its verdict follows from the solved seeds."""

from __future__ import annotations

import numpy as np
import pytest
from treatment import judge

from experiments.rl.exploration import CAR, STUDY, TASKS, Config, arm, settings
from lrn import check, table

SEEDS = list(range(10))


def made(discrete=1.0, continuous=0.0, pink=1.0, white=0.0, best=1.0, untrained=0.0):
    """A table of ten seeds with the given rates of solved seeds."""
    cells = {
        **{arm(n, "epsilon-greedy"): continuous if t.continuous else discrete for n, t in TASKS.items()},
        **{arm(n, "some method"): best for n in TASKS},
        **{arm(n, "no learning"): untrained for n in TASKS},
        arm(CAR, "pink"): pink,
        arm(CAR, "white"): white,
    }
    rows = [
        table.rows(a, SEEDS, 0, "solved", (np.arange(10) < round(10 * v)).astype(float))
        for a, v in cells.items()
    ]
    return table.concat([*rows, table.rows("all", SEEDS, 0, "half", np.full(10, 0.5))])


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({}, "supported"),
        ({"discrete": 0.0}, "mixed"),
        ({"continuous": 1.0}, "mixed"),
        ({"pink": 0.0, "continuous": 1.0, "discrete": 0.0, "white": 1.0}, "refuted"),
        ({"discrete": 0.5, "continuous": 0.5}, "partly supported"),  # pink beats white, no more
        ({"best": 0.0}, "invalid"),  # no method solves a task
        ({"untrained": 1.0}, "invalid"),  # a task is solved without learning
    ],
)
def test_the_verdict_follows_from_the_seeds(found, verdict):
    result = judge(STUDY, Config(), "quick", made(**found))
    assert result["verdict"] == verdict, result["reason"]


def test_every_method_has_as_many_settings():
    for task in TASKS.values():
        assert {len(v) for k, v in settings(task).items() if k != "no learning"} == {3}
    assert "pink" in settings(TASKS[CAR])
    assert "pink" not in settings(TASKS["CartPole"])


def test_both_kinds_of_action_have_an_easy_and_a_deep_task():
    assert [t.continuous for t in TASKS.values()].count(True) == 2


def test_bad_settings_are_one_sentence():
    with pytest.raises(check.InputError, match="depth must be at least 2"):
        Config(depth=1)
