"""Which run of a study counts, and the order of the studies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lrn.report.marks import Code, Mark, marks
from lrn.report.run import Run
from lrn.study import SECTIONS

_PRESET_RANK = {"full": 2, "smoke": 0}  # any other counts like quick


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


def in_order(runs: Iterable[Run]) -> list[Entry]:
    """One entry a study, in the order of the notes; its first run is the one it is judged by."""
    now = Code()
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
        entry.anchor = slug(entry.run.study, taken)
        entry.place = entry.run.study_path if names.count(entry.run.study) > 1 else ""
    return entries


def slug(study: str, taken: set[str]) -> str:
    """An anchor for a study, none of those ``taken``; it is added to them."""
    anchor = "study-" + (re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-") or "x")
    while anchor in taken:
        anchor += "-2"
    taken.add(anchor)
    return anchor


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
