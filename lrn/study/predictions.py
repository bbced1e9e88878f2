"""What a claim predicts, as data: a cell of the table, what is said of it, and how the data answer."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from lrn import check, stats
from lrn.table import Table

# Beyond this skewness (in size) of most samples of a population, tests at .05 have a level of up to .12
# (`python -m experiments.bench stats skewness`). Ten normal differences show as much in one study of eight.
SKEWED = 1.0


class Cell(NamedTuple):
    """One number per seed: the final value of a metric in an arm."""

    arm: str
    metric: str

    def __str__(self) -> str:
        """The form used in messages."""
        return f"{self.metric} of {self.arm}"


@dataclass(frozen=True)
class Finding:
    """What the data say about one prediction, before the correction for there being several.

    effect: the estimated quantity, in the metric's unit; interval: its 95% interval.
    p: one-sided p of the prediction against its opposite; None where nothing is random.
    p_against: one-sided p of the opposite; None where nothing is random.
    holds: what an exact prediction comes to, None for the others.
    hedges_g, probability_of_improvement: effect sizes of a comparison, None elsewhere.
    """

    effect: float
    interval: tuple[float, float]
    n: int
    p: float | None = None
    p_against: float | None = None
    holds: bool | None = None
    hedges_g: float | None = None
    probability_of_improvement: float | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Prediction(ABC):
    """Something a claim predicts, in code.

    statement: one sentence for people.
    regime: where it is said to hold; a mixed verdict names the regimes that differ.
    failed_as: the value to use for a seed whose training became non-finite. Without one such a seed
        makes the prediction inconclusive: dropping it would favour what fails.
    """

    statement: str
    regime: str = ""
    failed_as: float | None = None
    kind: ClassVar[str] = ""

    @property
    @abstractmethod
    def cells(self) -> tuple[Cell, ...]:
        """The cells of the table it looks at."""

    @abstractmethod
    def judge(self, values: list[np.ndarray]) -> Finding:
        """The finding, from the finite values [seeds] of each cell."""

    def find(self, table: Table) -> Finding:
        """The finding, from the table of a run.

        Raises:
            ValueError: the table lacks a cell, or its cells have different seeds.
        """
        seeds, values = map(list, zip(*(table.final_by_seed(c.arm, c.metric) for c in self.cells)))
        if any(not np.array_equal(s, seeds[0]) for s in seeds):
            raise ValueError(
                f"the prediction {self.statement!r} compares cells with different seeds "
                f"({', '.join(f'{c}: {s.tolist()}' for c, s in zip(self.cells, seeds))}); "
                "record every seed for each."
            )
        bad = ~np.all([np.isfinite(v) for v in values], axis=0)
        if bad.any():
            if self.failed_as is None:
                detail = f"{bad.sum()} of {len(bad)} seeds failed, and how they count was not said beforehand"
                return Finding(np.nan, (np.nan, np.nan), int((~bad).sum()), 1.0, 1.0, detail=detail)
            values = [np.where(np.isfinite(v), v, self.failed_as) for v in values]
        return self.judge(values)

    def spec(self) -> dict[str, Any]:
        """The prediction as JSON: what is hashed, stored and shown."""
        known = {f.name for f in dataclasses.fields(Prediction)}
        params = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in known}
        return {
            "kind": self.kind,
            "statement": self.statement,
            "regime": self.regime,
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

    better: Cell
    worse: Cell
    margin: float = 0.0
    of: Literal["mean", "median"] = "mean"
    kind: ClassVar[str] = "superiority"

    def __post_init__(self) -> None:
        """Check what is judged."""
        check.choice("of", self.of, ("mean", "median"))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The two compared."""
        return self.better, self.worse

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        better, worse = values
        d = stats.paired_differences(better, worse)
        if self.of == "median":
            interval, test, detail = stats.median_interval(d), stats.sign_test, "median by an exact sign test"
        else:
            interval, test, detail = _mean(d), stats.mean_test, _by_sign_flips(d)
        return Finding(
            effect=interval.estimate,
            interval=_bounds(interval),
            n=len(d),
            p=test(better, worse, self.margin, "greater"),
            p_against=test(better, worse, self.margin, "less"),
            detail=detail,
            **_sizes(better, worse),
        )


