"""Reads run folders, which may come from anywhere and be damaged anywhere, into values that are safe to show.

A file that cannot be read never raises here: what is wrong goes into `Run.damage`, one sentence each.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import typing
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lrn import files
from lrn import table as tables
from lrn.study import seal
from lrn.study.predictions import How
from lrn.study.verdict import VERSION, Outcome, Verdict, judge_again
from lrn.table import Table

_FILES = ("config.json", "provenance.json", "metrics.parquet", "verdict.json", "figure.png")
# What a folder from anywhere may hold. The runs of lrn stay far below.
ROWS = 20_000_000  # of metrics
CELLS = 5_000  # pairs of arm and metric
NAME = 1_000  # characters of an arm or a metric
TEXT_BYTES, NUMBER_BYTES = 2**27, 2**30  # of the columns of metrics, unpacked
SEEDS = 10_000  # as many as the command line allows
ENTRIES = 1_000  # predictions, controls, failures
TEXT = 100_000  # characters of one text
_VERDICTS = typing.get_args(Verdict)
_OUTCOMES = typing.get_args(Outcome)
_HOWS = typing.get_args(How)
ROLES = ("gate", "primary", "secondary")
OLD = "made before verdicts were reached over regimes"
_OLD_WORDS = {"supported": "holds", "refuted": "fails", "inconclusive": "open"}  # of what was judged before


class Result(NamedTuple):
    """What a run found about one prediction or control; None where a number does not apply.

    region: the range of effects that the prediction calls for, infinite at an open end.
    regime, role: of predictions. consequence: of controls. "" for the others.
    outcome, how: see `lrn.study.verdict.Outcome` and `lrn.study.predictions.How`.
    seeds_needed, detectable: of what is open, see `lrn.study.verdict`.
    """

    statement: str
    kind: str
    regime: str
    role: str
    compared: str
    region: tuple[float, float] | None
    consequence: str
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    p_holds: float | None = None
    p_fails: float | None = None
    hedges_g: float | None = None
    probability_of_improvement: float | None = None
    n: int | None = None
    seeds_needed: int | None = None
    detectable: float | None = None
    outcome: str = ""
    how: str = ""
    detail: str = ""


class Place(NamedTuple):
    """A regime with its outcome, and its p-values after correction over the regimes."""

    name: str
    outcome: str = ""
    adjusted_holds: float | None = None
    adjusted_fails: float | None = None


class Final(NamedTuple):
    """The last value of a metric of an arm: seeds [n], sorted, and values [n], NaN where a seed failed."""

    seeds: np.ndarray
    values: np.ndarray


@dataclass(kw_only=True)
class Run:
    """One run folder. Texts are "" and mappings empty where the folder does not say.

    state: "finished" when there are a verdict and the config it belongs to, "unfinished" when there is no
        verdict yet, "failed" when an error ended it before one, "damaged" when verdict or config cannot be
        read or are not as they were written.
    damage: what is wrong with the folder's files, one sentence each; also of a finished run.
    sealed: whether the folder has checksums (runs made before there were any have none).
    differs: what comes out otherwise when the predictions are judged again from the table, a sentence each.
    judged_again: whether they could be; "" if so, else why not.
    failed: what ended a run that failed. figure_failed: why a finished run has no figure.
    study_files: hashes of the files that the study was made of, by module; study_where: the path of a
        study's file from the folder of all runs, "" of studies that come with lrn.
    exploratory: why its verdict is exploratory; "" of a registered run.
    regimes: none when the run is unfinished, or was judged before there were regimes.
    predictions, controls: without findings when the run is unfinished.
    finals: (arm, metric) -> last values.
    figure, figure_dark: PNG bytes, checked.
    """

    folder: Path
    study: str
    state: Literal["finished", "unfinished", "failed", "damaged"] = "damaged"
    damage: list[str] = field(default_factory=list)
    sealed: bool = False
    differs: list[str] = field(default_factory=list)
    judged_again: str = "there is no verdict"
    failed: str = ""
    figure_failed: str = ""
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
    study_files: Mapping[str, str] = field(default_factory=dict)
    study_where: str = ""
    verdict: str = ""
    reason: str = ""
    answer: str = ""
    exploratory: str = ""
    regimes: list[Place] = field(default_factory=list)
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
    def identity(self) -> tuple[str, ...]:
        """Which study it is of. Studies that come with lrn have an id each; other files may share a name."""
        path = Path(self.study_path.removesuffix(".py")).parts
        if "." in self.study and not self.study_where and path[-2:] == tuple(self.study.split(".")):
            return (self.study,)
        return (self.study, self.study_path, self.claim)

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
        _check_registered(run, config)
    if verdict is not None:
        registered = run.predictions, run.controls
        _read_verdict(run, _Fields(verdict, "verdict.json", run.damage))
        for key, then, now in zip(("predictions", "controls"), registered, (run.predictions, run.controls)):
            if config is not None and [r[:7] for r in then] != [r[:7] for r in now]:
                run.damage.append(f"the {key} of verdict.json are not those of config.json")
    if provenance is not None:
        run.provenance = provenance
    elif not (folder / "provenance.json").exists():
        run.damage.append("provenance.json is missing")
    if has_verdict:
        run.finals = _finals(run, folder / "metrics.parquet")
        run.figure = _png(folder / "figure.png", run.damage, required=not run.figure_failed)
        run.figure_dark = _png(folder / "figure-dark.png", run.damage, required=False)
        broken = _check_seal(run, verdict)
        if config is not None and run.verdict and not broken:
            run.state = "finished"
            _judge_again(run, config, verdict or {})
    elif config is not None:
        _read_unfinished(run, provenance or {})
    return run


def _check_seal(run: Run, verdict: Mapping[str, Any] | None) -> bool:
    """Note and drop what is not as it was sealed; returns whether verdict or config are so."""
    looked = seal.look(run.folder)
    run.sealed = looked.sealed
    for name, wrong in looked.wrongs.items():
        # What cannot be read is said already.
        if not any(d.startswith(name) for d in run.damage):
            run.damage.append(f"{name} {wrong}")
    if "metrics.parquet" in looked.wrongs:
        run.finals = {}
    listed = (verdict or {}).get("seal")
    names = listed.get("files") if isinstance(listed, dict) else None
    kept = [n for n in seal.FIGURES if not looked.sealed or (isinstance(names, dict) and n in names)]
    if "figure.png" in looked.wrongs or "figure.png" not in kept:
        run.figure = run.figure_dark = None
    if "figure-dark.png" in looked.wrongs or "figure-dark.png" not in kept:
        run.figure_dark = None
    return bool({"config.json", "verdict.json"} & set(looked.wrongs))


def _read_unfinished(run: Run, provenance: Mapping[str, Any]) -> None:
    run.state = "unfinished"
    if "config_sha256" not in provenance:
        return  # of before there were seals
    run.sealed = True
    try:
        seal.read_stamped(run.folder / "provenance.json")
    except seal.Broken as broken:
        run.damage.append(f"provenance.json {broken}")
    if files.sha256(run.folder / "config.json") != provenance["config_sha256"]:
        run.damage.append("config.json does not match the checksum in provenance.json")
        run.state = "damaged"
    if provenance.get("finished"):
        run.damage.append("verdict.json is missing, though the run had ended; its command writes it again")
    if run.state == "unfinished" and provenance.get("failed"):
        run.state, run.failed = "failed", _str(provenance["failed"])[:TEXT]


_STATED = ("regimes", "controls")
_LAST = 2**62  # the step of last values
_WORDS = ("name", "outcome", "how")
_NUMBERS = ("effect", "n", "p_holds", "p_fails", "adjusted_holds", "adjusted_fails", "hedges_g",
            "probability_of_improvement", "seeds_needed", "detectable")  # fmt: skip


def _judge_again(run: Run, config: Mapping[str, Any], verdict: Mapping[str, Any]) -> None:
    """Hold what the folder says against what its table gives."""
    if not run.finals:
        run.judged_again = "there are no metrics"
        return
    if max(len(final.seeds) for final in run.finals.values()) > SEEDS:
        run.judged_again = f"there are more than {SEEDS:,} seeds"
        return
    if "judge" not in verdict:
        run.judged_again = "it was judged by earlier rules"
        return
    parts = [
        tables.rows(arm, final.seeds, _LAST, metric, final.values)
        for (arm, metric), final in run.finals.items()
    ]
    try:
        parts += _at_steps(run.folder / "metrics.parquet", set(_stepped([config.get(k) for k in _STATED])))
        again = json.loads(files.json_bytes(judge_again(config, tables.concat(parts))))
    except Exception as error:  # whatever hostile or foreign predictions make of it
        run.judged_again = " ".join(str(error).split())[:300] or type(error).__name__
        return
    run.judged_again = ""
    if again["verdict"] != run.verdict:
        run.differs.append(f"the verdict is {again['verdict']}; verdict.json says {run.verdict}")
    for key, singular in (("regimes", "regime"), ("predictions", "prediction"), ("controls", "control")):
        pairs = itertools.zip_longest(again[key], _list(verdict.get(key))[:ENTRIES], fillvalue={})
        for number, (now, then) in enumerate(pairs, 1):
            run.differs += _differences(f"{singular} {number}", now, then if isinstance(then, dict) else {})


def _stepped(value: Any) -> Iterator[tuple[str, str, int]]:
    """The cells with a step in what was registered: arm, metric, step."""
    if isinstance(value, list) and [type(v) for v in value] == [str, str, int]:
        yield value[0], value[1], value[2]
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _stepped(inner)


def _at_steps(path: Path, cells: set[tuple[str, str, int]]) -> Iterator[Table]:
    """The rows of those cells, which the last values do not tell.

    Raises:
        ValueError: there are more of them than seeds.
    """
    steps = np.array(sorted({step for _, _, step in cells}), np.int64)
    count = 0
    for batch in _batches(path) if cells else ():
        place = np.searchsorted(steps, batch.step)
        there = np.take(steps, place, mode="clip") == batch.step
        arms, metrics = ({name: i for i, name in enumerate(names)} for names in (batch.arms, batch.metrics))
        wanted = [
            (arms[a] * len(metrics) + metrics[m]) * len(steps) + np.searchsorted(steps, step)
            for a, m, step in cells
            if a in arms and m in metrics
        ]
        code = (batch.arm.astype(np.int64) * len(metrics) + batch.metric) * len(steps) + place
        there &= np.isin(code, wanted)
        count += there.sum()
        if count > SEEDS * len(cells):
            raise ValueError("the table has more rows at a step than seeds")
        arm, metric = (
            np.array(names, object)[codes[there]]
            for names, codes in ((batch.arms, batch.arm), (batch.metrics, batch.metric))
        )
        yield Table(arm, batch.seed[there], batch.step[there], metric, batch.value[there])


def _differences(name: str, now: Mapping[str, Any], then: Mapping[str, Any]) -> Iterator[str]:
    for key in _WORDS:
        if now.get(key) != then.get(key):
            x, y = (_str(of.get(key))[:40] or "nothing" for of in (now, then))
            yield f"the {key} of {name} is {x}; verdict.json says {y}"
    pairs = [(key.replace("_", " "), now.get(key), then.get(key)) for key in _NUMBERS]
    now_ends, then_ends = (
        v if len(v := _list(of.get("interval"))) == 2 else [None] * 2 for of in (now, then)
    )
    pairs += list(zip(("low end of the interval", "high end of the interval"), now_ends, then_ends))
    for key, x, y in pairs:
        if not _same_number(x, y):
            yield f"the {key} of {name} is {_short(x)}; verdict.json says {_short(y)}"


def _same_number(x: Any, y: Any) -> bool:
    """Up to rounding: another machine's last bits are no difference."""
    if not isinstance(x, (int, float)) or not isinstance(y, (int, float)):
        return x is None and y is None
    try:
        return math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-12)
    except OverflowError:
        return False


