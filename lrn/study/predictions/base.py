"""What a prediction is made of: cells of the table, the finding, and what all kinds of prediction share."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from lrn import stats
from lrn.table import Table

How = Literal["short", "negligible", "opposite", "outside", ""]


class Cell(NamedTuple):
    """One number per seed: a metric of an arm at a step.

    step: the step at which the metric was recorded; None takes the last value of each seed.
    """

    arm: str
    metric: str
    step: int | None = None

    def __str__(self) -> str:
        """The form used in messages."""
        return f"{self.metric} of {self.arm}" + (f" at {self.step}" if self.step is not None else "")


Side = Cell | float  # a side of a comparison: a cell, or a number that is the same for all seeds


@dataclass(frozen=True)
class Finding:
    """What the data say about one prediction, before any correction for many predictions.

    effect: the estimated quantity, in the metric's unit.
    interval: the ends of the effect's 95% interval.
    n: the number of seeds.
    p_holds: the one-sided p of "the effect lies beyond the margin"; None where nothing is random.
    p_fails: the one-sided p of "the effect lies short of the margin"; None where nothing is random.
    holds: whether an exact prediction holds; None for the other kinds.
    how: the way in which the prediction fails, if it fails: "opposite" (the effect lies on the wrong side of
        zero), "negligible" (the interval lies within the margin on both sides of zero), "short" (any other
        effect below the margin), or "outside" (the effect lies outside of a range).
    spread: the standard deviation over seeds of the tested quantity; None without a test of a mean.
    distance: the effect minus the margin, positive where the effect lies beyond the margin; None without a
        test of a mean.
    hedges_g, probability_of_improvement: effect sizes of a comparison of two cells; None elsewhere.
    detail: the name of the test, or a remark on the data.
    """

    effect: float
    interval: tuple[float, float]
    n: int
    p_holds: float | None = None
    p_fails: float | None = None
    holds: bool | None = None
    how: How = ""
    spread: float | None = None
    distance: float | None = None
    hedges_g: float | None = None
    probability_of_improvement: float | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Prediction(ABC):
    """A statement about cells of the table which the data can confirm or refute.

    statement: the prediction as one sentence for people.
    key: a short name, unique in a study, by which an answer looks up the finding.
    failed_as: the value of a seed whose training became non-finite. Without a value such a seed leaves the
        prediction open, because a test without that seed would favor the arm that fails.
    regime: in studies of the old form, the name of the prediction's regime.
    """

    statement: str
    key: str = ""
    failed_as: float | None = None
    regime: str = ""
    kind: ClassVar[str] = ""

    @property
    @abstractmethod
    def sides(self) -> tuple[Side, ...]:
        """The cells and numbers that the prediction compares."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells among the sides."""
        return tuple(side for side in self.sides if isinstance(side, Cell))

    @abstractmethod
    def judge(self, values: list[np.ndarray]) -> Finding:
        """The finding.

        Args:
            values: the finite values [seeds] of each side, in the order of `sides`.
        """

    def bounds(self) -> list[tuple[tuple[float, ...], float]]:
        """The linear inequalities that are true where the prediction holds, for `lrn.study.satisfiable`.

        Returns:
            Pairs (weights, least): the sum of the sides' means, weighted by ``weights`` [sides], is at least
            ``least``. Empty for a prediction that is no such inequality.
        """
        return []

    def smallest_p(self, seeds: int) -> tuple[float, float]:
        """The least p for holding and the least p for failing that this number of seeds can give."""
        least = stats.smallest_sign_flip_p(seeds, "greater")
        return least, least

    def shifted(self, values: np.ndarray, effect: float) -> np.ndarray:
        """The values [sides, seeds] of the sides, moved so that the finding's effect becomes ``effect``."""
        moved = values.copy()
        moved[0] += effect - self.judge(list(values)).effect
        return moved

    def find(self, table: Table) -> Finding:
        """The finding, from the table of a run.

        Raises:
            ValueError: the table lacks a cell, or its cells have different seeds.
        """
        values = np.stack(self.values(table))
        seeds, failed = values.shape[1], int((~np.isfinite(values)).any(0).sum())
        if failed:
            if self.failed_as is None:
                finite = np.isfinite(values).all(0)
                # An exact prediction that one of the other seeds breaks fails, whatever the lost seeds are.
                if finite.any() and (finding := self.judge(list(values[:, finite]))).holds is False:
                    return finding
                detail = f"{failed} of {seeds} seeds failed, and how they count was not said beforehand"
                return Finding(np.nan, (np.nan, np.nan), seeds - failed, 1.0, 1.0, detail=detail)
            values = np.where(np.isfinite(values), values, self.failed_as)
        return self.judge(list(values))

    def values(self, table: Table) -> list[np.ndarray]:
        """The values [seeds] of each side, NaN where a seed failed; a side that is a number is repeated.

        Raises:
            ValueError: the table lacks a cell, or its cells have different seeds.
        """
        seeds, values = map(list, zip(*(_of_seeds(table, cell) for cell in self.cells)))
        if any(not np.array_equal(s, seeds[0]) for s in seeds):
            raise ValueError(
                f"the prediction {self.statement!r} compares cells with different seeds "
                f"({', '.join(f'{c}: {s.tolist()}' for c, s in zip(self.cells, seeds))}); "
                "record every seed for each."
            )
        known = iter(values)
        return [next(known) if isinstance(s, Cell) else np.full(len(seeds[0]), float(s)) for s in self.sides]

    def spec(self) -> dict[str, Any]:
        """The prediction as JSON, to be hashed, stored and shown."""
        known = {f.name for f in dataclasses.fields(Prediction)}
        params = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in known}
        return {
            "kind": self.kind,
            "statement": self.statement,
            "key": self.key,
            "metric": ", ".join(dict.fromkeys(c.metric for c in self.cells)),
            "arms": list(dict.fromkeys(c.arm for c in self.cells)),
            "params": {k: _plain_parameter(v) for k, v in {**params, "failed_as": self.failed_as}.items()},
        }


def plain(value: Any) -> Any:
    """A finding's value, or a prediction's parameter, as JSON."""
    if isinstance(value, Cell):
        return [value.arm, value.metric] + ([] if value.step is None else [value.step])
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    return value


def _plain_parameter(value: Any) -> Any:
    """A parameter as JSON. Infinity becomes text: JSON has no infinity, and null means "no value"."""
    if isinstance(value, tuple) and not isinstance(value, Cell):
        return [_plain_parameter(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else plain(value)


def _of_seeds(table: Table, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """The sorted seeds [seeds] of a cell and their values [seeds]."""
    if cell.step is None:
        return table.final_by_seed(cell.arm, cell.metric)
    return table.by_seed(cell.arm, cell.metric, cell.step)


def ends(interval: stats.Interval) -> tuple[float, float]:
    """The two ends of an interval."""
    return float(interval.low), float(interval.high)
