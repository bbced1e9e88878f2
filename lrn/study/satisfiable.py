"""Whether the predictions of a study can come out either way, while its controls hold: linear programs.

The unknowns are the means of the cells. They lie in the ranges of their metrics (`Study.ranges`), obey the
relations that follow from what the cells are (`Study.relations`), and satisfy every control that voids a
verdict. A prediction that no such means fulfil is impossible by construction, one that all of them fulfil is
certain; neither is a prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lrn.study.claim import Study
from lrn.study.predictions import Cell, Prediction

_LEAST = 1e-9  # a slack that counts, in the unit of the metric
_FAR = 1e6  # how far means of metrics without a range may lie


def unsatisfiable(study: Study, config: Any) -> list[str]:
    """What cannot come out, one sentence each; empty for a study that is right."""
    given = [c.check for c in study.controlled(config) if c.consequence == "invalid"]
    fixed = [*given, *study.related(config)]
    wrong = []
    if not _possible(study, fixed):
        return ["the controls contradict each other, or the ranges and relations of the study"]
    for regime in study.asked(config):
        gate = [regime.gate] if regime.gate else []
        for prediction in regime.primary:
            if not _possible(study, [*fixed, *gate], beyond=[prediction]):
                wrong.append(f"{regime.name}: cannot hold while the controls hold: {prediction.statement}")
            if not _possible(study, [*fixed, *gate], short_of=prediction):
                wrong.append(f"{regime.name}: cannot fail while the controls hold: {prediction.statement}")
        if not wrong and not _possible(study, [*fixed, *gate], beyond=regime.primary):
            wrong.append(f"{regime.name}: its primary predictions cannot all hold together")
    return wrong


def _possible(
    study: Study,
    fixed: Sequence[Prediction],
    beyond: Sequence[Prediction] = (),
    short_of: Prediction | None = None,
) -> bool:
    """Whether means exist that fulfil ``fixed``, lie beyond the margins of ``beyond``, short of another."""
    rows = [(p, w, least, False) for p in fixed for w, least in p.bounds()]
    rows += [(p, w, least, True) for p in beyond for w, least in p.bounds()]
    if short_of is None:
        return _slack(study, rows) > _LEAST if beyond else _slack(study, rows) >= 0
    # It fails where one of its inequalities does.
    opposite = [tuple(-x for x in w) for w, _ in short_of.bounds()]
    least = [-value for _, value in short_of.bounds()]
    return not opposite or any(
        _slack(study, [*rows, (short_of, w, v, True)]) > _LEAST for w, v in zip(opposite, least)
    )


def _slack(study: Study, rows: Sequence[tuple[Prediction, Sequence[float], float, bool]]) -> float:
    """The largest slack that all rows marked for it can have at once; -1 where the others cannot be met."""
    from scipy.optimize import linprog

    cells = sorted({c for p, *_ in rows for c in p.cells}, key=str)
    place = {cell: i for i, cell in enumerate(cells)}
    a, b = [], []
    for prediction, weights, least, slack in rows:
        row = np.zeros(len(cells) + 1)
        for side, weight in zip(prediction.sides, weights, strict=True):
            if isinstance(side, Cell):
                row[place[side]] += weight
            else:
                least -= weight * side
        row[-1] = -float(slack)
        a.append(-row)
        b.append(-least)
    ranges = [study.ranges.get(cell.metric, (-_FAR, _FAR)) for cell in cells]
    found = linprog(
        np.r_[np.zeros(len(cells)), -1.0],
        A_ub=np.array(a) if a else None,
        b_ub=np.array(b) if b else None,
        bounds=[*ranges, (0.0, _FAR)],
        method="highs",
    )
    return float(found.x[-1]) if found.status == 0 else -1.0
