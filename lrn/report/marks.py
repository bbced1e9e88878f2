"""What a reader must know of a run besides its verdict, such as a file that is damaged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lrn.report.run import Run
from lrn.study import discover, home, source
from lrn.study.source import study_sha256


class Mark(NamedTuple):
    """Something odd about a run: ``kind`` chooses the icon, ``label`` is short, ``why`` a sentence."""

    kind: str
    label: str
    why: str


_REDRAW = home.command() + " draw RUNS/{} draws it again and trains nothing."

_NO_PYTHON = "The study's file can no longer be read as Python, so it is not the one that ran."

_EDITED = "The study's file has been edited since this run, which was of an earlier version."


def marks(run: Run, now: Code) -> list[Mark]:
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
        why = f"There is no figure: {run.figure_failed} {_REDRAW.format(run.where)}"
        found.append(Mark("nofigure", "no figure", why))
    if run.state != "damaged" and not run.sealed:
        why = "Made before runs were sealed: changes of its files cannot be told."
        found.append(Mark("unsealed", "unsealed", why))
    return found


def _remedy(run: Run) -> str:
    """What to do about damage of a run that is shown."""
    if run.state != "finished":
        return "Restore what is damaged from a copy, or begin again with --fresh."
    if run.sealed and all(d.startswith("figure") for d in run.damage):
        return _REDRAW.format(run.where)
    return "Run it again with --fresh."


class Code:
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


def _unless_broken(read: Callable[[Path], Any], path: Path) -> Any:
    try:
        return read(path)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
