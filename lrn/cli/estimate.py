"""How long studies will take, by earlier runs of the same studies; and what is said of it as they run."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lrn import check
from lrn.report.published import published
from lrn.study import discover


class Expected(NamedTuple):
    """What is known of a run before it begins.

    study: the study's id. finished: whether it ran before. begun: whether it resumes.
    seconds: the wall seconds still to come; None where no earlier run tells.
    """

    study: str
    finished: bool
    begun: bool
    seconds: float | None


def expected(study: str, preset: str, seeds: int, folder: Path) -> Expected:
    """What is known of a run before it begins.

    The time is that of the newest finished run of the study at the same preset, in the same folder of runs
    or else among the published results, in proportion to the number of seeds.

    Args:
        study: the study's id.
        preset: the name of the preset.
        seeds: the number of seeds.
        folder: the run's own folder, below that of all runs of the study.
    """
    finished, spent = (folder / "verdict.json").exists(), _spent(folder)
    if finished:
        return Expected(study, True, False, 0.0)
    each = _own_seconds_a_seed(folder.parent, preset) or _published_seconds_a_seed(study, preset)
    left = None if each is None else max(each * seeds - (spent or 0.0), 0.0)
    return Expected(study, False, spent is not None, left)


def _spent(folder: Path) -> float | None:
    """The wall seconds of an unfinished run so far; None where none was begun."""
    try:
        return float(json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["wall_seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _own_seconds_a_seed(runs: Path, preset: str) -> float | None:
    for path in sorted(runs.glob("*/verdict.json"), key=lambda p: p.stat().st_mtime, reverse=True):
        try:
            verdict = json.loads(path.read_text(encoding="utf-8"))
            if verdict["preset"] == preset:
                return float(verdict["seconds"]) / len(verdict["seeds"])
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            continue  # the report names damaged files
    return None


def _published_seconds_a_seed(study: str, preset: str) -> float | None:
    try:
        facts = published(discover.claims().parent.parent / "docs" / "results").get(study)
    except check.InputError:  # lrn is installed without its repository
        return None
    if facts is None or facts["preset"] != preset or not facts["seeds"] or not facts["seconds"]:
        return None
    return facts["seconds"] / facts["seeds"]


class Pace:
    """The time that is left for several studies, corrected by what the finished ones took."""

    def __init__(self, runs: Sequence[Expected]):
        self._runs = list(runs)
        self._planned = self._took = 0.0
        self._began = time.monotonic()

    def all(self, preset: str) -> str:
        """One sentence on all studies, before the first."""
        known = [run.seconds for run in self._runs if run.seconds is not None]
        remarks = [
            f"{count} {what}"
            for count, what in (
                (sum(run.finished for run in self._runs), "finished before"),
                (sum(run.begun for run in self._runs), "begun before"),
                (len(self._runs) - len(known), "never timed"),
            )
            if count
        ]
        told = f" ({', '.join(remarks)})" if remarks else ""
        return f"{len(self._runs)} studies at {preset}: {duration(sum(known))}, by earlier runs{told}."

    def begin(self, i: int) -> str:
        """The line before study ``i``."""
        self._began = time.monotonic()
        factor = self._took / self._planned if self._planned else 1.0
        left = [run.seconds for run in self._runs[i:]]
        total = sum(seconds for seconds in left if seconds is not None) * factor
        own = "no earlier run tells how long" if left[0] is None else duration(left[0] * factor)
        rest = f"; {duration(total)} for all that is left" if i < len(self._runs) - 1 else ""
        return f"[{i + 1}/{len(self._runs)}] {self._runs[i].study}: {own}{rest}"

    def end(self, i: int) -> None:
        """Study ``i`` has ended."""
        planned = self._runs[i].seconds
        if not self._runs[i].finished and planned:
            self._planned += planned
            self._took += time.monotonic() - self._began


def duration(seconds: float) -> str:
    """A number of seconds in words: "under a minute", "about 12 min", "about 2.5 h"."""
    if seconds < 60:
        return "under a minute"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
