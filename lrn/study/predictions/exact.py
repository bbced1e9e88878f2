"""Predictions without a test: every seed has a known value, or the same value in all cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lrn import check
from lrn.study.predictions.base import Cell, Finding, Prediction, Side


@dataclass(frozen=True, kw_only=True)
class Exact(Prediction):
    """Every seed has a known value, within ``atol``: an oracle, an identity, an attack that cannot fail.

    value, atol: in the metric's unit. No test is made: one seed beyond ``atol`` breaks the prediction.
    """

    cell: Cell
    value: float
    atol: float = 0.0
    kind: ClassVar[str] = "exact"

    def __post_init__(self) -> None:
        """Check the tolerance."""
        check.non_negative("atol", self.atol)

    @property
    def sides(self) -> tuple[Side, ...]:
        """The one cell."""
        return (self.cell,)

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        (x,) = values
        worst = float(np.abs(x - self.value).max())
        return Finding(
            effect=float(x.mean()),
            interval=(float(x.min()), float(x.max())),
            n=len(x),
            holds=worst <= self.atol,
            how="outside",
            detail=f"largest deviation {worst:.3g}, allowed {self.atol:.3g}; the interval is the range",
        )

    def bounds(self) -> list[tuple[tuple[float, ...], float]]:
        """See `Prediction.bounds`."""
        return [((1.0,), self.value - self.atol), ((-1.0,), -self.value - self.atol)]


@dataclass(frozen=True, kw_only=True)
class Same(Prediction):
    """Every seed has the same value in all cells, within ``atol``: budgets that must be equal.

    over: two or more different cells. atol: in the metric's unit.
    """

    over: tuple[Cell, ...]
    atol: float = 0.0
    kind: ClassVar[str] = "same"

    def __post_init__(self) -> None:
        """Check the cells and the tolerance."""
        check.non_negative("atol", self.atol)
        if len(set(self.over)) < 2:
            raise ValueError(
                f"{self.statement!r} compares {len(set(self.over))} cells; give two or more that differ."
            )

    @property
    def sides(self) -> tuple[Side, ...]:
        """The cells that must agree."""
        return self.over

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        columns = np.stack(values, 1)
        spread = columns.max(1) - columns.min(1)
        worst = float(spread.max())
        return Finding(
            effect=float(spread.mean()),
            interval=(float(spread.min()), worst),
            n=len(columns),
            holds=worst <= self.atol,
            how="outside",
            detail=f"largest difference {worst:.3g}, allowed {self.atol:.3g}; the interval is the range",
        )
