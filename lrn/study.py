"""A study: one claim of the notes, what it predicts, and the verdict that the data then give.

Predictions are data, stated before the run and hashed into its folder; the verdict follows from them
and from the table of results alone. This module imports no jax, so that studies can be listed and
described at once: a study file keeps its heavy imports inside `run` and `figure`.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from lrn import check, files, source, stats
from lrn.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lrn.runner import Context

SECTIONS = ("Concepts", "Insights", "Failure modes", "Trade-offs", "Observations", "Open questions")
MIN_SEEDS = 8  # below, the smallest paired p leaves too little room for Holm
FLIPPED = ("superiority", "equivalence", "interval")  # kinds whose p is at least 2^-seeds
# Beyond this skewness (in size) of most samples of a population, tests at .05 have a level of up to .12
# (`python -m experiments.bench stats skewness`). Ten normal differences show as much in one study of eight.
SKEWED = 1.0
Outcome = Literal["supported", "refuted", "inconclusive"]
Verdict = Literal["supported", "refuted", "mixed", "inconclusive", "underpowered", "invalid", "smoke"]


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


@dataclass(frozen=True)
class Control:
    """Something that must hold for the experiment to mean anything, whatever the claim.

    consequence: "invalid" when its failure voids the verdict, "flag" when it only marks a row.
    """

    check: Prediction
    consequence: Literal["invalid", "flag"] = "invalid"

    def __post_init__(self) -> None:
        """Check the consequence."""
        check.choice("consequence", self.consequence, ("invalid", "flag"))

    def spec(self) -> dict[str, Any]:
        """The control as JSON."""
        return {**self.check.spec(), "consequence": self.consequence}


# What an arm can be given, each a metric "given: ..." of the arm. `Context.fit` records the first three.
# steps: of the learner. samples: examples or tasks drawn, over all steps. environment steps, pulls: in all.
# gradient steps, updates (of tables): where they are counted apart from steps. candidates: settings tried.
BUDGETS = ("steps", "samples", "environment steps", "gradient steps", "updates", "pulls", "candidates")
OVERLAP = "judged items that were trained on"
MISTAKEN = "judged arrays that were not trained under this name"


def given(what: str) -> str:
    """The metric under which an arm's budget is recorded.

    Raises:
        ValueError: no such budget.
    """
    check.choice("budget", what, BUDGETS)
    return f"given: {what}"


def equal_budgets(what: str, arms: Sequence[str]) -> Control:
    """A control: the arms were given the same ``what``, exactly."""
    arms = tuple(dict.fromkeys(arms))
    return Control(
        Same(
            statement=f"As many {what} for {', '.join(arms[:-1])} and {arms[-1]}.",
            over=tuple(Cell(arm, given(what)) for arm in arms),
        )
    )


def exact_budget(what: str, arm: str, amount: float, within: float = 0.0) -> Control:
    """A control: the arm was given ``amount`` of ``what``, give or take ``within``, as a last rollout."""
    statement = f"{arm} was given {amount:g} {what}" + (f", within {within:g}." if within else ".")
    return Control(Exact(statement=statement, cell=Cell(arm, given(what)), value=amount, atol=within))


def no_overlap(arm: str) -> Control:
    """A control: nothing that the arm was judged on is among what it was trained on."""
    statement = f"{arm} was judged on nothing that it was trained on."
    return Control(Exact(statement=statement, cell=Cell(arm, OVERLAP), value=0.0))


def own_state(arm: str) -> Control:
    """A control: what was judged under the arm's name was trained under it."""
    statement = f"What was judged as {arm} was trained as such."
    return Control(Exact(statement=statement, cell=Cell(arm, MISTAKEN), value=0.0))


