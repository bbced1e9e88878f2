"""The page: chooses a run for each study, notes what is odd about it, and fills the templates."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lrn import __version__, check, figures, files, stats
from lrn.report import text
from lrn.report.plot import interval_plot
from lrn.report.runs import Final, Place, Result, Run, find, load
from lrn.study import SECTIONS, discover, source
from lrn.study.source import study_sha256

if TYPE_CHECKING:
    import jinja2

_PRESET_RANK = {"full": 2, "smoke": 0}  # any other counts like quick
STATUSES = {
    "supported": "The claim holds in every regime.",
    "refuted": "The claim fails in every regime; the reason says how.",
    "mixed": "The claim holds in some regimes and fails in others; the reason says where.",
    "partly supported": "The claim holds in some regimes and fails in none; the others are not decided.",
    "partly refuted": "The claim fails in some regimes and holds in none; the others are not decided.",
    "open": "No regime is decided.",
    "answered": "The notes ask an open question; what was measured is the answer.",
    "underpowered": "Too few seeds for a verdict.",
    "invalid": "A control failed: the experiment itself cannot be trusted, so nothing else counts.",
    "smoke": "A run of seconds that shows that the study works; never a verdict.",
    "unfinished": "The run was begun and has no verdict yet; the same command goes on with it.",
    "failed": "An error ended the run before its verdict; the same command goes on when its cause is mended.",
    "damaged": "Files of the run cannot be read, or are not as they were written.",
}

HOWS = {  # a prediction fails
    "short": "short of the margin",
    "negligible": "negligible",
    "opposite": "the other way",
    "outside": "outside of the range",
}


class Mark(NamedTuple):
    """Something odd about a run: ``kind`` chooses the icon, ``label`` is short, ``why`` a sentence."""

    kind: str
    label: str
    why: str


@dataclass
class Shown:
    """A run on the page: its badge is the verdict, or that there is none and why."""

    run: Run
    marks: list[Mark]

    @property
    def status(self) -> str:
        """The verdict of a finished run, else its state."""
        return self.run.verdict if self.run.state == "finished" else self.run.state


@dataclass
class Entry(Shown):
    """A study on the page: the run it is judged by, and the others."""

    older: list[Shown]
    other: list[Shown]  # unfinished, failed or damaged
    anchor: str = ""
    place: str = ""  # its file, where another study has its name


def build(out: Path, *roots: Path) -> Path:
    """Write ``<out>/report/index.html``, atomically, from the run folders alone.

    The page needs no network and no script; the same folders and study files give the same bytes.

    Args:
        out: the folder of all runs, where the report goes.
        *roots: other folders of runs, read instead of ``out``.

    Returns:
        The path of the page.

    Raises:
        ValueError: a folder does not exist.
        OSError: the page cannot be written; the one before is untouched.
    """
    sources = [Path(root) for root in roots or (out,)]
    for root in sources:
        if not root.is_dir():
            raise check.InputError(
                f"there is no folder of runs {root}; run a study first, or give its folder."
            )
    runs = [load(folder) for folder in dict.fromkeys(f.resolve() for r in sources for f in find(r))]
    page = Path(out) / "report" / "index.html"
    # Strings from JSON may hold lone surrogates, which no encoding takes.
    files.write_bytes(page, render(runs).encode("utf-8", "replace"))
    return page


def render(runs: Iterable[Run]) -> str:
    """The page as a string."""
    entries = in_order(runs)
    names = [s for s in SECTIONS if any(e.run.section == s for e in entries)]
    names += sorted({e.run.section for e in entries} - set(SECTIONS))
    counts = {s: sum(e.status == s for e in entries) for s in STATUSES}
    return (
        _environment()
        .get_template("report.html")
        .render(
            version=__version__,
            sections=[(n or "Other", [e for e in entries if e.run.section == n]) for n in names],
            entries=entries,
            counts={s: n for s, n in counts.items() if n},
            statuses=STATUSES,
            themes=figures.THEMES,
        )
    )


def in_order(runs: Iterable[Run]) -> list[Entry]:
    """One entry a study, in the order of the notes; its first run is the one it is judged by."""
    now = _Code()
    of: dict[tuple[str, ...], list[Shown]] = {}
    for run in sorted(runs, key=_rank, reverse=True):
        of.setdefault(_identity(run), []).append(Shown(run, marks(run, now)))
    entries = []
    for first, *others in of.values():
        older = [s for s in others if s.run.state == "finished"]
        other = [s for s in others if s.run.state != "finished"]
        entries.append(Entry(first.run, first.marks, older, other))
    place = {s: i for i, s in enumerate(SECTIONS)}
    entries.sort(
        key=lambda e: (
            place.get(e.run.section, len(place)),
            e.run.section,
            _natural(e.run.claim_id),
            e.run.study,
            e.run.study_path,
            e.run.claim,
        )
    )
    names = [entry.run.study for entry in entries]
    taken: set[str] = set()
    for entry in entries:
        slug = "study-" + (re.sub(r"[^a-z0-9]+", "-", entry.run.study.lower()).strip("-") or "x")
        while slug in taken:
            slug += "-2"
        taken.add(slug)
        entry.anchor = slug
        entry.place = entry.run.study_path if names.count(entry.run.study) > 1 else ""
    return entries


def _identity(run: Run) -> tuple[str, ...]:
    """Which study a run is of; one whose description is lost is filed by its folder."""
    return run.identity if run.claim else (run.study,)


def _rank(run: Run) -> tuple:
    """Orders runs of a study: full before quick before smoke, the preset as it is, then the newest.

    A run whose settings were changed on the command line, or which is exploratory, is not the registered
    experiment, so it stands behind every one that is, but before a smoke run, which has no verdict.
    """
    preset = _PRESET_RANK.get(run.preset, 1)
    return (
        run.state == "finished",
        run.state in ("unfinished", "failed"),
        preset > 0,
        run.verdict != "underpowered",
        not run.overridden,
        not run.exploratory,
        preset,
        run.finished,
        run.name,
    )


def _natural(claim_id: str) -> tuple[str, int, str]:
    match = re.fullmatch(r"(\D*)(\d{1,9})(.*)", claim_id, re.DOTALL)
    return (match[1], int(match[2]), match[3]) if match else (claim_id, 0, "")


def marks(run: Run, now: _Code) -> list[Mark]:
    """What a reader must know besides the verdict."""
    found = []
    if deviation := now.deviation(run):
        found.append(Mark("deviated", "deviated", deviation))
    if run.overridden:
        found.append(
            Mark("changed", "changed settings", "Settings of the preset were changed on the command line.")
        )
    if run.exploratory:
        found.append(Mark("exploratory", "exploratory", f"Exploratory: {run.exploratory.rstrip('.')}."))
    for control in run.controls:
        broken = control.outcome == "fails"
        # With seeds too few for a verdict nothing can be shown, so only what fails counts.
        if not broken and (control.outcome != "open" or run.verdict in ("smoke", "underpowered")):
            continue
        why = f"This {'does not' if broken else 'is not shown to'} hold: {control.statement}"
        if control.consequence == "flag":
            found.append(Mark("flag", "flagged", why))
        elif not broken:  # else the verdict is void, and says so
            found.append(Mark("caution", "caution", why))
    if run.failures:
        lanes = len({(f["arm"], f["seed"]) for f in run.failures})
        why = f"{lanes} training{'s' if lanes > 1 else ''} became non-finite; see Failures."
        found.append(Mark("failed", f"{lanes} failed", why))
    if run.damage and run.state != "damaged":
        found.append(Mark("damaged", "damaged", f"Damaged: {'; '.join(run.damage)}. {_remedy(run)}"))
    if run.differs:
        more = f", and {len(run.differs) - 3} more" if len(run.differs) > 3 else ""
        why = f"Judged again from its table: {'; '.join(run.differs[:3])}{more}."
        found.append(Mark("differs", "judged otherwise", why))
    if run.figure_failed:
        why = f"There is no figure: {run.figure_failed} {_REDRAW.format(_where(run))}"
        found.append(Mark("nofigure", "no figure", why))
    if run.state != "damaged" and not run.sealed:
        why = "Made before runs were sealed: changes of its files cannot be told."
        found.append(Mark("unsealed", "unsealed", why))
    return found


_REDRAW = "python -m experiments draw RUNS/{} draws it again and trains nothing."


def _where(run: Run) -> str:
    return f"{run.folder.parent.name}/{run.name}"


def _remedy(run: Run) -> str:
    """What to do about damage of a run that is shown."""
    if run.state != "finished":
        return "Restore what is damaged from a copy, or begin again with --fresh."
    if run.sealed and all(d.startswith("figure") for d in run.damage):
        return _REDRAW.format(_where(run))
    return "Run it again with --fresh."


class _Code:
    """The code of the studies as it is now, each file hashed once."""

    def __init__(self):
        self._codes: dict[Path, source.Code | None] = {}
        self._hashes: dict[Path, str | None] = {}
        self._found: dict[str, Path] | None = None

    def deviation(self, run: Run) -> str:
        """A sentence if the study is not the one that ran; "" if it is, or is not on this machine."""
        path = self._path(run)
        if path is None or not run.study_sha256:
            return ""
        if not run.study_files:
            return self._deviation_of_file(path, run)
        if path not in self._codes:
            self._codes[path] = _unless_broken(source.read, path)
        code = self._codes[path]
        if code is None:
            return _NO_PYTHON
        own = next(iter(code.files))
        changed = [name for name, digest in code.files.items() if run.study_files.get(name) != digest]
        if own in changed:
            return _EDITED
        if changed:
            return f"{', '.join(changed)}, which the study imports, has been edited since this run."
        return ""

    def _deviation_of_file(self, path: Path, run: Run) -> str:
        """The same for a run that knows a hash of the study's file alone."""
        if path not in self._hashes:
            self._hashes[path] = _unless_broken(study_sha256, path)
        if self._hashes[path] is None:
            return _NO_PYTHON
        return "" if self._hashes[path] == run.study_sha256 else _EDITED

    def _path(self, run: Run) -> Path | None:
        near = run.folder.parent.parent / run.study_where if run.study_where else None
        known = None if run.study_where else self._known().get(run.study)
        for path in (Path(run.study_path) if run.study_path else None, near, known):
            # The others where the folder was made elsewhere, or the repository moved.
            with contextlib.suppress(OSError, ValueError):
                if path is not None and path.suffix == ".py" and path.is_file():
                    return path
        return None

    def _known(self) -> dict[str, Path]:
        if self._found is None:
            self._found = discover.find()
        return self._found


