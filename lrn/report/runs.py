"""Reads run folders, which may come from anywhere and be damaged anywhere, into values that are safe to show.

A file that cannot be read never raises here: what is wrong goes into `Run.damage`, one sentence each.
"""

from __future__ import annotations

import json
import math
import struct
import typing
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lrn import files, study
from lrn import table as tables
from lrn.table import Table

_FILES = ("config.json", "provenance.json", "metrics.parquet", "verdict.json", "figure.png")
_VERDICTS = typing.get_args(study.Verdict)
_OUTCOMES = typing.get_args(study.Outcome)


class Result(NamedTuple):
    """What a run found about one prediction or control; None where a number does not apply.

    region: the range of effects that the prediction calls for, infinite at an open end.
    passed, consequence: of controls; None and "" for predictions.
    """

    statement: str
    kind: str
    regime: str
    compared: str
    region: tuple[float, float] | None
    effect: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    hedges_g: float | None
    probability_of_improvement: float | None
    n: int | None
    outcome: str
    detail: str
    passed: bool | None
    consequence: str


class Final(NamedTuple):
    """The last value of a metric of an arm: seeds [n], sorted, and values [n], NaN where a seed failed."""

    seeds: np.ndarray
    values: np.ndarray


@dataclass(kw_only=True)
class Run:
    """One run folder. Texts are "" and mappings empty where the folder does not say.

    state: "finished" when there are a verdict and the config it belongs to, "unfinished" when there is no
        verdict yet, "damaged" when one of the two cannot be read.
    damage: what is wrong with the folder's files, one sentence each; also of a finished run.
    predictions, controls: without findings when the run is unfinished.
    finals: (arm, metric) -> last values.
    figure, figure_dark: PNG bytes, checked.
    """

    folder: Path
    study: str
    state: Literal["finished", "unfinished", "damaged"] = "damaged"
    damage: list[str] = field(default_factory=list)
    title: str = ""
    claim: str = ""
    claim_id: str = ""
    section: str = ""
    doc: str = ""
    regime: str = ""
    preset: str = ""
    seeds: list[int] = field(default_factory=list)
    config: Mapping[str, Any] = field(default_factory=dict)
    alpha: float | None = None
    command: str = ""
    study_path: str = ""
    study_sha256: str = ""
    verdict: str = ""
    reason: str = ""
    predictions: list[Result] = field(default_factory=list)
    controls: list[Result] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    finals: Mapping[tuple[str, str], Final] = field(default_factory=dict)
    figure: bytes | None = None
    figure_dark: bytes | None = None

    @property
    def name(self) -> str:
        """The folder's name: the hash of the run's settings."""
        return self.folder.name

    @property
    def finished(self) -> str:
        """When it finished, ISO 8601, or ""; sorts by time."""
        return _str(self.provenance.get("finished"))

    @property
    def overridden(self) -> bool:
        """Whether fields of the preset's config were changed on the command line."""
        return " --config." in self.command


def find(root: Path) -> list[Path]:
    """The run folders under ``root``, sorted: ``<root>/<study>/<hash>/`` with one of a run's files in it."""
    return [
        folder
        for of_study in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        for folder in sorted(p for p in of_study.iterdir() if p.is_dir() and not p.name.startswith("."))
        if any((folder / name).exists() for name in _FILES) or _is_hash(folder.name)
    ]


def _is_hash(name: str) -> bool:
    return len(name) == 12 and set(name) <= set("0123456789abcdef")