@dataclass(frozen=True, kw_only=True)
class Study:
    """One claim with all that decides it.

    title: a few words; claim: the statement of the notes, in our words; claim_id: its row there ("O3").
    section: the section of the notes. regime: data, models and budgets that the verdict speaks of.
    presets: "smoke" (seconds, never a verdict), "quick" (about a minute on two cores), "full": one frozen
        dataclass each, of one class.
    predictions, controls: tuples, or functions from the config to them.
    run: ``run(config, context)`` trains and records. figure: ``figure(table, config) -> Figure``.
    seeds: how many paired seeds each preset takes by default.
    tour: whether `make run` includes it.
    """

    title: str
    claim: str
    claim_id: str
    section: str
    regime: str
    presets: Mapping[str, Any]
    predictions: Sequence[Prediction] | Callable[[Any], Sequence[Prediction]]
    run: Callable[[Any, Context], None]
    figure: Callable[[Table, Any], Figure]
    controls: Sequence[Control] | Callable[[Any], Sequence[Control]] = ()
    seeds: Mapping[str, int] = field(default_factory=lambda: {"smoke": 2})
    alpha: float = 0.05
    tour: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked before a run."""
        check.choice("section", self.section, SECTIONS)
        check.between("alpha", self.alpha, 1e-6, 0.5)
        if not self.presets:
            raise ValueError(f"the study {self.title!r} has no presets; give at least 'smoke' and 'quick'.")
        kinds = {type(c) for c in self.presets.values()}
        if len(kinds) != 1 or not dataclasses.is_dataclass(next(iter(kinds))):
            raise ValueError(f"the presets of {self.title!r} must be instances of one dataclass.")
        for preset, config in self.presets.items():
            if not self.predicted(config):
                raise ValueError(
                    f"the study {self.title!r} predicts nothing at {preset}; state at least one prediction."
                )

    def predicted(self, config: Any) -> list[Prediction]:
        """The predictions for a config."""
        return list(self.predictions(config) if callable(self.predictions) else self.predictions)

    def controlled(self, config: Any) -> list[Control]:
        """The controls for a config."""
        return list(self.controls(config) if callable(self.controls) else self.controls)

    def seeds_for(self, preset: str) -> int:
        """How many seeds a preset takes by default."""
        return self.seeds.get(preset, 10)


def judge(study: Study, config: Any, preset: str, table: Table) -> dict[str, Any]:
    """The verdict and everything it rests on, as JSON values, from the table alone.

    Holm's correction runs over the predictions that have a p-value, for and against them; controls are not
    corrected, which makes them stricter judges of nothing but the experiment itself.

    Raises:
        ValueError: the table lacks something that a prediction or control looks at.
    """
    return _judged(study.predicted(config), study.controlled(config), study.alpha, preset, table)


def judge_again(registered: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """What `judge` says, from what a run registered in its config.json in place of the study.

    Raises:
        ValueError: the table lacks something, or a prediction is of a kind that lrn does not have.
    """
    predictions = [restored(spec) for spec in registered["predictions"]]
    controls = [Control(restored(spec), spec["consequence"]) for spec in registered["controls"]]
    return _judged(predictions, controls, registered["alpha"], registered["preset"], table)


def _judged(
    predictions: Sequence[Prediction], controls: Sequence[Control], alpha: float, preset: str, table: Table
) -> dict[str, Any]:
    found = [p.find(table) for p in predictions]
    results = [
        {**p.spec(), **_finding(f), "p_adjusted": up, "outcome": _outcome(f, up, down, alpha)}
        for p, f, up, down in zip(
            predictions, found, _holm([f.p for f in found]), _holm([f.p_against for f in found])
        )
    ]
    checks = []
    for control in controls:
        finding = control.check.find(table)
        outcome = _outcome(finding, finding.p, finding.p_against, alpha)
        passed = outcome == "supported"
        entry = {**control.spec(), **_finding(finding), "p_adjusted": None}
        checks.append({**entry, "outcome": outcome, "passed": passed})
    verdict, reason = decide(preset, len(table.seeds), results, checks, alpha)
    return {"verdict": verdict, "reason": reason, "predictions": results, "controls": checks}


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


def decide(
    preset: str,
    seeds: int,
    predictions: Sequence[Mapping[str, Any]],
    controls: Sequence[Mapping[str, Any]],
    alpha: float = 0.05,
) -> tuple[Verdict, str]:
    """The verdict, and why in one sentence, from the outcomes."""
    if preset == "smoke":
        return "smoke", "The smoke preset shows that the study runs; it is too small for a verdict."
    guards = [c for c in controls if c["consequence"] == "invalid"]
    broken = [c for c in guards if c["outcome"] == "refuted"]
    if not broken and seeds < MIN_SEEDS:
        return "underpowered", f"Too few seeds: {seeds}, and a verdict takes at least {MIN_SEEDS}."
    tests = sum(p.get("kind") in FLIPPED for p in predictions)
    if not broken and tests and tests * stats.smallest_sign_flip_p(seeds, "greater") > alpha:
        return (
            "underpowered",
            f"{seeds} seeds are too few for {tests} predictions: none could pass Holm's test.",
        )
    broken = broken or [c for c in guards if not c["passed"]]
    if broken:
        return "invalid", f"A control failed, so nothing else counts: {broken[0]['statement']}"
    by = {o: [p for p in predictions if p["outcome"] == o] for o in ("supported", "refuted", "inconclusive")}
    total = len(predictions)
    if len(by["supported"]) == total:
        return "supported", f"All {total} predictions came out." if total > 1 else "The prediction came out."
    if by["supported"] and by["refuted"]:
        return "mixed", f"It holds ({_regimes(by['supported'])}) and fails ({_regimes(by['refuted'])})."
    if by["refuted"]:
        rest = f"; {len(by['inconclusive'])} could not be decided" if by["inconclusive"] else ""
        return "refuted", f"{len(by['refuted'])} of {total} predictions came out the other way{rest}."
    return (
        "inconclusive",
        f"{len(by['inconclusive'])} of {total} predictions could not be decided with {seeds} seeds.",
    )


def study_sha256(path: Path) -> str:
    """A hash of a study file's code without its docstrings: by it runs of before `lrn.source` are known.

    Raises:
        OSError: the file cannot be read.
        SyntaxError: it is no Python.
    """
    tree = source.parse(Path(path).read_bytes())
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return hashlib.sha256(source.dump(tree).encode()).hexdigest()


def predictions_sha256(study: Study, config: Any) -> str:
    """A hash of what was predicted and of what was to be controlled."""
    return files.sha256_json(
        [
            [p.spec() for p in study.predicted(config)],
            [c.spec() for c in study.controlled(config)],
            study.claim,
            study.alpha,
        ]
    )


def _outcome(finding: Finding, p: float | None, p_against: float | None, alpha: float) -> Outcome:
    """Both ways at one level: a prediction is refuted by evidence for its opposite, not by a lack of it."""
    if p is None or p_against is None:
        return "supported" if finding.holds else "refuted"
    if p <= alpha:
        return "supported"
    return "refuted" if p_against <= alpha else "inconclusive"


def _holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's correction over the p-values there are."""
    tested = [x for x in p if x is not None]
    adjusted = iter(stats.holm(np.array(tested)) if tested else [])
    return [None if x is None else float(next(adjusted)) for x in p]


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


def _finding(finding: Finding) -> dict[str, Any]:
    shown = [f.name for f in dataclasses.fields(finding) if f.name != "holds"]
    return {name: _plain(getattr(finding, name)) for name in shown}


def _plain(value: Any) -> Any:
    """A JSON form of a finding's values, or of a prediction's parameters."""
    if isinstance(value, Cell):
        return [value.arm, value.metric]
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def _plain_parameter(value: Any) -> Any:
    """Infinity is written as text: JSON has none, and null would be no bound, or another `failed_as`."""
    if isinstance(value, tuple) and not isinstance(value, Cell):
        return [_plain_parameter(v) for v in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else _plain(value)


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


def _regimes(predictions: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(dict.fromkeys(p["regime"] or p["statement"].rstrip(".") for p in predictions))