_NO_PYTHON = "The study's file can no longer be read as Python, so it is not the one that ran."
_EDITED = "The study's file has been edited since this run, which was of an earlier version."


def _unless_broken(read: Callable[[Path], Any], path: Path) -> Any:
    try:
        return read(path)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@functools.cache  # compiling the templates takes longer than filling them
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lrn"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "moment": text.moment,
        "duration": text.duration,
        "how": HOWS.__getitem__,
        "memory": text.memory,
        "number": text.number,
        "p_value": text.p_value,
        "plain": text.plain,
        "region": text.region,
        "seeds": text.seeds,
        "short": text.short,
    }
    environment.globals |= {
        "effect": lambda r: text.effect(r.effect, r.low, r.high),
        "interval_plot": interval_plot,
        "numbers": _numbers,
        "facts": _facts,
        "places": _places,
        "picture": _picture,
    }
    return environment


def _places(run: Run) -> list[tuple[Place, list[Result]]]:
    """The regimes with their primary predictions; those of no regime that was judged stand at the end."""
    of: dict[str, list[Result]] = {}
    for result in run.predictions:
        if result.role == "primary":
            of.setdefault(result.regime, []).append(result)
    found = [(place, of.pop(place.name, [])) for place in run.regimes]
    return found + [(Place(name), results) for name, results in of.items()]


