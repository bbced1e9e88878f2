"""Two runs of one study side by side: final values with intervals, settings, verdicts, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrn import check, stats
from lrn.report import text
from lrn.report.folders import load
from lrn.report.run import Final, Result, Run
from lrn.stats import Interval

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


_NOT_ASKED = "not predicted"


class Row(NamedTuple):
    """The last values of one metric in one arm; None where a run has none, or no difference can be told.

    difference: the mean of b - a and its 95% interval: Student's over shared seeds when ``paired``, else
        Welch's. n_a, n_b: finite seeds behind each column; n: pairs behind the difference, 0 if not paired.
    """

    arm: str
    metric: str
    a: Interval | None
    b: Interval | None
    difference: Interval | None
    paired: bool
    n_a: int
    n_b: int
    n: int


class Change(NamedTuple):
    """A setting in which the runs differ, or the outcomes of a regime, as text."""

    name: str
    a: str
    b: str


class Judged(NamedTuple):
    """A prediction and what each run says about it; None where a run did not make it."""

    statement: str
    a: Result | None
    b: Result | None


@dataclass(frozen=True)
class Comparison:
    """Two finished runs of one study; prints itself with rich."""

    a: Run
    b: Run
    rows: Sequence[Row]
    changes: Sequence[Change]
    regimes: Sequence[Change]
    predictions: Sequence[Judged]

    @property
    def same_verdict(self) -> bool:
        """Whether both came to one verdict."""
        return self.a.verdict == self.b.verdict

    def __rich__(self) -> Group:
        """The comparison as tables for a terminal."""
        from rich.console import Group

        parts: list[Any] = [_runs_table(self), _changes_table(self.changes)]
        parts += [_predictions_table(self.regimes, self.predictions)]
        return Group(*parts, _rows_table(self.rows, len(self.a.seeds)))


def compare_runs(path_a: Path, path_b: Path) -> Comparison:
    """Read two run folders and compare them.

    Raises:
        ValueError: a path is not a finished, readable run folder, both are one folder, or the runs are of
            different studies.
    """
    a, b = (_finished(Path(path)) for path in (path_a, path_b))
    if a.folder.resolve() == b.folder.resolve():
        raise check.InputError(f"{path_a} and {path_b} are the same folder; give two different runs.")
    return compare(a, b)


def compare(a: Run, b: Run) -> Comparison:
    """Compare two finished runs.

    Values are paired by seed when both runs have the same seeds: then a seed's draws are common to both.

    Raises:
        ValueError: the runs are of different studies, whose metrics mean different things.
    """
    if a.study != b.study:
        raise check.InputError(
            f"compare takes two runs of one study, got {a.study} and {b.study}; give two runs of either."
        )
    if a.identity != b.identity and (a.claim != b.claim or all(_is_here(r.study_path) for r in (a, b))):
        one, other = (f"{r.study_path or r.study} ({text.plain(r.claim)[:80]!r})" for r in (a, b))
        raise check.InputError(
            f"compare takes two runs of one study, got {one} and {other}, which only share a file's name; "
            "give two runs of either."
        )
    cells = dict.fromkeys([*a.finals, *b.finals])
    paired = sorted(a.seeds) == sorted(b.seeds)
    rows = [
        _row(arm, metric, a.finals.get((arm, metric)), b.finals.get((arm, metric)), paired)
        for arm, metric in cells
    ]
    places = ({place.name: place.outcome for place in run.regimes} for run in (a, b))
    regimes = [Change(name, x or _NOT_ASKED, y or _NOT_ASKED) for name, x, y in _both(*places)]
    return Comparison(a, b, rows, _changes(a, b), regimes, _judged(a, b))


def _is_here(path: str) -> bool:
    """Whether a study's file is on this machine: one that was moved may be the same study."""
    try:
        return bool(path) and Path(path).is_file()
    except (OSError, ValueError):
        return False


def _finished(path: Path) -> Run:
    if not path.is_dir():
        raise check.InputError(f"there is no run folder {path}; give the path of runs/<study>/<hash>.")
    if not any((path / name).exists() for name in ("config.json", "verdict.json")):
        raise check.InputError(
            f"{path} is not a run folder, it has no config.json; give the path of runs/<study>/<hash>."
        )
    run = load(path)
    if run.state == "unfinished":
        again = f"finish it with: {run.command}" if run.command else "finish it first."
        raise check.InputError(f"{path} is unfinished, it has no verdict.json; {again}")
    if run.state == "failed":
        raise check.InputError(f"{path} has no verdict, for it failed: {run.failed}")
    if run.state == "damaged" or not run.finals:
        raise check.InputError(
            f"{path} is damaged ({'; '.join(run.damage) or 'it holds no values'}); run it again with --fresh."
        )
    return run


def _row(arm: str, metric: str, a: Final | None, b: Final | None, paired: bool) -> Row:
    x, y = (np.array([]) if f is None else f.values for f in (a, b))
    finite_x, finite_y = x[np.isfinite(x)], y[np.isfinite(y)]
    difference, n = None, 0
    # A metric need not have a value for every seed of the run.
    paired = paired and a is not None and b is not None and np.array_equal(a.seeds, b.seeds)
    if paired:
        n = int(np.isfinite(y - x).sum())
        difference = stats.mean_interval(y - x)
    elif len(finite_x) > 1 and len(finite_y) > 1:
        difference = stats.welch_interval(finite_y, finite_x)
    mean_a, mean_b = (None if f is None else stats.mean_interval(f.values) for f in (a, b))
    return Row(arm, metric, mean_a, mean_b, difference, paired, len(finite_x), len(finite_y), n)


