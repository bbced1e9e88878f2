"""Whether each prediction of a study can hold and can fail while the controls hold, by linear programs.

The unknowns are the means of the cells. These means lie in the ranges of their metrics (`Study.ranges`), obey
the relations between cells (`Study.relations`), and satisfy every control that voids a verdict. A prediction
that no such means satisfy is impossible by construction; a prediction that all such means satisfy is certain.
A study must have neither kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lrn.study.claim import Study
from lrn.study.predictions import Cell, Prediction

_LEAST = 1e-9  # slacks up to this count as zero; in the unit of the metric
_FAR = 1e6  # the mean of a metric without a range lies between -_FAR and _FAR


def unsatisfiable(study: Study, config: Any) -> list[str]:
    """The outcomes that the study's own ranges, relations and controls rule out.

    Returns:
        One sentence for each prediction that cannot hold or cannot fail, and for each regime whose primary
        predictions cannot hold together; empty for a study without such faults.
    """
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
    """Whether means that satisfy ``fixed`` exist beyond the margins of ``beyond``, short of ``short_of``."""
    rows = [(p, w, least, False) for p in fixed for w, least in p.bounds()]
    rows += [(p, w, least, True) for p in beyond for w, least in p.bounds()]
    if short_of is None:
        return _slack(study, rows) > _LEAST if beyond else _slack(study, rows) >= 0
    # A prediction fails where one of its inequalities is violated.
    opposite = [tuple(-x for x in w) for w, _ in short_of.bounds()]
    least = [-value for _, value in short_of.bounds()]
    return not opposite or any(
        _slack(study, [*rows, (short_of, w, v, True)]) > _LEAST for w, v in zip(opposite, least)
    )


def _slack(study: Study, rows: Sequence[tuple[Prediction, Sequence[float], float, bool]]) -> float:
    """The largest slack that all marked inequalities can have at once; -1 where no means satisfy the rows.

    Args:
        study: gives the ranges of the metrics.
        rows: inequalities (prediction, weights, least, marked) over the means of the prediction's sides.
    """
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
    optimum = linprog(
        np.r_[np.zeros(len(cells)), -1.0],
        A_ub=np.array(a) if a else None,
        b_ub=np.array(b) if b else None,
        bounds=[*ranges, (0.0, _FAR)],
        method="highs",
    )
    return float(optimum.x[-1]) if optimum.status == 0 else -1.0
