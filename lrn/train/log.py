"""What a training reports: metric rows, first failures, and where they are kept between checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from lrn import files
from lrn import table as tables
from lrn.table import Table


class Sink(Protocol):
    """Where metrics go as they come: a file, TensorBoard, a web service."""

    def write(self, table: Table) -> None:
        """Take the rows of one chunk."""
        ...

    def close(self) -> None:
        """No more rows will come."""
        ...


class Failure(NamedTuple):
    """The first failure of a lane: a metric or an evaluation that is not finite, or the state.

    ``metric`` is "state" when only the state shows it, which is looked at with each evaluation and at the
    end: by a NaN, or by an infinity in an array that held none before the first step (a best-so-far may begin
    there).
    """

    arm: str
    seed: int
    step: int
    metric: str


class Log:
    """Collects the rows of one fit; with a folder they go to disk at each checkpoint.

    Args:
        name: the training's name, for messages.
        arms: names of the arms; lane ``a * len(seeds) + s`` is arm ``a`` with seed ``s``.
        seeds: the seeds.
        folder: where parts are written, or None to keep all rows in memory.
        sinks: are given each chunk's rows.
        say: is told of failures, one sentence each.
        writes: whether this process writes the parts; another one only reads them after a resume.
        kept: bool [lanes], of which lanes anything is reported; of all by default.
    """

    def __init__(
        self,
        name: str,
        arms: Sequence[str],
        seeds: Sequence[int],
        folder: Path | None,
        sinks: Sequence[Sink],
        say: Callable[[str], None],
        writes: bool = True,
        kept: np.ndarray | None = None,
    ):
        self._name, self._folder, self._sinks, self._say = name, folder, sinks, say
        self._writes = writes
        self._lane_arm = np.repeat(np.asarray(arms, object), len(seeds))
        self._lane_seed = np.tile(np.asarray(seeds, np.int64), len(arms))
        self._kept = np.ones(len(self._lane_arm), bool) if kept is None else kept
        self._parts: list[tuple[str, str]] = []  # file name and SHA-256
        self._pending: list[Table] = []  # not in a part yet
        self._unstreamed: list[Table] = []
        self.failures: list[Failure] = []
        self.latest: dict[str, float] = {}  # mean over the lanes, for people

    def add(self, step: int, metric: str, values: np.ndarray, keep: np.ndarray | None = None) -> None:
        """One value a lane, [lanes]; ``keep`` [lanes] drops lanes that measured nothing."""
        keep = self._kept if keep is None else keep & self._kept
        if not keep.any():
            return
        table = tables.rows(self._lane_arm[keep], self._lane_seed[keep], step, metric, values[keep])
        self._pending.append(table)
        if self._sinks:
            self._unstreamed.append(table)
        finite = values[keep][np.isfinite(values[keep])]
        self.latest[metric] = float(finite.mean()) if len(finite) else float("nan")

    def windows(
        self,
        mean: Mapping[str, np.ndarray],
        count: Mapping[str, np.ndarray],
        start: int,
        stop: int,
        every: int,
        end: int,
    ) -> None:
        """Add the windows that steps [start, stop) completed; arrays [lanes, windows].

        The last window of a training may be short.
        """
        first = start // every
        for window in range(first, (stop - 1) // every + 1):
            closes = min((window + 1) * every, end)
            if closes > stop:
                break
            for metric in mean:
                self.add(
                    closes,
                    metric,
                    mean[metric][:, window - first].astype(np.float64),
                    count[metric][:, window - first] > 0,
                )

    def failed(self, first_bad: Mapping[str, np.ndarray]) -> None:
        """Record lanes that failed, from each metric's first bad step [lanes], -1 for none."""
        known = {(f.arm, f.seed) for f in self.failures}
        for lane, (arm, seed) in enumerate(zip(self._lane_arm, self._lane_seed)):
            steps = {m: int(bad[lane]) for m, bad in first_bad.items() if bad[lane] >= 0}
            if not steps or not self._kept[lane] or (arm, int(seed)) in known:
                continue
            step = min(steps.values())
            metric = ", ".join(m for m, s in steps.items() if s == step)
            self.failures.append(Failure(str(arm), int(seed), step, metric))
            self._say(
                f"{self._name}: arm {arm}, seed {seed} became non-finite at step {step} ({metric}); "
                "it is recorded as failed and the others go on."
            )

    def stream(self) -> None:
        """Hand the new rows to the sinks."""
        if self._unstreamed:
            table = tables.concat(self._unstreamed)
            for sink in self._sinks:
                sink.write(table)
            self._unstreamed = []

    def flush(self, step: int) -> None:
        """Write the rows since the last flush as a part.

        Raises:
            files.WriteError: the disk is full; the rows stay in memory for the next flush.
        """
        if self._folder is None or not self._writes or not self._pending:
            return
        path = self._folder / "metrics" / f"part_{step:012d}.parquet"
        tables.concat(self._pending).write(path)
        self._parts.append((path.name, files.sha256(path)))
        self._pending = []

    def meta(self) -> dict[str, Any]:
        """What a checkpoint must remember of the log."""
        return {"parts": self._parts, "failures": [list(f) for f in self.failures]}

    def damage(self, meta: Mapping[str, Any]) -> str | None:
        """What is wrong with the parts that a checkpoint relies on."""
        assert self._folder is not None
        for name, digest in meta["parts"]:
            path = self._folder / "metrics" / name
            if not path.is_file():
                return f"metrics/{name} is missing"
            if files.sha256(path) != digest:
                return f"metrics/{name} does not match its checksum"
        return None

    def restore(self, meta: Mapping[str, Any] | None) -> None:
        """Take up the log where a checkpoint left it, without one at its start; the rest will come again."""
        assert self._folder is not None
        if meta is not None:
            self._parts = [(name, digest) for name, digest in meta["parts"]]
            self.failures = [Failure(*f) for f in meta["failures"]]
        if not self._writes:
            return
        known = {name for name, _ in self._parts}
        for path in (self._folder / "metrics").glob("*.parquet"):
            if path.name not in known:
                path.unlink()

    def table(self) -> Table:
        """All rows so far, in order of step."""
        parts = (
            [tables.read(self._folder / "metrics" / name) for name, _ in self._parts] if self._folder else []
        )
        return tables.concat([*parts, *self._pending])
