"""Adaptation curves in a run's table: what the studies of meta-learning share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrn.runner import Context

# After how many steps results are predicted; curves are recorded for every number of steps.
AT = (0, 1, 5, 10)


def record_curves(
    context: Context, arm: str, found: Mapping[str, Any], at: Sequence[int] = AT, family: str = ""
) -> None:
    """Record what `lrn.meta.tune.tuned` gave for an arm.

    A score, and ``diverged``, is recorded at each number of steps (``table.curve(arm, "loss")``), and for
    those of ``at`` again as a metric of its own, ``loss@5``, for predictions to look at.

    Args:
        context: of the study.
        arm: the arm.
        found: {name: [seeds, steps + 1]}.
        at: the numbers of steps that predictions speak of.
        family: of several families of test tasks, the one to record.
    """
    prefix = f"{family}: " if family else ""
    for name, values in found.items():
        if name == "chosen" or not name.startswith(prefix) or (not prefix and ": " in name):
            continue
        metric = name.removeprefix(prefix)
        for k in range(values.shape[1]):
            context.record(arm, metric, values[:, k], step=k)
        for k in at:
            context.record(arm, f"{metric}@{k}", values[:, k])
