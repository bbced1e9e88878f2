"""Parts of a run: its seeds split over jobs that run apart, possibly on different machines.

Part i of n trains the i-th of n consecutive groups of the run's seeds, in the folder
``<out>/<study>/<hash>.parts/<i>-of-<n>/``; `lrn.study.merge` makes the run from its parts.

A choice of `lrn.study.select.select` is one for all seeds. Each part therefore writes its validation scores
into its folder and waits for those of the other parts, so that every part makes the choice of the whole run.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex, overload

import numpy as np

from lrn import check, files, interrupt
from lrn import table as tables
from lrn.study import seal
from lrn.study.select import Choice, Scores
from lrn.table import Table

VERDICT = "part"  # the word in the verdict.json of a finished part
WAITED = 75  # the exit code of `Waited`; EX_TEMPFAIL of sysexits.h
_LOOK_SECONDS = 0.5  # between two looks for the scores of the other parts
_SAY_SECONDS = 20.0  # of waiting, before a sentence says so
_patience: contextvars.ContextVar[float] = contextvars.ContextVar("patience", default=math.inf)


@contextlib.contextmanager
def patient(seconds: float) -> Iterator[None]:
    """Inside, a part that waits longer than ``seconds`` for another part stops with `Waited`.

    On a cluster it so gives its place to the other part.
    """
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


class Waited(interrupt.Interrupted):
    """A part waited longer for the scores of another part than `patient` allows. Its state is saved."""

    def __init__(self, message: str):
        BaseException.__init__(self, message)
        self.code: int = WAITED


class Part(NamedTuple):
    """One part of a run: its number, from 1 to ``of``, and the number of parts."""

    number: int
    of: int

    def __str__(self) -> str:
        """Such as "part 2 of 4"."""
        return f"part {self.number} of {self.of}"

    def seeds(self, whole: Sequence[int]) -> Seeds:
        """The seeds of this part: consecutive ones; the numbers of seeds of two parts differ by at most 1."""
        ends = [round(i * len(whole) / self.of) for i in (self.number - 1, self.number)]
        return Seeds(whole[ends[0] : ends[1]], whole)

    def folder(self, whole: Path) -> Path:
        """The folder of this part of the run in the folder ``whole``, which need not exist."""
        return whole.with_name(f"{whole.name}.parts") / f"{self.number}-of-{self.of}"


def all_parts(count: int) -> list[Part]:
    """The parts of a run that is split into ``count``."""
    return [Part(i, count) for i in range(1, count + 1)]


def read(text: str, seeds: int) -> Part:
    """The part that ``I/N`` names.

    Raises:
        InputError: the text has another form, or there are fewer seeds than parts.
    """
    found = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise check.InputError(f"--part takes I/N with I from 1 to N, got {text!r}; give for example 2/4.")
    check_count("--part", int(found[2]), seeds)
    return Part(int(found[1]), int(found[2]))


def check_count(option: str, parts: int, seeds: int) -> None:
    """Raise InputError unless each part has a seed."""
    if parts > seeds:
        raise check.InputError(f"{option} asks for {parts} parts of {seeds} seeds; give at most {seeds}.")


class Seeds(tuple[int, ...]):
    """The seeds of a part. ``seeds[:k]`` are the first k of *all* seeds of the run, as in one place.

    Other indices are refused: they would have another meaning in a part than in the whole run.
    """

    whole: tuple[int, ...]

    def __new__(cls, own: Sequence[int], whole: Sequence[int]) -> Seeds:
        """The seeds ``own`` of a run with the seeds ``whole``."""
        made = super().__new__(cls, own)
        made.whole = tuple(whole)
        return made

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> int: ...

    @overload
    def __getitem__(self, index: slice, /) -> tuple[int, ...]: ...

    def __getitem__(self, index: Any, /) -> Any:
        """See the class."""
        if isinstance(index, slice) and not index.start and index.stop is not None and index.stop >= 0:
            return self.whole[index]
        raise check.InputError(
            f"this study takes seeds out of its list by [{index}], which a part of a run cannot; run it in "
            "one place, or let the study go over all its seeds."
        )


# Choices


class Together:
    """The choices of one part, by the validation scores of all parts; see `lrn.study.select.made_by`.

    Args:
        folder: the part's folder.
        part: the part.
        seeds: its number of seeds.
        writes: whether this process writes the scores: the main process of a job.
        say: prints one sentence to the user.

    Attributes:
        made: from the name of a choice to the indices that were chosen, by arm.
    """

    def __init__(self, folder: Path, part: Part, seeds: int, writes: bool, say: Callable[[str], None]):
        self._folder, self._part, self._seeds, self._writes, self._say = folder, part, seeds, writes, say
        self._began = time.time()
        self._counts: dict[str, int] = {}
        self.made: dict[str, dict[str, list[int]]] = {}

    def __call__(self, scores: Scores, choose: Callable[[Scores], dict[str, Choice]]) -> dict[str, Choice]:
        """Choose by the scores [*menu, seeds] of all parts.

        Scores of another number of seeds than the part has come from seeds that all parts share, so each
        part chooses by its own; `lrn.study.merge` compares the choices.

        Raises:
            Waited: another part did not come to this choice in time.
            InputError: another part failed, or the part was at another choice when it ran before.
        """
        name = name_of(scores, self._counts)
        if all(x.shape[-1] == self._seeds for x in scores.values()):
            self._publish(name, scores)
            scores = self._all(name, scores)
        choices = choose(scores)
        self.made[name] = {arm: list(choice.place) for arm, choice in choices.items()}
        return choices

    def _publish(self, name: str, scores: Scores) -> None:
        path = self._folder / "choices" / name
        content = list(scores.values())
        if (before := _arrays(path)) is not None:
            if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, content, strict=True)):
                raise check.InputError(
                    f"{path} has other scores than this part has now; use --fresh to begin it again."
                )
        elif self._writes:
            files.write_with(path, lambda temporary: np.savez(temporary, *content))

    def _all(self, name: str, scores: Scores) -> dict[str, np.ndarray]:
        """The scores of all parts, joined along their last axis."""
        began = time.monotonic()
        said = False
        found: list[list[np.ndarray]] = []
        while len(found) < self._part.of:
            sibling = Part(len(found) + 1, self._part.of)
            folder = self._folder.with_name(f"{sibling.number}-of-{sibling.of}")
            theirs = _arrays(folder / "choices" / name)
            if theirs is not None:
                found.append(theirs)
                continue
            earlier = self._failure(sibling, folder)
            waited = time.monotonic() - began
            if waited > _patience.get():
                raise Waited(
                    f"{self._part} waited {waited:.0f} s for {sibling} to come to a choice; run the same "
                    "command again when that part runs."
                )
            if waited > _SAY_SECONDS and not said:
                said = True
                self._say(
                    f"{self._part} waits for {sibling} to come to a choice that all seeds make together"
                    + (f"; that part failed when it last ran: {earlier}" if earlier else ".")
                )
            time.sleep(_LOOK_SECONDS)
        return {arm: np.concatenate([part[i] for part in found], axis=-1) for i, arm in enumerate(scores)}

    def _failure(self, part: Part, folder: Path) -> str:
        """The error that ended another part before this part ran; "" if there was none.

        Raises:
            InputError: the other part failed while this part ran.
        """
        path = folder / "provenance.json"
        try:
            failed = seal.read_stamped(path).get("failed")
            if failed and path.stat().st_mtime >= self._began:
                raise check.InputError(f"{part} failed, so that {self._part} cannot go on: {failed}")
        except (seal.Broken, OSError):  # it has not begun
            return ""
        return str(failed or "")


def name_of(scores: Scores, counts: dict[str, int]) -> str:
    """The name of a choice, equal in all parts: a hash of arms and menus, and its place among equal ones."""
    shapes = [[arm, list(x.shape[:-1])] for arm, x in scores.items()]
    digest = files.sha256_json(shapes)[:16]
    counts[digest] = counts.get(digest, 0) + 1
    return f"{digest}-{counts[digest]}.npz"


def _arrays(path: Path) -> list[np.ndarray] | None:
    try:
        with np.load(path) as archive:
            return [archive[name] for name in archive.files]
    except FileNotFoundError:
        return None


# Tables


class Block(NamedTuple):
    """The rows of one recording of a run (a training, a recorded metric), with the failures in them.

    failures: as in `lrn.study.context.Context.failures`.
    """

    table: Table
    failures: list[dict[str, Any]]


def sizes(blocks: Sequence[Block]) -> list[list[int]]:
    """The numbers of rows and failures of each block, by which `cut` finds the blocks in a table."""
    return [[len(block.table.value), len(block.failures)] for block in blocks]


def cut(table: Table, failures: Sequence[dict[str, Any]], lengths: Sequence[Sequence[int]]) -> list[Block]:
    """The blocks of a table.

    Raises:
        ValueError: the lengths are not those of the table.
    """
    rows, lost = (np.cumsum([0, *(pair[i] for pair in lengths)]) for i in (0, 1))
    if rows[-1] != len(table.value) or lost[-1] != len(failures):
        raise ValueError(f"{rows[-1]} rows are told of a table of {len(table.value)}.")
    return [
        Block(Table(*(column[a:b] for column in table)), list(failures[c:d]))
        for a, b, c, d in zip(rows, rows[1:], lost, lost[1:])
    ]


def joined(parts: Sequence[Sequence[Block]]) -> tuple[Table, list[dict[str, Any]]]:
    """The table and the failures of the whole run, in the order in which one place would record them.

    Args:
        parts: the blocks of each part, in the order of the parts' seeds.

    Raises:
        InputError: the parts recorded different numbers of blocks.
    """
    if len(counts := {len(blocks) for blocks in parts}) != 1:
        raise check.InputError(
            f"the parts took different ways (they recorded {' and '.join(map(str, sorted(counts)))} tables); "
            "run this study in one place."
        )
    blocks = [_joined(block) for block in zip(*parts)]
    return tables.concat([b.table for b in blocks]), [f for b in blocks for f in b.failures]


def _joined(parts: Sequence[Block]) -> Block:
    """A block of all parts, ordered by step and metric, then by arm, then by seed, as in `lrn.train.log`."""
    groups = _union([list(dict.fromkeys(zip(p.table.step.tolist(), p.table.metric.tolist()))) for p in parts])
    arms = _union([p.table.arms for p in parts])
    whole = tables.concat([p.table for p in parts])
    number = {group: i for i, group in enumerate(groups)}
    group = [number[key] for key in zip(whole.step.tolist(), whole.metric.tolist())]
    place = {arm: i for i, arm in enumerate(arms)}
    order = np.lexsort(([place[arm] for arm in whole.arm.tolist()], group))  # stable: seeds stay in order
    failures = sorted(
        (f for p in parts for f in p.failures), key=lambda f: (f["step"], place.get(f["arm"], 0))
    )
    return Block(Table(*(column[order] for column in whole)), failures)


def _union(orders: Sequence[Sequence[Any]]) -> list[Any]:
    """All items of some lists, each after the items that come before it in the first list that has it."""
    merged = list(orders[0])
    for order in orders[1:]:
        known, at = set(merged), 0
        if known.issuperset(order):
            continue
        for item in order:
            if item in known:
                at = merged.index(item) + 1
            else:
                merged.insert(at, item)
                at += 1
    return merged
