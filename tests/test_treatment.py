"""The controls of every study compare what its arms were given; a planted inequality makes it invalid."""

from __future__ import annotations

import numpy as np
import pytest
from treatment import about_treatment, cells_alike

from lrn import table as tables
from lrn.study import Cell, Control, discover
from lrn.study.verdict import checked, decide

SEEDS = np.arange(10)


def rows(cell: Cell, values: np.ndarray) -> tables.Table:
    return tables.rows(cell.arm, SEEDS, 0, cell.metric, values)


@pytest.mark.parametrize("name", sorted(discover.find()))
def test_an_arm_treated_differently_in_one_seed_makes_a_study_invalid(name):
    study = discover.load(name).study
    config = study.presets["quick"]
    controls = about_treatment(study.controlled(config))
    assert controls, f"{name} does not say what its arms were given"
    right = {cell: np.full(len(SEEDS), v) for cell, v in cells_alike(controls).items()}
    for control in controls:
        assert judged(control, right)[0] == "holds"
        for cell in control.check.cells:
            wrong = right[cell] * 3 + 2
            wrong[:-1] = right[cell][:-1]
            outcome = judged(control, {**right, cell: wrong})
            assert outcome == ("fails", "invalid"), (control.check.statement, cell)


def judged(control: Control, values: dict[Cell, np.ndarray]) -> tuple[str, str]:
    """The outcome of a control, and the verdict of a study with no other."""
    table = tables.concat([rows(c, values[c]) for c in control.check.cells])
    outcomes = checked([control], lambda check: check.find(table), 0.05)
    return outcomes[0][2], decide("quick", len(SEEDS), [], outcomes)[0]
