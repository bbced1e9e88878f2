"""Predictions of a share: in how many of the seeds something happens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from lrn import check, stats
from lrn.study.predictions.base import Cell, Finding, Prediction, Side, ends


@dataclass(frozen=True, kw_only=True)
class Share(Prediction):
    """The share of runs in which an event happened lies above (or below) ``bound``: an exact binomial test.

    cell: a metric that is 1 in a seed where the event happened, and 0 in any other seed. The seed is the unit
        of the test.
    bound: a share, between 0 and 1.
    side: the side of the bound on which the share is predicted to lie.
    """

    cell: Cell
    bound: float
    side: Literal["above", "below"] = "above"
    kind: ClassVar[str] = "share"

    def __post_init__(self) -> None:
        """Check the bound."""
        check.choice("side", self.side, ("above", "below"))
        check.between("bound", self.bound, 0.0, 1.0)
        if self.bound == {"above": 1.0, "below": 0.0}[self.side]:
            raise check.InputError(f"no share lies {self.side} {self.bound:g}; choose another bound.")

    @property
    def sides(self) -> tuple[Side, ...]:
        """The one cell."""
        return (self.cell,)

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        (x,) = values
        if not np.isin(x, (0.0, 1.0)).all():
            raise ValueError(
                f"{self.statement!r} counts runs, and {self.cell} has values other than 0 and 1; record 1 "
                "where the event happened and 0 where it did not."
            )
        k, n = int(x.sum()), len(x)
        ways = ("greater", "less") if self.side == "above" else ("less", "greater")
        holds, fails = (stats.share_test(k, n, self.bound, way) for way in ways)
        share = stats.share_interval(k, n)
        detail = f"{k} of {n} runs, exact binomial"
        return Finding(share.estimate, ends(share), n, holds, fails, how="outside", detail=detail)

    def shifted(self, values: np.ndarray, effect: float) -> np.ndarray:
        """See `Prediction.shifted`; the share of ones becomes ``effect``, up to rounding."""
        order = np.argsort(-values[0], kind="stable")
        ones = np.arange(len(order)) < round(effect * len(order))
        return np.where(np.argsort(order) < ones.sum(), 1.0, 0.0)[np.newaxis]

    def smallest_p(self, seeds: int) -> tuple[float, float]:
        """See `Prediction.smallest_p`."""
        many, few = self.bound**seeds, (1 - self.bound) ** seeds
        return (many, few) if self.side == "above" else (few, many)

    def bounds(self) -> list[tuple[tuple[float, ...], float]]:
        """See `Prediction.bounds`."""
        sign = 1.0 if self.side == "above" else -1.0
        return [((sign,), sign * self.bound)]