def _changes(a: Run, b: Run) -> list[Change]:
    """What differs of the settings, the code and the machine, in that order."""
    pairs: list[tuple[str, Any, Any]] = [("preset", a.preset, b.preset)]
    pairs.append(("seeds", text.seeds(a.seeds), text.seeds(b.seeds)))
    pairs += [("claim", a.claim, b.claim), ("study_path", a.study_path, b.study_path)]
    pairs += [(f"config.{k}", x, y) for k, x, y in _both(a.config, b.config)]
    pairs += [
        (k, a.provenance.get(k), b.provenance.get(k)) for k in ("git_commit", "git_dirty", "lrn_sha256")
    ]
    pairs += [("study_sha256", a.study_sha256, b.study_sha256), ("alpha", a.alpha, b.alpha)]
    if bool(a.study_files) != bool(b.study_files):  # then the two hashes are of different things
        pairs = [pair for pair in pairs if pair[0] != "study_sha256"]
    packages = [run.provenance.get("packages") for run in (a, b)]
    x, y = (p if isinstance(p, dict) else {} for p in packages)
    pairs += [(k, v, w) for k, v, w in _both(x, y)]
    pairs += [(k, a.provenance.get(k), b.provenance.get(k)) for k in ("python", "device", "devices")]
    return [Change(name, text.plain(v), text.plain(w)) for name, v, w in pairs if v != w]


def _both(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(str(k), a.get(k), b.get(k)) for k in dict.fromkeys([*a, *b])]


def _judged(a: Run, b: Run) -> list[Judged]:
    """Predictions of both by their statement; one whose margin was changed is two predictions."""

    def key(r: Result) -> tuple:
        return r.statement, r.kind, r.region, r.compared

    in_a, in_b = ({key(r): r for r in run.predictions} for run in (a, b))
    return [Judged(k[0], in_a.get(k), in_b.get(k)) for k in dict.fromkeys([*in_a, *in_b])]


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, title_justify="left", padding=(0, 2, 0, 0))
    for i, name in enumerate(columns):
        table.add_column(name, overflow="fold", ratio=None if i else 1)
    return table


def _add(table: Table, *cells: str) -> None:
    """Add a row of plain text: what stands in a run folder is never read as markup."""
    from rich.text import Text

    table.add_row(*(Text(c) for c in cells))


def _runs_table(c: Comparison) -> Table:
    table = _table(c.a.study, "A", "B")
    _add(table, "folder", str(c.a.folder), str(c.b.folder))
    _add(table, "verdict", c.a.verdict, c.b.verdict + ("" if c.same_verdict else "  (differs)"))
    _add(table, "reason", c.a.reason, c.b.reason)
    if c.a.answer or c.b.answer:
        _add(table, "answer", c.a.answer or text.NONE, c.b.answer or text.NONE)
    cost = [text.duration(run.provenance.get("wall_seconds")) for run in (c.a, c.b)]
    _add(table, "wall time", *cost)
    _add(table, "finished", text.moment(c.a.finished), text.moment(c.b.finished))
    for run, name in ((c.a, "A"), (c.b, "B")):
        said = {
            f"damage in {name}": run.damage,
            f"{name} is exploratory": [run.exploratory] if run.exploratory else [],
            f"{name} judged again": run.differs[:3],
            f"{name} is not sealed": [] if run.sealed else ["changes of its files cannot be told"],
        }
        for label, sentences in said.items():
            if sentences:
                _add(table, label, "; ".join(sentences), "")
    return table


def _changes_table(changes: Sequence[Change]) -> Any:
    if not changes:
        return "\nSame settings, code and machine."
    table = _table("\nsettings that differ", "\nA", "\nB")
    for change in changes:
        _add(table, *change)
    return table


def _predictions_table(regimes: Sequence[Change], predictions: Sequence[Judged]) -> Table:
    table = _table("\nregimes and predictions", "\nA", "\nB")
    for change in regimes:
        _add(table, *change)
    for judged in predictions:
        _add(table, judged.statement, *(_outcome(r) for r in (judged.a, judged.b)))
    return table


def _outcome(r: Result | None) -> str:
    if r is None:
        return _NOT_ASKED
    effect, interval = text.effect(r.effect, r.low, r.high)
    outcome = f"{r.outcome}, {r.how}" if r.how else r.outcome
    return f"{outcome}\n{effect} {interval}".strip()


def _rows_table(rows: Sequence[Row], seeds: int) -> Table:
    paired = all(row.paired for row in rows)
    how = "paired by seed" if paired else "not paired"
    table = _table("\nlast values, mean and 95% interval", "\nA", "\nB", f"\nB \N{MINUS SIGN} A, {how}")
    for row in rows:
        failed = f"  ({row.n} of {seeds} seeds)" if row.paired and row.n < seeds else ""
        failed = "  (paired)" if row.paired and not paired else failed
        name = f"{row.metric} of {row.arm}"
        _add(table, name, _shown(row.a), _shown(row.b), _shown(row.difference) + failed)
    return table


def _shown(interval: Interval | None) -> str:
    return text.NONE if interval is None else " ".join(text.effect(*interval))
