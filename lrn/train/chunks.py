"""The loop over the chunks of a training, and the work of the host between two chunks."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from lrn import interrupt
from lrn.train import checkpoint
from lrn.train.job import agree, any_process, on_main
from lrn.train.log import Log
from lrn.train.pace import Pace, Times, chunk_seconds
from lrn.train.program import Program
from lrn.train.progress import Bar
from lrn.train.windows import WINDOWS
from lrn.types import PyTree

T = TypeVar("T")

_TIMED = ("compile", "train", "evaluate", "save")


@dataclasses.dataclass
class Training:
    """The loop over chunks, and the work of the host between two of them.

    evaluates: whether the program has an evaluation.
    bar: the progress bar, if there is one.
    say: receives messages.
    folder, identity: the folder of the checkpoints, and the `resume.identity` in them; None and {} if the
        training is not saved.
    step: the number of steps done.
    carry: the program's carry after these steps: on the devices, or before `run` in host memory, or None.
    stopping: whether a signal asked to stop.
    timing, cpu: see `Fit`.
    """

    program: Program
    log: Log
    times: Times
    evaluates: bool
    bar: Bar | None
    say: Callable[[str], None]
    name: str
    folder: Path | None
    identity: Mapping[str, Any]
    step: int
    carry: Any
    stopping: bool = False
    timing: dict[str, float] = dataclasses.field(default_factory=lambda: dict.fromkeys(_TIMED, 0.0))
    cpu: dict[str, float] = dataclasses.field(default_factory=lambda: dict.fromkeys(_TIMED, 0.0))

    def run(self) -> None:
        """Train to the last step.

        Raises:
            interrupt.Interrupted: a signal came; the training is saved if there is a folder.
        """
        if self.bar:
            self.bar.begin(self.step)
        with interrupt.deferred():
            if self.step < self.times.steps:
                self._timed("compile", self._compile)
                if self.evaluates and self.times.eval_every and self.step == 0:
                    self._timed("evaluate", self._evaluate)
            seconds = chunk_seconds(self.program.memory().get("temporaries", 0))
            pace = Pace(self._longest_chunk(), fixed=self.times.chunk is not None, seconds=seconds)
            saved_at = time.monotonic()
            while self.step < self.times.steps and not self.stopping:
                self._do_chunk(pace)
                self.stopping = self._asked_to_stop()
                if self._save_is_due(time.monotonic() - saved_at):
                    self._timed("save", self._save)
                    saved_at = time.monotonic()
            if self._asked_to_stop():
                raise interrupt.Interrupted(interrupt.requested() or signal.SIGTERM)

    def state(self) -> PyTree:
        """The states of all lanes, host arrays [lanes, ...]."""
        assert self.carry is not None
        return self.program.lanes.get(self.carry.state)

    def _timed(self, what: str, call: Callable[..., T], *args: Any) -> T:
        """``call(*args)``, whose time is added to ``timing`` and ``cpu`` under ``what``."""
        begin, spent = time.perf_counter(), time.process_time()
        result = call(*args)
        self.timing[what] += time.perf_counter() - begin
        self.cpu[what] += time.process_time() - spent
        return result

    def _compile(self) -> None:
        """Make the first carry, or put that of a checkpoint on the devices, and compile the steps."""
        program = self.program
        self.carry = program.start() if self.carry is None else program.lanes.put(self.carry)
        program.compile(self.carry)

    def _longest_chunk(self) -> int:
        """The most steps of a chunk: its metrics must fit in the windows that the program returns."""
        times = self.times
        return min(times.chunk or times.steps, times.steps, (WINDOWS - 2) * times.log_every)

    def _do_chunk(self, pace: Pace) -> None:
        """Train one chunk, record what it reports, and evaluate where an evaluation is due."""
        times = self.times
        stop = times.end_of_chunk(self.step, agree(pace.length))
        before = self.timing["train"]
        windows = self._timed("train", self._advance, stop)
        pace.took(stop - self.step, self.timing["train"] - before)
        self.log.windows(windows.mean, windows.weight, self.step, stop, times.log_every, times.steps)
        self.log.failed(windows.bad)
        self.step = stop
        if times.evaluates_at(stop):
            # The host checks the states only here, so that its reports do not depend on the chunk's length.
            self.log.failed({"state": np.where(windows.finite, -1, stop)})
            if self.evaluates:
                self._timed("evaluate", self._evaluate)
        if self.bar:
            self.bar.update(stop, self.log.latest)
        self.log.stream()

    def _advance(self, stop: int) -> Any:
        """Train to the step ``stop``; the chunk's `lrn.train.windows.Windows` as host arrays."""
        self.carry, windows = self.program.advance(self.carry, self.step, stop, self.times.log_every)
        return self.program.lanes.get(windows)  # this call waits for the chunk

    def _evaluate(self) -> None:
        """Evaluate every lane, and log the values and the failures among them."""
        values = self.program.lanes.get(self.program.evaluate(self.carry, self.step))
        for metric, value in values.items():
            self.log.add(self.step, metric, value.astype(np.float64))
        self.log.failed({m: np.where(np.isfinite(v), -1, self.step) for m, v in values.items()})

    def _asked_to_stop(self) -> bool:
        """Whether a signal asked any process to stop; all processes stop at the same step."""
        return any_process(interrupt.requested() is not None)

    def _save_is_due(self, seconds: float) -> bool:
        """Whether to save now; ``seconds`` have passed since the last save."""
        every = self.times.save_every
        # All processes take part in the agreement, so it comes first.
        due = agree(int(seconds >= self.times.save_seconds)) or (every and self.step % every == 0)
        last = self.stopping or self.step == self.times.steps
        return self.folder is not None and bool(last or due)

    def _save(self) -> None:
        """Save a checkpoint; report a failed save, and raise its error where there is no later chance."""
        host = self.program.lanes.get(self.carry)  # all processes take part in this call
        try:
            on_main(lambda: self._write(host))
        except OSError as error:
            if self.stopping or self.step == self.times.steps:
                raise
            self.say(f"{self.name}: {error}")

    def _write(self, carry: Any) -> None:
        """Write the log's rows and a checkpoint of ``carry`` (host arrays)."""
        assert self.folder is not None
        self.log.flush(self.step)
        identity = {**self.identity, "log_every": self.times.log_every}
        meta = {"identity": identity, "steps": self.times.steps, **self.log.meta()}
        checkpoint.save(self.folder, self.step, carry, meta)