def _short(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:
        return f"{value:.4g}"
    return "none" if value is None else "no number"


def _json(path: Path, damage: list[str]) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no such file, or no such object (then with damage)."""

    def no_number(name: str) -> None:
        damage.append(f"{path.name} holds {name}, which is no number")

    try:
        if wrong := seal.too_large(path):
            damage.append(f"{path.name} {wrong}")
            return None
        value = json.loads(path.read_bytes(), parse_constant=no_number)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        what = "cannot be read" if isinstance(error, OSError) else "is not valid JSON"
        damage.append(f"{path.name} {what}")
        return None
    if not isinstance(value, dict) or seal.depth(value) > seal.DEPTH:
        damage.append(f"{path.name} is not a JSON object of reasonable depth")
        return None
    return value


class _Fields:
    """The fields of a JSON object, each checked as it is taken; a wrong one is noted and left out."""

    def __init__(self, values: Mapping[str, Any], where: str, damage: list[str]):
        self.values, self.where, self._damage = values, where, damage

    def wrong(self, key: str, what: str) -> None:
        self._damage.append(f"{self.where}: {key} {what}")

    def text(self, key: str, required: bool = False) -> str:
        value = self.values.get(key)
        if isinstance(value, str) and (value or not required):
            if len(value) > TEXT:
                self.wrong(key, f"has {len(value):,} characters, and the first {TEXT:,} are shown")
            return value[:TEXT]
        if required or value is not None:
            self.wrong(key, "is missing" if value in (None, "") else "is not text")
        return ""

    def one_of(self, key: str, words: Iterable[str], required: bool = False) -> str:
        value = self.text(key, required)
        if value and value not in words:
            self.wrong(key, f"is {value[:40]!r}, which is none")
            return ""
        return value

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
        if len(value) > ENTRIES:
            self.wrong(key, f"has {len(value):,} entries, and the first {ENTRIES:,} are shown")
            value = value[:ENTRIES]
        return [_Fields(v, f"{self.where}: {singular} {i + 1}", self._damage) for i, v in enumerate(value)]


_STUDY_FIELDS = ("study_path", "study_where", "study_sha256")


def _read_config(run: Run, fields: _Fields) -> None:
    run.study = fields.text("study", required=True) or run.study
    run.claim = fields.text("claim", required=True)
    run.preset = fields.text("preset", required=True)
    for key in ("title", "claim_id", "section", "doc", "regime", "command", *_STUDY_FIELDS):
        setattr(run, key, fields.text(key))
    run.study_files = {k: v for k, v in fields.mapping("study_files").items() if isinstance(v, str)}
    run.title = run.title or run.study
    run.seeds = fields.whole_numbers("seeds")
    run.config = fields.mapping("config")
    run.alpha = fields.number("alpha")
    run.exploratory = "" if "regimes" in fields.values else OLD
    run.predictions = [_registered(f, "primary") for f in _specs(fields)]
    run.controls = [_registered(f) for f in fields.objects("controls", "control")]


def _specs(fields: _Fields) -> list[_Fields]:
    """The registered predictions, each with its regime and role; of runs judged before, a flat list."""
    if "regimes" not in fields.values:
        return fields.objects("predictions", "prediction")
    flat: list[Any] = []
    for regime in fields.objects("regimes", "regime"):
        gate = [g for g in [regime.values.get("gate")] if g is not None]
        of = _Fields({**regime.values, "gate": gate}, regime.where, fields._damage)
        for role in ROLES:
            specs = of.objects(role, f"{role} prediction")
            flat += [{**spec.values, "regime": regime.values.get("name"), "role": role} for spec in specs]
        if len(flat) > ENTRIES:
            break
    return _Fields({"predictions": flat}, fields.where, fields._damage).objects("predictions", "prediction")


def _check_registered(run: Run, config: Mapping[str, Any]) -> None:
    """The predictions must be those that were hashed when the run began."""
    new = ("regimes", "controls", "claim", "alpha", "question")
    keys = new if "regimes" in config else ("predictions", *new[1:4])
    expected = config.get("predictions_sha256")
    if expected is not None and files.sha256_json([config.get(k) for k in keys]) != expected:
        run.damage.append("config.json: the predictions are not those that were hashed when the run began")


def _read_verdict(run: Run, fields: _Fields) -> None:
    old = "judge" not in fields.values
    if not old and fields.values["judge"] != VERSION:
        fields.wrong("judge", f"is not {VERSION}, the only one that this version of lrn knows")
    verdict = fields.one_of("verdict", (*_VERDICTS, *(_OLD_WORDS if old else ())), required=True)
    run.verdict = "open" if verdict == "inconclusive" else verdict
    run.reason, run.answer = fields.text("reason"), fields.text("answer")
    run.exploratory = OLD if old else fields.text("exploratory")
    run.figure_failed = fields.text("figure_failed")
    run.seeds = fields.whole_numbers("seeds") or run.seeds
    run.regimes = [] if old else [_place(f) for f in fields.objects("regimes", "regime")]
    predictions = fields.objects("predictions", "prediction")
    run.predictions = [_judged(f, old, "primary") for f in predictions]
    run.controls = [_judged(f, old) for f in fields.objects("controls", "control")]
    if fields.values.get("failures") is not None:
        run.failures = [
            {key: _str(f.values.get(key)) for key in ("arm", "seed", "step", "metric")}
            for f in fields.objects("failures", "failure")
        ]


def _place(fields: _Fields) -> Place:
    return Place(
        fields.text("name"),
        fields.one_of("outcome", _OUTCOMES, required=True),
        fields.number("adjusted_holds"),
        fields.number("adjusted_fails"),
    )


def _registered(fields: _Fields, role: str = "") -> Result:
    """A prediction or control as it was stated, without findings; ``role``: where none is said."""
    params = fields.mapping("params")
    kind = fields.text("kind", required=True)
    return Result(
        statement=fields.text("statement", required=True),
        kind=kind,
        regime=fields.text("regime"),
        role=fields.one_of("role", ROLES) or role,
        compared=_compared(kind, params, fields.values),
        region=_region(kind, _Fields(params, fields.where, [])),
        consequence=fields.text("consequence"),
    )


def _judged(fields: _Fields, old: bool, role: str = "") -> Result:
    """A prediction or control with what was found; ``old``: by earlier rules, in their words."""
    if old:
        named = {"p_holds": "p", "p_fails": "p_against"}
        values = {**fields.values, **{k: fields.values.get(v) for k, v in named.items()}}
        values["outcome"] = _OLD_WORDS.get(str(values.get("outcome")), values.get("outcome"))
        fields = _Fields(values, fields.where, fields._damage)
    outcome = fields.one_of("outcome", _OUTCOMES, required=True)
    low, high = fields.pair("interval")
    names = ("effect", "p_holds", "p_fails", "hedges_g", "probability_of_improvement", "detectable")
    numbers = {name: fields.number(name) for name in names}
    # A number may be missing where it does not apply, but not where something was decided by it.
    if outcome in ("holds", "fails") and None in (numbers["effect"], low, high):
        fields.wrong("outcome", f"is {outcome!r}, but effect or interval is missing")
    n, needed = (None if x is None else int(x) for x in map(fields.number, ("n", "seeds_needed")))
    return _registered(fields, role)._replace(
        **numbers,
        low=low,
        high=high,
        n=n,
        seeds_needed=needed,
        outcome=outcome,
        how=fields.one_of("how", _HOWS),
        detail=fields.text("detail"),
    )


def _region(kind: str, params: _Fields) -> tuple[float, float] | None:
    """The effects that a prediction calls for. JSON has no infinity: a missing bound is an open end."""
    margin, value, bound = map(params.number, ("margin", "value", "bound"))
    open_ends = [k for k in ("low", "high") if params.values.get(k) in ("inf", "-inf")]
    low, high = (None if k in open_ends else params.number(k) for k in ("low", "high"))
    side = params.values.get("side") if kind == "share" else kind
    if kind == "superiority" and margin is not None:
        return margin, math.inf
    if kind == "equivalence" and margin is not None:
        return -margin, margin
    if kind == "interval" and not (low is None and high is None):
        return -math.inf if low is None else low, math.inf if high is None else high
    if side in ("above", "below") and bound is not None:
        return (bound, math.inf) if side == "above" else (-math.inf, bound)
    if kind == "trend":
        return (-math.inf, 0.0) if params.values.get("direction") == "decreasing" else (0.0, math.inf)
    if kind == "exact" and value is not None:
        atol = params.number("atol") or 0.0
        return value - atol, value + atol
    return None


_COMPARED = {  # what is looked at, by the names of its parameters
    "superiority": "{better} \N{MINUS SIGN} {worse}",
    "equivalence": "{one} \N{MINUS SIGN} {other}",
    "share": "share of runs with {cell}",
    **dict.fromkeys(("above", "below", "interval", "exact"), "{cell}"),
}


def _compared(kind: str, params: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """Which cells of the table are looked at, and how."""
    sides = {name: side for name, value in params.items() if (side := _side(value))}
    try:
        return _COMPARED[kind].format_map(sides)
    except KeyError:
        metric, arms = _str(spec.get("metric")), ", ".join(_str(a) for a in _list(spec.get("arms")))
        return f"slope of {metric} over {arms}" if kind == "trend" else f"{metric} of {arms}"


def _side(value: Any) -> str:
    """A number, or a cell: an arm, a metric and perhaps a step; "" of anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _short(value)
    if (
        not isinstance(value, list)
        or len(value) not in (2, 3)
        or not all(isinstance(v, str) for v in value[:2])
    ):
        return ""
    return f"{value[1]} of {value[0]}" + (f" at {_str(value[2])}" if len(value) == 3 else "")


def _finals(run: Run, path: Path) -> dict[tuple[str, str], Final]:
    """The last values of the run's table; notes what is wrong with it."""
    try:
        finals = _last(_batches(path))
    except seal.Broken as broken:
        run.damage.append(f"{path.name} {broken}")
        return {}
    except Exception:  # whatever a parquet reader makes of arbitrary bytes
        what = "cannot be read as a table of metrics" if path.exists() else "is missing"
        run.damage.append(f"{path.name} {what}")
        return {}
    seeds = np.unique(np.concatenate([np.zeros(0, np.int64), *(final.seeds for final in finals.values())]))
    if run.seeds and seeds.tolist() != sorted(run.seeds):
        run.damage.append(f"{path.name} has {len(seeds)} seeds that are not the {len(run.seeds)} of the run")
    return finals


class _Batch(NamedTuple):
    """Rows of a table; arms and metrics by their place in a list of names."""

    arms: list[Any]
    metrics: list[Any]
    arm: np.ndarray
    metric: np.ndarray
    seed: np.ndarray
    step: np.ndarray
    value: np.ndarray


def _batches(path: Path) -> Iterator[_Batch]:
    """The rows of a table of metrics, some at a time.

    Raises:
        seal.Broken: it is larger than any that lrn writes; told from its metadata.
        Exception: whatever is wrong with its bytes.
    """
    import pyarrow.parquet as pq

    names = ["arm", "metric"]  # read as codes: a name of a megabyte may stand in each of a million rows
    with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=names) as file:
        meta = file.metadata
        if file.schema_arrow.names != list(tables.COLUMNS):
            raise ValueError("it has other columns")
        if meta.num_rows > ROWS:
            raise seal.Broken(f"has {meta.num_rows:,} rows, and {ROWS:,} are the most that are read")
        chunks = [meta.row_group(i).column(j) for i in range(meta.num_row_groups) for j in range(5)]
        for limit, of in ((TEXT_BYTES, (0, 3)), (NUMBER_BYTES, (1, 2, 4))):
            size = sum(c.total_uncompressed_size for i, c in enumerate(chunks) if i % 5 in of)
            if size > limit:
                raise seal.Broken(f"unpacks to {size:,} bytes, and {limit:,} are the most that are read")
        for batch in file.iter_batches(batch_size=2**20):
            arm, seed, step, metric, value = batch.columns
            columns = [c.to_numpy(zero_copy_only=False) for c in (seed, step, value)]
            if [c.dtype.kind for c in columns] != ["i", "i", "f"]:
                raise ValueError("its columns have other types than a metrics table")
            coded = [c.indices.to_numpy(zero_copy_only=False) for c in (arm, metric)]
            yield _Batch(arm.dictionary.to_pylist(), metric.dictionary.to_pylist(), *coded, *columns)


