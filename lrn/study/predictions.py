"""What a claim predicts, as data: cells of the table, what is said of them, and how the data answer.

A prediction compares an effect with a margin. It *holds* where a one-sided test finds the effect beyond the
margin, and *fails* where a one-sided test finds it short of the margin; otherwise it is open.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from lrn import check, stats
from lrn.table import Table

# Beyond this skewness (in size) of most samples of a population, tests at .05 have a level of up to .12
# (`python -m experiments.bench stats skewness`). Ten normal differences show as much in one study of eight.
SKEWED = 1.0
How = Literal["short", "negligible", "opposite", "outside", ""]


class Cell(NamedTuple):
    """One number per seed: a metric of an arm, at a step or, without one, its last value."""

    arm: str
    metric: str
    step: int | None = None

    def __str__(self) -> str:
        """The form used in messages."""
        return f"{self.metric} of {self.arm}" + (f" at {self.step}" if self.step is not None else "")


Side = Cell | float  # of a comparison


@dataclass(frozen=True)
class Finding:
    """What the data say about one prediction by itself.

    effect: the estimated quantity, in the metric's unit; interval: its 95% interval.
    p_holds: one-sided p for "beyond the margin"; p_fails: for "short of it". None where nothing is random.
    holds: what an exact prediction comes to, None for the others.
    how: how it fails, if it does: "opposite" (the interval lies below zero), "negligible" (it lies within the
        margin on both sides of zero), "short" (of the margin, otherwise), or "outside" (of a range).
    spread: standard deviation over seeds of what is tested; distance: from the margin to the effect,
        positive where the effect lies beyond it. None where no test of a mean is made.
    hedges_g, probability_of_improvement: effect sizes of a comparison of two cells, None elsewhere.
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
    """Something a claim predicts, in code.

    statement: one sentence for people.
    key: a short name by which an answer finds it; unique in a study.
    failed_as: the value to use for a seed whose training became non-finite. Without one such a seed leaves
        the prediction open: dropping it would favor what fails.
    regime: for studies of the old form, the name of the regime it belongs to.
    """

    statement: str
    key: str = ""
    failed_as: float | None = None
    regime: str = ""
    kind: ClassVar[str] = ""

    @property
    @abstractmethod
    def sides(self) -> tuple[Side, ...]:
        """The cells and numbers it looks at."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of the table it looks at."""
        return tuple(side for side in self.sides if isinstance(side, Cell))

    @abstractmethod
    def judge(self, values: list[np.ndarray]) -> Finding:
        """The finding, from the finite values [seeds] of each side."""

    def bounds(self) -> list[tuple[tuple[float, ...], float]]:
        """When it holds, as inequalities: pairs (weights, least) for "the weighted sum of the sides' means is
        at least that". Empty where it cannot be said so; `lrn.study.satisfiable` asks.
        """
        return []

    def smallest_p(self, seeds: int) -> tuple[float, float]:
        """The least p that so many seeds can give, for holding and for failing."""
        least = stats.smallest_sign_flip_p(seeds, "greater")
        return least, least

    def shifted(self, values: np.ndarray, effect: float) -> np.ndarray:
        """The values of its sides [sides, seeds], moved so that the finding's effect becomes ``effect``."""
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
                if finite.any() and (known := self.judge(list(values[:, finite]))).holds is False:
                    return known  # what the other seeds break is broken
                detail = f"{failed} of {seeds} seeds failed, and how they count was not said beforehand"
                return Finding(np.nan, (np.nan, np.nan), seeds - failed, 1.0, 1.0, detail=detail)
            values = np.where(np.isfinite(values), values, self.failed_as)
        return self.judge(list(values))

    def values(self, table: Table) -> list[np.ndarray]:
        """The values [seeds] of each side, NaN where a seed failed; numbers are repeated.

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
        """The prediction as JSON: what is hashed, stored and shown."""
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


@dataclass(frozen=True, kw_only=True)
class Superiority(Prediction):
    """The mean paired difference ``better - worse`` exceeds ``margin``: sign flips, guarded against skew.

    A negative margin makes it a test of non-inferiority. Where a metric is skewed by nature, record its
    logarithm, or judge the median difference with ``of="median"``: an exact sign test.
    """

    better: Side
    worse: Side
    margin: float = 0.0
    of: Literal["mean", "median"] = "mean"
    kind: ClassVar[str] = "superiority"

    def __post_init__(self) -> None:
        """Check what is compared."""
        check.choice("of", self.of, ("mean", "median"))
        _check_sides(self.statement, self.better, self.worse)

    @property
    def sides(self) -> tuple[Side, ...]:
        """The two compared."""
        return self.better, self.worse

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        better, worse = values
        sizes = _sizes(better, worse) if len(self.cells) == 2 else {}
        found = _beyond(better, worse, self.margin, self.of)
        return dataclasses.replace(found, how=_how(found.interval, self.margin), **sizes)

    def bounds(self) -> list[tuple[tuple[float, ...], float]]:
        """See `Prediction.bounds`."""
        return [((1.0, -1.0), self.margin)]


@dataclass(frozen=True, kw_only=True)
class Above(Prediction):
    """The mean (or median) of one cell lies above ``bound``; tested as `Superiority`."""

    cell: Cell
    bound: float
    of: Literal["mean", "median"] = "mean"
    kind: ClassVar[str] = "above"
    _sign: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        """Check what is judged."""
        check.choice("of", self.of, ("mean", "median"))
        check.finite("bound", self.bound)

    @property
    def sides(self) -> tuple[Side, ...]:
        """The one it looks at."""
        return (self.cell,)

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        (x,) = values
        found = _beyond(self._sign * x, None, self._sign * self.bound, self.of)
        interval = found.interval if self._sign > 0 else (-found.interval[1], -found.interval[0])
        detail = _by_sign_flips(x) if self.of == "mean" else found.detail
        effect = self._sign * found.effect
        return dataclasses.replace(found, effect=effect, interval=interval, how="outside", detail=detail)

    def bounds(self) -> list[tuple[tuple[float, ...], float]]:
        """See `Prediction.bounds`."""
        return [((self._sign,), self._sign * self.bound)]


@dataclass(frozen=True, kw_only=True)
class Below(Above):
    """The mean (or median) of one cell lies below ``bound``; tested as `Superiority`."""

    kind: ClassVar[str] = "below"
    _sign: ClassVar[float] = -1.0


@dataclass(frozen=True, kw_only=True)
class Equivalence(Prediction):
    """The mean paired difference lies within ``margin`` of zero: two one-sided tests, as of `Superiority`."""

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
        """The two compared."""
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
    """The mean of one cell lies between ``low`` and ``high``: two one-sided tests, as of `Superiority`."""

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
        """The one it looks at."""
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


@dataclass(frozen=True, kw_only=True)
class Share(Prediction):
    """The share of runs in which something happened is above (or below) ``bound``: an exact binomial test.

    cell: 1 in a seed in which it happened, 0 in another. A seed is the unit.
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
        """The one it looks at."""
        return (self.cell,)

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        (x,) = values
        if not np.isin(x, (0.0, 1.0)).all():
            raise ValueError(
                f"{self.statement!r} counts runs, and {self.cell} has values other than 0 and 1; record 1 "
                "where it happened and 0 where it did not."
            )
        k, n = int(x.sum()), len(x)
        ways = ("greater", "less") if self.side == "above" else ("less", "greater")
        holds, fails = (stats.share_test(k, n, self.bound, way) for way in ways)
        share = stats.share_interval(k, n)
        detail = f"{k} of {n} runs, exact binomial"
        return Finding(share.estimate, _ends(share), n, holds, fails, how="outside", detail=detail)

    def shifted(self, values: np.ndarray, effect: float) -> np.ndarray:
        """See `Prediction.shifted`: so many ones, up to rounding."""
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


