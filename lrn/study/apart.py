"""Whether the seeds of a study can run apart: whether a seed's values depend on no other seed.

`check_once` runs the preset "smoke" of a study on the seeds (0, 1) and on (2, 0), and compares the values of
seed 0, which has another place in the second run and another seed beside it. The second run makes the choices
of the first, because `lrn.study.parts` has all parts make the same choices. What may differ then are values
that depend on the place of a seed, or on other seeds by another way than a choice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lrn import check, files
from lrn.study import parts, select
from lrn.study.discover import StudyFile
from lrn.study.select import Choice, Scores
from lrn.table import Table

_FIRST, _SECOND = (0, 1), (2, 0)
_TOLERANCE = 1e-3  # relative; a lane at another place may differ by rounding, which training amplifies
_NOTE = "apart.json"


def check_once(found: StudyFile, folder: Path) -> None:
    """Check the study, unless a note in ``folder`` says that its present code was checked.

    Raises:
        InputError: a value of a seed depends on other seeds.
        Exception: what the study's ``run`` raises.
    """
    from lrn.train import job

    code = found.hashed().code
    assert code is not None
    note = folder / _NOTE
    if job.agree(int(note.is_file())):
        return
    if differs := difference(found):
        raise check.InputError(
            f"{found.id} cannot be split: at smoke {differs} depends on which other seeds run beside it; "
            "run it in one place."
        )
    job.on_main(lambda: files.write_json(note, {"study_sha256": code.sha256}))


def difference(found: StudyFile) -> str:
    """The arm and metric of a value that depends on other seeds, in words; "" if there is none.

    Args:
        found: a study with a preset "smoke".

    Raises:
        InputError: the study has no such preset.
        Exception: what the study's ``run`` raises.
    """
    check.choice(f"the preset of {found.id}", "smoke", found.study.presets)
    made = _Recorded()
    first, second = (_run(found, seeds, made) for seeds in (_FIRST, _SECOND))
    rows, again = _of_seed(first), _of_seed(second)
    if rows.keys() != again.keys():
        arm, _, metric = min(rows.keys() ^ again.keys(), key=str)
        return f"whether {arm} records {metric}"
    for (arm, _, metric), value in rows.items():
        other = again[arm, _, metric]
        if not np.isclose(value, other, rtol=_TOLERANCE, atol=1e-6, equal_nan=True):
            return f"{metric} of {arm} ({value:.6g} or {other:.6g})"
    return ""


def _run(found: StudyFile, seeds: tuple[int, ...], made: _Recorded) -> Table:
    from lrn.study.context import Context

    made.counts.clear()
    with tempfile.TemporaryDirectory() as folder, select.made_by(made):
        own = parts.Seeds(seeds, _FIRST)
        context = Context(Path(folder), "smoke", own, lambda _: None, progress=False, save_seconds=1e9)
        found.study.run(found.study.presets["smoke"], context)
        return context.table()


def _of_seed(table: Table) -> dict[tuple[str, int, str], float]:
    """From (arm, step, metric) to the value of seed 0."""
    mine = table.seed == 0
    names = zip(table.arm[mine].tolist(), table.step[mine].tolist(), table.metric[mine].tolist())
    return dict(zip(names, table.value[mine].tolist()))


class _Recorded:
    """The choices of the first run, made again in the second run whatever its scores are."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._choices: dict[str, dict[str, Choice]] = {}

    def __call__(self, scores: Scores, choose: Callable[[Scores], dict[str, Choice]]) -> dict[str, Choice]:
        name = parts.name_of(scores, self.counts)
        if name not in self._choices:
            self._choices[name] = choose(scores)
        return self._choices[name]