def load(folder: Path) -> Run:
    """Read a run folder; never raises for what is in it."""
    run = Run(folder=folder, study=folder.parent.name)
    config = _json(folder / "config.json", run.damage)
    verdict = _json(folder / "verdict.json", run.damage)
    provenance = _json(folder / "provenance.json", run.damage)
    has_verdict = (folder / "verdict.json").exists()
    if config is None and not (folder / "config.json").exists():
        run.damage.append("config.json is missing")
    if config is not None:
        _read_config(run, _Fields(config, "config.json", run.damage))
        _check_registered(run, config, verdict)
    if verdict is not None:
        _read_verdict(run, _Fields(verdict, "verdict.json", run.damage))
    if provenance is not None:
        run.provenance = provenance
    elif not (folder / "provenance.json").exists():
        run.damage.append("provenance.json is missing")
    if config is not None and run.verdict:
        run.state = "finished"
    elif config is not None and not has_verdict:
        run.state = "unfinished"
    if has_verdict:
        run.finals = _finals(run, folder / "metrics.parquet")
        run.figure = _png(folder / "figure.png", run.damage, required=True)
        run.figure_dark = _png(folder / "figure-dark.png", run.damage, required=False)
    return run


def _json(path: Path, damage: list[str]) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no such file, or no such object (then with damage)."""

    def no_number(name: str) -> None:
        damage.append(f"{path.name} holds {name}, which is no number")

    try:
        value = json.loads(path.read_bytes(), parse_constant=no_number)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        what = "cannot be read" if isinstance(error, OSError) else "is not valid JSON"
        damage.append(f"{path.name} {what}")
        return None
    if not isinstance(value, dict) or _depth(value) > 32:
        damage.append(f"{path.name} is not a JSON object of reasonable depth")
        return None
    return value


def _depth(value: Any) -> int:
    """How deep lists and objects are nested, without recursion: what follows recurses."""
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return depth


class _Fields:
    """The fields of a JSON object, each checked as it is taken; a wrong one is noted and left out."""

    def __init__(self, values: Mapping[str, Any], where: str, damage: list[str]):
        self.values, self.where, self._damage = values, where, damage

    def wrong(self, key: str, what: str) -> None:
        self._damage.append(f"{self.where}: {key} {what}")

    def text(self, key: str, required: bool = False) -> str:
        value = self.values.get(key)
        if isinstance(value, str) and (value or not required):
            return value
        if required or value is not None:
            self.wrong(key, "is missing" if value in (None, "") else "is not text")
        return ""

    def number(self, key: str) -> float | None:
        return self.as_number(key, self.values.get(key))

    def as_number(self, key: str, value: Any) -> float | None:
        if value is None:
            return None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                if math.isfinite(number := float(value)):
                    return number
            except OverflowError:
                pass
        self.wrong(key, "is not a finite number")
        return None

    def pair(self, key: str) -> tuple[float | None, float | None]:
        value = self.values.get(key)
        if value is None:
            return None, None
        if not isinstance(value, list) or len(value) != 2:
            self.wrong(key, "is not a pair of numbers")
            return None, None
        low, high = (self.as_number(key, v) for v in value)
        if low is not None and high is not None and low > high:
            self.wrong(key, "has its ends swapped")
            return None, None
        return low, high

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.values.get(key)
        if isinstance(value, dict):
            return value
        if value is not None:
            self.wrong(key, "is not an object")
        return {}

    def whole_numbers(self, key: str) -> list[int]:
        value = self.values.get(key)
        if isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) for v in value):
            return value
        self.wrong(key, "is not a list of whole numbers")
        return []

    def objects(self, key: str, singular: str) -> list[_Fields]:
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            self.wrong(key, "is not a list of objects")
            return []
        return [_Fields(v, f"{self.where}: {singular} {i + 1}", self._damage) for i, v in enumerate(value)]


def _read_config(run: Run, fields: _Fields) -> None:
    run.study = fields.text("study", required=True) or run.study
    run.claim = fields.text("claim", required=True)
    run.preset = fields.text("preset", required=True)
    for key in ("title", "claim_id", "section", "doc", "regime", "command", "study_path", "study_sha256"):
        setattr(run, key, fields.text(key))
    run.title = run.title or run.study
    run.seeds = fields.whole_numbers("seeds")
    run.config = fields.mapping("config")
    run.alpha = fields.number("alpha")
    run.predictions = [_registered(f) for f in fields.objects("predictions", "prediction")]
    run.controls = [_registered(f) for f in fields.objects("controls", "control")]


def _check_registered(run: Run, config: Mapping[str, Any], verdict: Mapping[str, Any] | None) -> None:
    """The predictions must be those that were hashed when the run began, and those that were judged."""
    registered = [config.get(k) for k in ("predictions", "controls", "claim", "alpha")]
    expected = config.get("predictions_sha256")
    if expected is not None and files.sha256_json(registered) != expected:
        run.damage.append("config.json: the predictions are not those that were hashed when the run began")
    for key in ("predictions", "controls") if verdict else ():
        said, judged = ([_statement(v) for v in _list(of.get(key))] for of in (config, verdict or {}))
        if said != judged:
            run.damage.append(f"the {key} of verdict.json are not those of config.json")


def _read_verdict(run: Run, fields: _Fields) -> None:
    verdict = fields.text("verdict", required=True)
    if verdict and verdict not in _VERDICTS:
        fields.wrong("verdict", f"is {verdict[:40]!r}, which is none")
        verdict = ""
    run.verdict, run.reason = verdict, fields.text("reason")
    run.seeds = fields.whole_numbers("seeds") or run.seeds
    run.predictions = [_judged(f) for f in fields.objects("predictions", "prediction")]
    run.controls = [_judged(f) for f in fields.objects("controls", "control")]
    if fields.values.get("failures") is not None:
        run.failures = [
            {key: _str(f.values.get(key)) for key in ("arm", "seed", "step", "metric")}
            for f in fields.objects("failures", "failure")
        ]


def _registered(fields: _Fields) -> Result:
    """A prediction or control as it was stated, without findings."""
    params = fields.mapping("params")
    kind = fields.text("kind", required=True)
    return Result(
        statement=fields.text("statement", required=True),
        kind=kind,
        regime=fields.text("regime"),
        compared=_compared(kind, params, fields.values),
        region=_region(kind, _Fields(params, fields.where, [])),
        effect=None,
        low=None,
        high=None,
        p=None,
        p_adjusted=None,
        hedges_g=None,
        probability_of_improvement=None,
        n=None,
        outcome="",
        detail="",
        passed=None,
        consequence=fields.text("consequence"),
    )


def _judged(fields: _Fields) -> Result:
    """A prediction or control with what was found."""
    outcome = fields.text("outcome", required=True)
    if outcome and outcome not in _OUTCOMES:
        fields.wrong("outcome", f"is {outcome[:40]!r}, which is none")
        outcome = ""
    low, high = fields.pair("interval")
    effect, n, passed = fields.number("effect"), fields.number("n"), fields.values.get("passed")
    # A number may be missing where it does not apply, but not where something was decided by it.
    if outcome in ("supported", "refuted") and (effect is None or low is None or high is None):
        fields.wrong("outcome", f"is {outcome!r}, but effect or interval is missing")
    return _registered(fields)._replace(
        effect=effect,
        low=low,
        high=high,
        p=fields.number("p"),
        p_adjusted=fields.number("p_adjusted"),
        hedges_g=fields.number("hedges_g"),
        probability_of_improvement=fields.number("probability_of_improvement"),
        n=None if n is None else int(n),
        outcome=outcome,
        detail=fields.text("detail"),
        passed=passed if isinstance(passed, bool) else None,
    )


def _region(kind: str, params: _Fields) -> tuple[float, float] | None:
    """The effects that a prediction calls for. JSON has no infinity: a missing bound is an open end."""
    margin, low, high, value = (params.number(k) for k in ("margin", "low", "high", "value"))
    if kind == "superiority" and margin is not None:
        return margin, math.inf
    if kind == "equivalence" and margin is not None:
        return -margin, margin
    if kind == "interval" and not (low is None and high is None):
        return -math.inf if low is None else low, math.inf if high is None else high
    if kind == "trend":
        return (-math.inf, 0.0) if params.values.get("direction") == "decreasing" else (0.0, math.inf)
    if kind == "exact" and value is not None:
        atol = params.number("atol") or 0.0
        return value - atol, value + atol
    return None


def _compared(kind: str, params: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """Which cells of the table are looked at, and how."""
    names = {"superiority": ("better", "worse"), "equivalence": ("one", "other")}.get(kind)
    metric, arms = _str(spec.get("metric")), [_str(a) for a in _list(spec.get("arms"))]
    if names and all(_is_cell(params.get(n)) for n in names):
        (arm, of), (other, of_other) = (params[n] for n in names)
        return f"{of} of {arm} \N{MINUS SIGN} {of_other} of {other}"
    joined = ", ".join(arms)
    return f"slope of {metric} over {joined}" if kind == "trend" else f"{metric} of {joined}"


def _is_cell(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value)


def _finals(run: Run, path: Path) -> dict[tuple[str, str], Final]:
    """The last values of the run's table; notes what is wrong with it."""
    try:
        table = tables.read(path)
        finals = last_values(table)
    except Exception:  # whatever a parquet reader makes of arbitrary bytes
        what = "cannot be read as a table of metrics" if path.exists() else "is missing"
        run.damage.append(f"{path.name} {what}")
        return {}
    if run.seeds and (seeds := table.seeds) != sorted(run.seeds):
        run.damage.append(f"{path.name} has {len(seeds)} seeds that are not the {len(run.seeds)} of the run")
    return finals