@dataclass(frozen=True, kw_only=True)
class Trend(Prediction):
    """Over ordered cells the values go up (or down): Page's test on paired seeds, slope per level unit.

    levels: the position of each cell on the axis that is varied.
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
            holds.slope.estimate, _ends(holds.slope), len(columns), holds.p, fails.p, how="opposite"
        )

    def shifted(self, values: np.ndarray, effect: float) -> np.ndarray:
        """See `Prediction.shifted`: by a straight line."""
        centered = np.asarray(self.levels) - np.mean(self.levels)
        return values + np.outer(centered, effect - self.judge(list(values)).effect)

    def bounds(self) -> list[tuple[tuple[float, ...], float]]:
        """See `Prediction.bounds`: the sign of the least-squares slope."""
        centered = np.asarray(self.levels) - np.mean(self.levels)
        sign = 1.0 if self.direction == "increasing" else -1.0
        return [(tuple(float(v) for v in sign * centered / (centered**2).sum()), 0.0)]


@dataclass(frozen=True, kw_only=True)
class Exact(Prediction):
    """Every seed has a known value, within ``atol``: an oracle, an identity, an attack that cannot fail."""

    cell: Cell
    value: float
    atol: float = 0.0
    kind: ClassVar[str] = "exact"

    def __post_init__(self) -> None:
        """Check the tolerance."""
        check.non_negative("atol", self.atol)

    @property
    def sides(self) -> tuple[Side, ...]:
        """The one it looks at."""
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
    """Every seed has the same value in all cells, within ``atol``: budgets that must be equal."""

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


def restored(spec: Mapping[str, Any]) -> Prediction:
    """The prediction that `Prediction.spec` gave, from JSON.

    Raises:
        ValueError: it is of a kind or has parameters that lrn does not know.
    """
    kinds = {c.kind: c for c in _subclasses(Prediction) if c.kind and c.__module__ == __name__}
    kind = kinds.get(spec["kind"])
    if kind is None:
        raise ValueError(f"predictions of the kind {spec['kind']!r} cannot be judged without their study.")
    types = {f.name: str(f.type) for f in dataclasses.fields(kind)}
    params = {k: _read(v, types[k]) for k, v in spec["params"].items()}
    return kind(statement=spec["statement"], key=spec["key"], **params)


def plain(value: Any) -> Any:
    """A JSON form of a finding's values, or of a prediction's parameters."""
    if isinstance(value, Cell):
        return [value.arm, value.metric] + ([] if value.step is None else [value.step])
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    return value


def _of_seeds(table: Table, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    if cell.step is None:
        return table.final_by_seed(cell.arm, cell.metric)
    return table.by_seed(cell.arm, cell.metric, cell.step)


def _check_sides(statement: str, *sides: Side) -> None:
    if not any(isinstance(side, Cell) for side in sides):
        raise check.InputError(f"{statement!r} compares two numbers; give a cell on one side at least.")
    for side in sides:
        if not isinstance(side, Cell):
            check.finite("a side", side)


def _subclasses(kind: type[Any]) -> list[type[Any]]:
    return [c for sub in kind.__subclasses__() for c in (sub, *_subclasses(sub))]


def _beyond(x: np.ndarray, y: np.ndarray | None, margin: float, of: str) -> Finding:
    """Whether the mean or the median of x [seeds], or of x - y, lies above a margin."""
    d = x if y is None else stats.paired_differences(x, y)
    if of == "median":
        interval, test, detail = stats.median_interval(d), stats.sign_test, "median by an exact sign test"
    else:
        interval, test, detail = _mean(d), stats.mean_test, _by_sign_flips(d)
    return Finding(
        effect=interval.estimate,
        interval=_ends(interval),
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
    """Whether the mean of x [seeds], or of x - y, lies between two bounds."""
    d = x if y is None else stats.paired_differences(x, y)
    # Outside on either side, hence twice the smaller p where there are two.
    sides = ((low, "less"), (high, "greater"))
    outside = min(stats.mean_test(x, y, bound, side) for bound, side in sides if math.isfinite(bound))
    interval = _mean(d)
    return Finding(
        effect=interval.estimate,
        interval=_ends(interval),
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
    """How an effect with that interval falls short of a margin, if it does."""
    low, high = interval
    if high < 0 or margin <= 0:
        return "opposite"
    return "negligible" if -margin <= low <= 0 <= high <= margin else "short"


def _mean(d: np.ndarray) -> stats.Interval:
    if len(d) < 2:  # an interval needs more
        return stats.Interval(float(d.mean()), np.nan, np.nan)
    return stats.t_interval(d)


def _by_sign_flips(d: np.ndarray) -> str:
    """What the test of a mean assumes, and whether the sample looks otherwise."""
    assumed = "mean by sign flips, guarded against skew"
    skewness = stats.skewness(d) if len(d) > 2 else 0.0
    if abs(skewness) <= SKEWED:
        return assumed
    return f"{assumed}; with skewness {skewness:.1f} the level is doubtful under so few seeds"


def _sizes(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    if len(x) < 3:  # a spread needs more
        return {}
    return {
        "hedges_g": stats.hedges_g(stats.paired_differences(x, y)).estimate,
        "probability_of_improvement": stats.probability_of_improvement(x, y).estimate,
    }


def _ends(interval: stats.Interval) -> tuple[float, float]:
    return float(interval.low), float(interval.high)


def _plain_parameter(value: Any) -> Any:
    """Infinity is written as text: JSON has none, and null would be no bound, or another `failed_as`."""
    if isinstance(value, tuple) and not isinstance(value, Cell):
        return [_plain_parameter(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else plain(value)


def _read(value: Any, kind: str) -> Any:
    """What `_plain_parameter` wrote for a field whose type is named ``kind``."""
    if kind in ("Cell", "Side"):
        return Cell(*value) if isinstance(value, Sequence) and not isinstance(value, str) else float(value)
    if "Cell" in kind:
        return tuple(Cell(*v) for v in value)
    if isinstance(value, list):
        return tuple(_read(v, kind) for v in value)
    if value in ("inf", "-inf", "nan") and "float" in kind:
        return float(value)
    return value
