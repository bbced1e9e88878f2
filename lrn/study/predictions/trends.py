"""Predictions of a trend: values that rise, or fall, along a dial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from lrn import check, stats
from lrn.study.predictions.base import Cell, Finding, Prediction, Side, ends


@dataclass(frozen=True, kw_only=True)
class Trend(Prediction):
    """Over ordered cells the values rise (or fall): Page's test (1963) on paired seeds.

    The effect is the least-squares slope, in the metric's unit per unit of ``levels``.

    over: the cells, three or more.
    levels: the position of each cell on the dial, increasing.
    direction: whether the values rise ("increasing") or fall ("decreasing").
    """

    over: tuple[Cell, ...]
    levels: tuple[float, ...]
    direction: Literal["increasing", "decreasing"] = "increasing"
    kind: ClassVar[str] = "trend"

    def __post_init__(self) -> None:
        """Check the levels."""
        check.choice("direction", self.direction, ("increasing", "decreasing"))
        if len(self.over) != len(self.levels) or len(self.levels) < 3:
            raise ValueError(
                f"a trend needs three or more cells and as many levels, got {len(self.over)} and "
                f"{len(self.levels)}; give one level for each cell."
            )
        if list(self.levels) != sorted(set(self.levels)):
            raise ValueError(
                f"the levels of a trend must increase, got {list(self.levels)}; sort them with their cells."
            )

    @property
    def sides(self) -> tuple[Side, ...]:
        """The cells in order."""
        return self.over

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        if len(values[0]) < 2:
            return Finding(np.nan, (np.nan, np.nan), len(values[0]), 1.0, 1.0)
        levels, columns = np.asarray(self.levels), np.stack(values, 1)
        rising = stats.trend_test(columns, levels, alternative="greater")
        falling = stats.trend_test(columns, levels, alternative="less")
        holds, fails = (rising, falling) if self.direction == "increasing" else (falling, rising)
        return Finding(
            holds.slope.estimate, ends(holds.slope), len(columns), holds.p, fails.p, how="opposite"
        )

    def shifted(self, values: np.ndarray, effect: float) -> np.ndarray:
        """See `Prediction.shifted`; a straight line is added, so that the slope becomes ``effect``."""
        centered = np.asarray(self.levels) - np.mean(self.levels)
        return values + np.outer(centered, effect - self.judge(list(values)).effect)

    def bounds(self) -> list[tuple[tuple[float, ...], float]]:
        """See `Prediction.bounds`; the inequality states the sign of the least-squares slope."""
        centered = np.asarray(self.levels) - np.mean(self.levels)
        sign = 1.0 if self.direction == "increasing" else -1.0
        return [(tuple(float(v) for v in sign * centered / (centered**2).sum()), 0.0)]
