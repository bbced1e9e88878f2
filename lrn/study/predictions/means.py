"""Predictions of a mean, or of a median: of one cell, or of the paired difference of two."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from lrn import check, stats
from lrn.study.predictions.base import Cell, Finding, How, Prediction, Side, ends

# Where most samples of a population have an absolute skewness above this value, tests at .05 have a level
# of up to .12 (`python -m experiments.bench stats skewness`). One in eight samples of ten normal differences
# exceeds this skewness too.
SKEWED = 1.0


@dataclass(frozen=True, kw_only=True)
class Superiority(Prediction):
    """The mean paired difference ``better - worse`` exceeds ``margin``.

    The test is `lrn.stats.mean_test`: sign flips, guarded against skew. A negative margin makes the
    prediction one of non-inferiority. Where a metric is skewed by nature, record its logarithm, or set
    ``of="median"``: then an exact sign test judges the median difference.
    """

    better: Side
    worse: Side
    margin: float = 0.0
    of: Literal["mean", "median"] = "mean"
    kind: ClassVar[str] = "superiority"

    def __post_init__(self) -> None:
        """Check the sides and ``of``."""
        check.choice("of", self.of, ("mean", "median"))
        _check_sides(self.statement, self.better, self.worse)

    @property
    def sides(self) -> tuple[Side, ...]:
        """The two sides of the difference."""
        return self.better, self.worse

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        better, worse = values
        sizes = _sizes(better, worse) if len(self.cells) == 2 else {}
        finding = _beyond(better, worse, self.margin, self.of)
        return dataclasses.replace(finding, how=_how(finding.interval, self.margin), **sizes)

    def bounds(self) -> list[tuple[tuple[float, ...], float]]:
        """See `Prediction.bounds`."""
        return [((1.0, -1.0), self.margin)]


@dataclass(frozen=True, kw_only=True)
class Above(Prediction):
    """The mean (or median) of one cell lies above ``bound``; the test is that of `Superiority`."""

    cell: Cell
    bound: float
    of: Literal["mean", "median"] = "mean"
    kind: ClassVar[str] = "above"
    _sign: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        """Check ``of`` and the bound."""
        check.choice("of", self.of, ("mean", "median"))
        check.finite("bound", self.bound)

    @property
    def sides(self) -> tuple[Side, ...]:
        """The one cell."""
        return (self.cell,)

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        (x,) = values
        finding = _beyond(self._sign * x, None, self._sign * self.bound, self.of)
        interval = finding.interval if self._sign > 0 else (-finding.interval[1], -finding.interval[0])
        detail = _by_sign_flips(x) if self.of == "mean" else finding.detail
        effect = self._sign * finding.effect
        return dataclasses.replace(finding, effect=effect, interval=interval, how="outside", detail=detail)

    def bounds(self) -> list[tuple[tuple[float, ...], float]]:
        """See `Prediction.bounds`."""
        return [((self._sign,), self._sign * self.bound)]


@dataclass(frozen=True, kw_only=True)
class Below(Above):
    """The mean (or median) of one cell lies below ``bound``; the test is that of `Superiority`."""

    kind: ClassVar[str] = "below"
    _sign: ClassVar[float] = -1.0


@dataclass(frozen=True, kw_only=True)
class Equivalence(Prediction):
    """The mean paired difference ``one - other`` lies between -``margin`` and ``margin``.

    Two one-sided tests (TOST; Schuirmann, 1987) decide, each that of `Superiority`.
    """

    one: Side
    other: Side
    margin: float
    kind: ClassVar[str] = "equivalence"

    def __post_init__(self) -> None:
        """Check the margin."""
        check.positive("margin", self.margin)
        _check_sides(self.statement, self.one, self.other)

    @property
    def sides(self) -> tuple[Side, ...]:
        """The two sides of the difference."""
        return self.one, self.other

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        one, other = values
        sizes = _sizes(one, other) if len(self.cells) == 2 else {}
        return _inside(one, other, -self.margin, self.margin, sizes)

    def smallest_p(self, seeds: int) -> tuple[float, float]:
        """See `Prediction.smallest_p`."""
        least, _ = super().smallest_p(seeds)
        return least, 2 * least

    def bounds(self) -> list[tuple[tuple[float, ...], float]]:
        """See `Prediction.bounds`."""
        return [((1.0, -1.0), -self.margin), ((-1.0, 1.0), -self.margin)]


@dataclass(frozen=True, kw_only=True)
class Within(Prediction):
    """The mean of one cell lies between ``low`` and ``high``.

    Two one-sided tests decide, each that of `Superiority`. An infinite bound needs no test.
    """

    cell: Cell
    low: float
    high: float
    kind: ClassVar[str] = "interval"

    def __post_init__(self) -> None:
        """Check the bounds."""
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}; swap them.")

    @property
    def sides(self) -> tuple[Side, ...]:
        """The one cell."""
        return (self.cell,)

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        return _inside(values[0], None, self.low, self.high, {})

    def smallest_p(self, seeds: int) -> tuple[float, float]:
        """See `Prediction.smallest_p`."""
        least, _ = super().smallest_p(seeds)
        return least, least * sum(map(math.isfinite, (self.low, self.high)))

    def bounds(self) -> list[tuple[tuple[float, ...], float]]:
        """See `Prediction.bounds`."""
        ends = (((1.0,), self.low), ((-1.0,), -self.high))
        return [(weights, least) for weights, least in ends if math.isfinite(least)]


def _check_sides(statement: str, *sides: Side) -> None:
    if not any(isinstance(side, Cell) for side in sides):
        raise check.InputError(f"{statement!r} compares two numbers; give a cell on one side at least.")
    for side in sides:
        if not isinstance(side, Cell):
            check.finite("a side", side)


def _beyond(x: np.ndarray, y: np.ndarray | None, margin: float, of: str) -> Finding:
    """The finding on "the mean (or the median) of x [seeds], or of x - y, lies above a margin"."""
    d = x if y is None else stats.paired_differences(x, y)
    if of == "median":
        interval, test, detail = stats.median_interval(d), stats.sign_test, "median by an exact sign test"
    else:
        interval, test, detail = _mean(d), stats.mean_test, _by_sign_flips(d)
    return Finding(
        effect=interval.estimate,
        interval=ends(interval),
        n=len(d),
        p_holds=test(x, y, margin, "greater"),
        p_fails=test(x, y, margin, "less"),
        spread=float(d.std(ddof=1)) if len(d) > 1 and of == "mean" else None,
        distance=interval.estimate - margin if of == "mean" else None,
        detail=detail,
    )


def _inside(
    x: np.ndarray, y: np.ndarray | None, low: float, high: float, sizes: Mapping[str, Any]
) -> Finding:
    """The finding on "the mean of x [seeds], or of x - y, lies between two bounds"."""
    d = x if y is None else stats.paired_differences(x, y)
    # The mean may lie outside on two sides, so the smaller p is doubled where both bounds are finite.
    sides = ((low, "less"), (high, "greater"))
    outside = min(stats.mean_test(x, y, bound, side) for bound, side in sides if math.isfinite(bound))
    interval = _mean(d)
    return Finding(
        effect=interval.estimate,
        interval=ends(interval),
        n=len(d),
        p_holds=stats.equivalence_test(x, y, low=low, high=high),
        p_fails=min(1.0, outside * (2 if math.isfinite(low) and math.isfinite(high) else 1)),
        how="outside",
        spread=float(d.std(ddof=1)) if len(d) > 1 else None,
        distance=min(interval.estimate - low, high - interval.estimate),
        detail=_by_sign_flips(d),
        **sizes,
    )


def _how(interval: tuple[float, float], margin: float) -> How:
    """The way in which an effect with that interval falls short of a margin, if it does."""
    low, high = interval
    if high < 0 or margin <= 0:
        return "opposite"
    return "negligible" if -margin <= low <= 0 <= high <= margin else "short"


def _mean(d: np.ndarray) -> stats.Interval:
    if len(d) < 2:  # an interval needs two values or more
        return stats.Interval(float(d.mean()), np.nan, np.nan)
    return stats.t_interval(d)


def _by_sign_flips(d: np.ndarray) -> str:
    """The name of the test, with a remark where the sample's skewness puts the test's level in doubt."""
    test = "mean by sign flips, guarded against skew"
    skewness = stats.skewness(d) if len(d) > 2 else 0.0
    if abs(skewness) <= SKEWED:
        return test
    return f"{test}; with skewness {skewness:.1f} the level is doubtful under so few seeds"


def _sizes(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """The effect sizes of a comparison, by the names of `Finding`'s fields; empty for fewer than 3 seeds."""
    if len(x) < 3:
        return {}
    return {
        "hedges_g": stats.hedges_g(stats.paired_differences(x, y)).estimate,
        "probability_of_improvement": stats.probability_of_improvement(x, y).estimate,
    }
