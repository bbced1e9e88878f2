"""The study of prototypes against MAML: a smallest run, its choices and its interpolation."""

from __future__ import annotations

import numpy as np
import pytest
from treatment import judge

from experiments.meta import prototypes
from experiments.meta.prototypes import MAML, PROTOTYPES, STUDY, Config, arm
from lrn import check, table

SEEDS = list(range(10))


def made(ahead=0.05, cheaper=0.05, reached=0.3, wrong=0.2, untrained=0.4, counted=1.05):
    """A table of ten seeds with these values."""
    spread = np.random.RandomState(0).randn(len(SEEDS)) * 0.002
    rows = []
    for shots in Config().shots:
        cells = {
            (PROTOTYPES, "accuracy"): 0.8 + ahead,
            (MAML, "accuracy"): 0.8,
            (MAML, "accuracy at equal arithmetic"): 0.8 + ahead - cheaper,
            (PROTOTYPES, "arithmetic to MAML's accuracy"): reached,
            **{(m, "accuracy, wrong support"): wrong for m in (PROTOTYPES, MAML)},
            **{(m, "accuracy, untrained"): untrained for m in (PROTOTYPES, MAML)},
        }
        rows += [table.rows(arm(a, shots), SEEDS, 0, m, value + spread) for (a, m), value in cells.items()]
        by_hand = (arm(PROTOTYPES, shots), SEEDS, 0, "arithmetic over counted by hand", np.full(10, counted))
        rows.append(table.rows(*by_hand))
        # Differences need a spread of their own.
        rows.append(table.rows(arm(PROTOTYPES, shots), SEEDS, 1, "accuracy", 0.8 + ahead - spread))
    return table.concat(rows)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({}, "supported"),
        ({"ahead": -0.01, "cheaper": 0.01}, "supported"),  # not worse by two points
        ({"ahead": -0.04}, "mixed"),
        ({"cheaper": -0.05}, "mixed"),
        ({"reached": 0.8}, "mixed"),
        ({"wrong": 0.4}, "invalid"),  # labels without meaning must not help
        ({"untrained": 0.79}, "invalid"),
        ({"counted": 1.3}, "invalid"),
    ],
)
def test_the_verdict_follows_from_the_table(found, verdict):
    result = judge(STUDY, Config(), "quick", made(**found))
    assert result["verdict"] == verdict, result["reason"]


def test_the_best_candidate_is_chosen_with_its_steps_and_never_none():
    validation = np.zeros((2, 3, 4))  # candidates, seeds, steps + 1
    validation[:, :, 0] = 1.0
    validation[1, :, 2] = 0.5
    assert prototypes.best(validation) == (1, 2)
    validation[1, 0, 2] = np.nan
    assert prototypes.best(validation) == (0, 1)


def test_shares_of_the_training_are_interpolated():
    values = np.array([0.0, 3.0, 6.0, 12.0])[:, None]  # at thirds
    assert prototypes.at_share(values, 0.5) == pytest.approx(4.5)
    assert prototypes.at_share(values, 1.7) == pytest.approx(12.0)
    assert prototypes.reached([0.2, 0.4, 0.6, 0.8], 0.5) == pytest.approx(0.5)
    assert prototypes.reached([0.2, 0.4, 0.6, 0.8], 0.1) == 0.0
    assert prototypes.reached([0.2, 0.4, 0.6, 0.8], 0.9) == 2.0


def test_arithmetic_is_counted_by_hand():
    config = Config(tasks=1, size=2, width=3, queries=1)
    # Ten examples: 4x3 forward and weights, 3x3 forward, weights and inputs, two operations each.
    assert prototypes._by_hand(config, 1) == 2 * 10 * (2 * 12 + 3 * 9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"meta_steps": 100}, "multiple of 3"),
        ({"queries": 16}, "at most 15"),
        ({"shots": (1, 1)}, "different"),
        ({"body": "resnet"}, "body"),
    ],
)
def test_bad_settings_are_told(settings, message):
    with pytest.raises(check.InputError, match=message):
        Config(**settings)