class Number(NamedTuple):
    """A row of the table of final values."""

    arm: str
    mean: str
    interval: str
    seeds: str


def _numbers(run: Run) -> list[tuple[str, list[Number]]]:
    """Mean and t interval of each arm's last values, grouped by metric."""
    groups: dict[str, list[Number]] = {}
    for (arm, metric), final in run.finals.items():
        groups.setdefault(metric, []).append(_number(arm, final))
    return list(groups.items())


def _number(arm: str, final: Final) -> Number:
    finite = final.values[np.isfinite(final.values)]
    count = str(len(finite)) if len(finite) == len(final.values) else f"{len(finite)} of {len(final.values)}"
    if len(finite) < 2:
        return Number(arm, text.number(float(finite[0]) if len(finite) else None), "", count)
    return Number(arm, *text.effect(*stats.t_interval(finite)), count)


def _facts(run: Run) -> list[tuple[str, str]]:
    """Where the results come from, as rows of name and value; what the folder does not tell is left out."""
    p = run.provenance
    dirty = p.get("git_dirty")
    edited = " with uncommitted changes" if dirty else "" if dirty is False else " (unknown whether edited)"
    packages = p.get("packages")
    rows: Sequence[tuple[str, Any]] = (
        ("Run folder", _where(run)),
        ("Sealed", ("yes" if run.sealed else "no") if run.state != "damaged" else None),
        ("Judged again", _judged_again(run) if run.state == "finished" else None),
        ("Started", text.moment(str(p["started"])) if p.get("started") else None),
        ("Finished", text.moment(run.finished) if run.finished else None),
        ("Resumed", f"{p['resumed']} times" if p.get("resumed") else None),
        ("Commit", f"{p['git_commit']}{edited}" if p.get("git_commit") else None),
        ("lrn", p.get("lrn_version")),
        ("lrn code (SHA-256)", p.get("lrn_sha256")),
        ("Study code (SHA-256)", run.study_sha256),
        ("Python", p.get("python")),
        (
            "Packages",
            ", ".join(f"{k} {v}" for k, v in packages.items()) if isinstance(packages, dict) else None,
        ),
        ("Platform", p.get("platform")),
        ("Device", device(run)),
    )
    return [(name, str(value)) for name, value in rows if value not in (None, "")]


def _judged_again(run: Run) -> str:
    if run.judged_again:
        return f"no: {run.judged_again}"
    return "otherwise" if run.differs else "the same"


def device(run: Run) -> str:
    """What the run ran on."""
    p = run.provenance
    details = [
        f"{p['devices']} devices" if p.get("devices") not in (None, 1) else "",
        f"{p['cpus']} CPU cores" if p.get("cpus") else "",
    ]
    shown = ", ".join(d for d in details if d)
    return f"{p['device']}{f' ({shown})' if shown else ''}" if p.get("device") else shown


class Picture(NamedTuple):
    """A figure as data URIs, ``dark`` where there is one, and its size in px."""

    light: str
    dark: str | None
    width: int
    height: int


def _picture(run: Run) -> Picture | None:
    if run.figure is None:
        return None
    from PIL import Image

    dark = _data_uri(run.figure_dark) if run.figure_dark else None
    return Picture(_data_uri(run.figure), dark, *Image.open(io.BytesIO(run.figure)).size)


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