def last_values(table: Table) -> dict[tuple[str, str], Final]:
    """What `lrn.table.Table.final` gives for every metric of every arm, in one pass over the rows.

    Raises:
        ValueError: a column has another type than `lrn.table.Table` says.
    """
    arms, metrics = table.arms, table.metrics
    places = [{name: i for i, name in enumerate(of)} for of in (arms, metrics)]
    arm, metric = (
        np.array([place[name] for name in column.tolist()], np.int64)
        for place, column in zip(places, (table.arm, table.metric))
    )
    if [np.asarray(c).dtype.kind for c in (table.seed, table.step, table.value)] != ["i", "i", "f"]:
        raise ValueError("its columns have other types than a metrics table")
    return _last([_Batch(arms, metrics, arm, metric, table.seed, table.step, table.value)])


def _last(batches: Iterable[_Batch]) -> dict[tuple[str, str], Final]:
    """The last value of each seed in each cell: metrics, and arms within them, in order of appearance."""
    arms: dict[str, int] = {}
    metrics: dict[str, int] = {}
    cells: dict[tuple[int, int], int] = {}
    kept = tuple(np.zeros(0, kind) for kind in (np.int64, np.int64, np.int64, np.float64))
    for batch in batches:
        arm = _codes(arms, batch.arms)[batch.arm]
        metric = _codes(metrics, batch.metrics)[batch.metric]
        # Numbers of cells by first appearance, found from the different pairs alone.
        pairs, first, place = np.unique(arm * 2**32 + metric, return_index=True, return_inverse=True)
        numbers = np.zeros(len(pairs), np.int64)
        for i in np.argsort(first):
            numbers[i] = cells.setdefault(divmod(int(pairs[i]), 2**32), len(cells))
        if len(cells) > CELLS:
            raise seal.Broken(f"has more than {CELLS:,} pairs of arm and metric, the most that are shown")
        rows = (numbers[place.reshape(-1)], batch.seed, batch.step, batch.value)
        kept = _last_rows(*(np.concatenate(columns) for columns in zip(kept, rows)))
    cell, seed, _, value = kept
    ends = np.searchsorted(cell, np.arange(len(cells) + 1))
    names, kinds = list(arms), list(metrics)
    order = sorted(cells.items(), key=lambda item: (item[0][1], item[0][0]))
    return {
        (names[a], kinds[m]): Final(seed[ends[i] : ends[i + 1]], value[ends[i] : ends[i + 1]])
        for (a, m), i in order
    }


