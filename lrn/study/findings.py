"""The findings of a run by the keys of its predictions, for a study's ``answer`` to put into words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from lrn import check


class Found(NamedTuple):
    """One finding.

    effect: the estimate, in the metric's unit. low, high: the ends of its 95% interval.
    outcome: "holds", "fails" or "open". how: the way in which the prediction fails, see `Finding`; else "".
    n: the number of seeds.
    """

    effect: float
    low: float
    high: float
    outcome: str
    how: str
    n: int

    def said(self, scale: float = 1.0, unit: str = "", digits: int = 0) -> str:
        """The effect and its interval in words: ``said(100, " points")`` gives "31 points [28, 34]"."""
        effect, low, high = (_number(scale * x, digits) for x in (self.effect, self.low, self.high))
        if scale < 0:
            low, high = high, low
        return f"{effect}{unit} [{low}, {high}]"

    def joint(self, points: int) -> Found:
        """The finding with its 95% t interval widened to hold for so many points at once (Bonferroni)."""
        from scipy.stats import t as student

        if self.n < 2:
            return self
        wider = student.ppf(1 - 0.025 / points, self.n - 1) / student.ppf(0.975, self.n - 1)
        low, high = (self.effect + wider * (end - self.effect) for end in (self.low, self.high))
        return self._replace(low=float(low), high=float(high))


class Findings:
    """The findings of a finished run, from its ``verdict.json`` alone.

    verdict: the study's verdict. regimes: from a regime's name to its outcome.
    """

    def __init__(self, verdict: Mapping[str, Any]):
        self.verdict: str = verdict["verdict"]
        self.regimes: dict[str, str] = {r["name"]: r["outcome"] for r in verdict["regimes"]}
        self._found = {entry["key"]: _found(entry) for entry in verdict["predictions"] if entry["key"]}

    def __getitem__(self, key: str) -> Found:
        """The finding of the prediction with that key.

        Raises:
            InputError: no prediction has that key.
        """
        check.choice("key", key, self._found)
        return self._found[key]

    def __iter__(self) -> Any:
        """The keys of the predictions."""
        return iter(self._found)


def _found(entry: Mapping[str, Any]) -> Found:
    low, high = (math.nan if x is None else float(x) for x in entry["interval"])
    effect = math.nan if entry["effect"] is None else float(entry["effect"])
    return Found(effect, low, high, entry["outcome"], entry["how"], int(entry["n"]))


def _number(value: float, digits: int) -> str:
    shown = f"{value:.{digits}f}"
    return shown.removeprefix("-") if float(shown) == 0 else shown
