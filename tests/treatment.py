"""Helpers for tests of studies, about the cells that record what each arm was given and judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lrn import table as tables
from lrn.study import BUDGETS, MISTAKEN, OVERLAP, Cell, Control, Exact, Finding, Same, given
from lrn.study import judge as judge_table
from lrn.table import Table

METRICS = {OVERLAP, MISTAKEN, *map(given, BUDGETS)}


def about_treatment(controls: Sequence[Control]) -> list[Control]:
    """The controls that read only how arms were treated."""
    return [c for c in controls if all(cell.metric in METRICS for cell in c.check.cells)]


def cells_alike(controls: Sequence[Control]) -> dict[Cell, float]:
    """Values for the cells of the controls of `about_treatment` with which all these controls hold."""
    values: dict[Cell, float] = {}
    checks = [c.check for c in about_treatment(controls)]
    for check in checks:
        if isinstance(check, Exact):
            values[check.cell] = check.value
    for check in checks:
        if isinstance(check, Same):
            known = {values[cell] for cell in check.over if cell in values}
            values |= dict.fromkeys(check.over, min(known, default=7.0))
    return values


def completed(table: Table, controls: Sequence[Control]) -> Table:
    """The table, with rows that say that all arms were treated as the controls ask."""
    seeds = np.array(table.seeds)
    rows = [
        tables.rows(cell.arm, seeds, 0, cell.metric, np.full(len(seeds), value))
        for cell, value in cells_alike(controls).items()
    ]
    return tables.concat([table, *rows])


def judge(study: Any, config: Any, preset: str, table: Table) -> dict[str, Any]:
    """`lrn.study.judge` for a made-up table without rows about the treatment of arms."""
    return judge_table(study, config, preset, completed(table, study.controlled(config)))


def way(finding: Finding, alpha: float = 0.05) -> str:
    """The outcome of a prediction that is judged alone: "holds", "fails" or "open"."""
    if finding.p_holds is None or finding.p_fails is None:
        return "holds" if finding.holds else "fails"
    return "holds" if finding.p_holds <= alpha else "fails" if finding.p_fails <= alpha else "open"


def assert_treated_alike(verdict: Mapping[str, Any]) -> None:
    """Assert that a finished run has controls of `about_treatment`, and that all of them hold."""
    checks = [c for c in verdict["controls"] if set(c["metric"].split(", ")) <= METRICS]
    assert checks
    assert all(c["passed"] for c in checks), [c["statement"] for c in checks if not c["passed"]]