def _last_rows(
    cell: np.ndarray, seed: np.ndarray, step: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The last row of each cell and seed, sorted by both."""
    order = np.lexsort((step, seed, cell))
    last = np.ones(len(cell), bool)
    last[:-1] = (np.diff(cell[order]) != 0) | (np.diff(seed[order]) != 0)
    order = order[last]
    return cell[order], seed[order], step[order], value[order]


def _codes(known: dict[str, int], names: list[Any]) -> np.ndarray:
    """The numbers of names, new ones added to those known."""
    if not all(isinstance(name, str) for name in names):
        raise ValueError("its columns have other types than a metrics table")
    if any(len(name) > NAME for name in names):
        raise seal.Broken(f"has an arm or a metric whose name has more than {NAME:,} characters")
    if len(names) > 2 * CELLS:
        raise seal.Broken(f"has {len(names):,} arms or metrics, and {CELLS:,} are the most that are shown")
    return np.array([known.setdefault(name, len(known)) for name in names], np.int64)


def _png(path: Path, damage: list[str], required: bool) -> bytes | None:
    """The bytes of a PNG that is whole."""
    try:
        if wrong := seal.too_large(path):
            damage.append(f"{path.name} {wrong}")
            return None
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
    """Whether it is a PNG of reasonable size, every chunk matches its checksum, and nothing follows."""
    from PIL import Image

    try:
        with (
            warnings.catch_warnings(action="error"),
            Image.open(io.BytesIO(content), formats=["PNG"]) as image,
        ):
            image.verify()
    except Exception:  # whatever a reader of pictures makes of arbitrary bytes
        return False
    return content.endswith(b"\0\0\0\0IEND\xaeB`\x82")  # which pillow does not look at


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _str(value: Any) -> str:
    return "" if value is None else str(value)