@dataclass(frozen=True, kw_only=True)
class Equivalence(Prediction):
    """The mean paired difference lies within ``margin`` of zero: two one-sided tests, as of `Superiority`."""

    one: Cell
    other: Cell
    margin: float
    kind: ClassVar[str] = "equivalence"

    def __post_init__(self) -> None:
        """Check the margin."""
        check.positive("margin", self.margin)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The two compared."""
        return self.one, self.other

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        return _inside(*values, low=-self.margin, high=self.margin)


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
    def cells(self) -> tuple[Cell, ...]:
        """The one it looks at."""
        return (self.cell,)

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        return _inside(values[0], low=self.low, high=self.high)


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
    def cells(self) -> tuple[Cell, ...]:
        """The cells in order."""
        return self.over

    def judge(self, values: list[np.ndarray]) -> Finding:
        """See `Prediction.judge`."""
        if len(values[0]) < 2:
            return Finding(np.nan, (np.nan, np.nan), len(values[0]), 1.0, 1.0)
        levels, columns = np.asarray(self.levels), np.stack(values, 1)
        rising = stats.trend_test(columns, levels, alternative="greater")
        falling = stats.trend_test(columns, levels, alternative="less")
        for_, against = (rising, falling) if self.direction == "increasing" else (falling, rising)
        slope = for_.slope
        return Finding(slope.estimate, _bounds(slope), len(columns), for_.p, against.p)


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
    def cells(self) -> tuple[Cell, ...]:
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
            detail=f"largest deviation {worst:.3g}, allowed {self.atol:.3g}; the interval is the range",
        )


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
    def cells(self) -> tuple[Cell, ...]:
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
    params = {k: _read_plain(v, types[k], k) for k, v in spec["params"].items()}
    return kind(statement=spec["statement"], regime=spec["regime"], **params)


def _subclasses(kind: type[Any]) -> list[type[Any]]:
    return [c for sub in kind.__subclasses__() for c in (sub, *_subclasses(sub))]


def _inside(x: np.ndarray, y: np.ndarray | None = None, *, low: float, high: float) -> Finding:
    """Whether the mean of ``x``, or of ``x - y``, lies between two bounds."""
    d = x if y is None else stats.paired_differences(x, y)
    # Outside on either side, hence twice the smaller p.
    sides = ((low, "less"), (high, "greater"))
    outside = min(stats.mean_test(x, y, bound, side) for bound, side in sides if np.isfinite(bound))
    interval = _mean(d)
    return Finding(
        effect=interval.estimate,
        interval=_bounds(interval),
        n=len(d),
        p=stats.equivalence_test(x, y, low=low, high=high),
        p_against=min(1.0, 2 * outside),
        detail=_by_sign_flips(d),
        **({} if y is None else _sizes(x, y)),
    )


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


def _bounds(interval: stats.Interval) -> tuple[float, float]:
    return float(interval.low), float(interval.high)


def plain(value: Any) -> Any:
    """A JSON form of a finding's values, or of a prediction's parameters."""
    if isinstance(value, Cell):
        return [value.arm, value.metric]
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    return value


def _plain_parameter(value: Any) -> Any:
    """Infinity is written as text: JSON has none, and null would be no bound, or another `failed_as`."""
    if isinstance(value, tuple) and not isinstance(value, Cell):
        return [_plain_parameter(v) for v in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else plain(value)


def _read_plain(value: Any, kind: str, name: str) -> Any:
    """What `_plain_parameter` wrote for a field whose type is named ``kind``."""
    if "Cell" in kind:
        return Cell(*value) if kind == "Cell" else tuple(Cell(*v) for v in value)
    if isinstance(value, list):
        return tuple(_read_plain(v, kind, name) for v in value)
    if value in ("inf", "-inf", "nan") and "float" in kind:
        return float(value)
    if value is None and kind == "float":  # written before infinity was text: an open end
        return -np.inf if name == "low" else np.inf
    return value