def last_values(table: Table) -> dict[tuple[str, str], Final]:
    """What `lrn.table.Table.final` gives for every metric of every arm, in one pass over the rows.

    Raises:
        ValueError: a column has another type than `lrn.table.Table` says.
    """
    kinds = [np.asarray(c).dtype.kind for c in (table.seed, table.step, table.value)]
    names = [*table.arms, *table.metrics]
    if kinds != ["i", "i", "f"] or not all(isinstance(n, str) for n in names):
        raise ValueError("its columns have other types than a metrics table")
    arms, metrics = ({n: i for i, n in enumerate(of)} for of in (table.arms, table.metrics))
    cell = np.array([arms[a] for a in table.arm.tolist()], np.int64) * len(metrics)
    cell += np.array([metrics[m] for m in table.metric.tolist()], np.int64)
    order = np.lexsort((table.step, table.seed, cell))
    last = np.ones(len(cell), bool)  # the last row of each (cell, seed)
    last[:-1] = (np.diff(cell[order]) != 0) | (np.diff(table.seed[order]) != 0)
    order = order[last]
    cell, seed, value = (column[order] for column in (cell, table.seed, table.value))
    finals = {}
    for (arm, i), (metric, j) in ((a, m) for m in metrics.items() for a in arms.items()):
        mine = cell == i * len(metrics) + j
        if mine.any():
            finals[arm, metric] = Final(seed[mine], value[mine])
    return finals


def _png(path: Path, damage: list[str], required: bool) -> bytes | None:
    """The bytes of a PNG whose every chunk matches its checksum."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if required:
            damage.append(f"{path.name} is missing")
        return None
    except OSError:
        damage.append(f"{path.name} cannot be read")
        return None
    if not _is_whole_png(content):
        damage.append(f"{path.name} is not a whole PNG image")
        return None
    return content


def _is_whole_png(content: bytes) -> bool:
    """Walk the chunks: length, type, data, CRC-32 of type and data (PNG specification, section 5)."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return False
    at = 8
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        end = at + 8 + length
        if (
            end + 4 > len(content)
            or zlib.crc32(content[at + 4 : end]) != struct.unpack_from(">I", content, end)[0]
        ):
            return False
        if content[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False


def _statement(value: Any) -> str:
    return _str(value.get("statement")) if isinstance(value, dict) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _str(value: Any) -> str:
    return "" if value is None else str(value)
