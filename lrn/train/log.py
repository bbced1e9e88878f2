"""What a training reports (metric rows and first failures), and the files that keep the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from lrn import files
from lrn import table as tables
from lrn.table import Table


class Sink(Protocol):
    """A receiver of metrics during the training, such as a file, TensorBoard or a web service."""

    def write(self, table: Table) -> None:
        """Receive the rows of one chunk."""
        ...

    def close(self) -> None:
        """Finish; no rows follow."""
        ...


class Failure(NamedTuple):
    """The first failure of a lane: a metric of a step, a metric of the evaluation or the state is not finite.

    arm, seed: the lane.
    step: the number of steps after which the failure showed.
    metric: the names of the metrics that were not finite. It is "state" where only the state failed: it has a
        NaN, or an infinity in an array that had none before the first step (a best-so-far may begin at
        infinity). `fit` checks the state at each multiple of ``eval_every`` and after the last step.
    """

    arm: str
    seed: int
    step: int
    metric: str


class Log:
    """The rows and failures of one `fit`; with a folder, each checkpoint writes the new rows as a part.

    Args:
        name: the training's name, for messages.
        arms: the names of the arms; lane ``a * len(seeds) + s`` is arm ``a`` with seed ``s``.
        seeds: the seeds.
        folder: the folder of the training; parts are files in its folder "metrics". With None all rows stay
            in memory.
        sinks: the receivers of each chunk's rows.
        say: called with one sentence for each failure.
        writes: whether this process writes the parts. A process that does not write reads them after a
            resume.
        kept: whether the log reports each lane, bool [lanes]; by default it reports all lanes.

    Attributes:
        failures: the first failure of each lane that failed.
        latest: from the name of a metric to its newest mean over lanes, for the progress bar.
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
        self._parts: list[tuple[str, str]] = []  # file names and SHA-256 hashes
        self._pending: list[Table] = []  # rows that no part has yet
        self._unstreamed: list[Table] = []  # rows that the sinks have not got yet
        self.failures: list[Failure] = []
        self.latest: dict[str, float] = {}

    def add(self, step: int, metric: str, values: np.ndarray, keep: np.ndarray | None = None) -> None:
        """Add a row for each lane, from ``values`` [lanes]; no row where ``keep`` [lanes] is false."""
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
        """Add the rows of the windows that end in the steps [start, stop).

        Args:
            mean: from the name of a metric to its means [lanes, windows]; the first window is the one that
                has the step ``start``.
            count: the weights of these means; a lane with weight 0 gets no row.
            start: the first step of the chunk.
            stop: the step after the chunk.
            every: steps in a window.
            end: the number of steps of the training; the last window ends there and may be short.
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
        """Record the lanes that failed.

        Args:
            first_bad: from the name of a metric to the step [lanes] at which it was first not finite; -1 in
                lanes where it was always finite.
        """
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
        """Give the new rows to the sinks."""
        if self._unstreamed:
            table = tables.concat(self._unstreamed)
            for sink in self._sinks:
                sink.write(table)
            self._unstreamed = []

    def flush(self, step: int) -> None:
        """Write the rows since the last flush as the part of ``step``.

        Raises:
            files.WriteError: the disk is full; the rows stay in memory until the next flush.
        """
        if self._folder is None or not self._writes or not self._pending:
            return
        path = self._folder / "metrics" / f"part_{step:012d}.parquet"
        tables.concat(self._pending).write(path)
        self._parts.append((path.name, files.sha256(path)))
        self._pending = []

    def meta(self) -> dict[str, Any]:
        """What a checkpoint stores of the log: the names and hashes of its parts, and the failures."""
        return {"parts": self._parts, "failures": [list(f) for f in self.failures]}

    def damage(self, meta: Mapping[str, Any]) -> str | None:
        """What is wrong with the parts that are named in ``meta``; None if nothing is."""
        assert self._folder is not None
        for name, digest in meta["parts"]:
            path = self._folder / "metrics" / name
            if not path.is_file():
                return f"metrics/{name} is missing"
            if files.sha256(path) != digest:
                return f"metrics/{name} does not match its checksum"
        return None

    def restore(self, meta: Mapping[str, Any] | None) -> None:
        """Set the log to its state at a checkpoint with ``meta``, or at the start with None.

        Parts that are later than the checkpoint are removed: the training will write their rows again.
        """
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
        """All rows until now, in order of step."""
        parts = (
            [tables.read(self._folder / "metrics" / name) for name, _ in self._parts] if self._folder else []
        )
        return tables.concat([*parts, *self._pending])
