"""The driver: `fit` trains configs x seeds as one compiled call, a chunk of steps at a time.

Inside a chunk nothing leaves the accelerator. Between chunks, and only there, the host evaluates,
reports, streams metrics, looks for non-finite values and saves. The chunk's length is an argument of one
compiled loop, so it changes neither the program nor a bit of the result, and memory does not grow with
the number of steps.

Keys are folded from (seed, step), so a resumed training equals an uninterrupted one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from lrn import files, interrupt
from lrn.train import arguments, checkpoint, resume, warn
from lrn.train.job import agree, any_process, main_process, on_main
from lrn.train.log import Failure, Log, Sink
from lrn.train.pace import Pace, Times, chunk_seconds
from lrn.train.program import WINDOWS, Evaluate, Program
from lrn.train.progress import Bar
from lrn.train.result import Fit
from lrn.train.saved import by_lane
from lrn.train.warn import PrecisionWarning, ScheduleWarning
from lrn.types import Device, PyTree, Sampler, Trainable
from lrn.xla import threefry
from lrn.xla.runtime import enable_compilation_cache

__all__ = ["Evaluate", "Failure", "Fit", "PrecisionWarning", "ScheduleWarning", "Sink", "fit"]

T = TypeVar("T")

_TIMED = ("compile", "train", "evaluate", "save")


def fit(
    factory: Callable[[Any], Trainable],
    configs: Any,
    seeds: Sequence[int],
    *,
    steps: int,
    data: PyTree = None,
    per_seed: Mapping[str, Any] | None = None,
    sampler: Sampler | None = None,
    evaluate: Evaluate | None = None,
    eval_every: int | None = None,
    log_every: int | None = None,
    chunk: int | None = None,
    folder: Path | str | None = None,
    save_seconds: float = 20.0,
    save_every: int | None = None,
    name: str = "fit",
    progress: bool = True,
    sinks: Sequence[Sink] = (),
    devices: Sequence[Device] | None = None,
    on_event: Callable[[str], None] | None = None,
    only: Sequence[tuple[str, int]] | None = None,
    brief: bool = False,
) -> Fit:
    """Train every config with every seed, all in one compiled call.

    A lane is one config with one seed. A lane that is trained with others differs from the same lane trained
    alone, because the order of additions depends on the number of lanes. At first the two differ by rounding;
    after about 20 iterations training has amplified the difference (up to .28 in the parameters of PPO after
    97). Neither result is better, and over seeds there is no bias. To replay one lane exactly, give the same
    arguments, with all configs and seeds, and ``only=[(arm, seed)]``. Then ``steps``, ``evaluate``,
    ``eval_every``, ``log_every`` and ``chunk`` may differ, because they change no bit of a state.

    Under `jax.disable_jit` the learner is traced once, for its shapes, and then runs uncompiled, one lane
    after another, so that a debugger or a `print` in the learner sees numbers. That is slow.

    Args:
        factory: ``factory(config) -> Learner``. `fit` calls it while tracing, with traced floats in the
            config.
        configs: one config, a list of configs, or a dict from arm name to config. Configs may differ only in
            their floats; a change of another field is another program and needs a `fit` of its own.
        seeds: distinct whole numbers in [0, 2^32). A seed draws the same batches in every arm.
        steps: the number of steps of the training, below 2^31. Where a config, or a config within it, has
            ``total_steps`` and ``interactions``, these say for how many steps its schedules are made; `fit`
            warns if ``steps`` differs from that number by more than a tenth.
        data: arrays that the sampler and the evaluation read, shared by all lanes.
        per_seed: arrays [seeds, ...] that are added to ``data`` (which is then a dict); each lane sees the
            row of its own seed.
        sampler: draws a batch from the data at each step; without a sampler the batch is ``None``.
        evaluate: ``evaluate(learner, config, key, state, data) -> {name: scalar}``. The learner is what the
            factory made of the config. `fit` evaluates after the last step; with ``eval_every`` it also
            evaluates at step 0 and at each multiple of ``eval_every``.
        eval_every: steps between evaluations.
        log_every: the number of steps over which a metric is averaged for one row. The default is that of the
            training in the folder, and a hundredth of the steps where there is none.
        chunk: the largest number of steps between two stops at the host, where signals are heard; by default
            half a second of work, and up to five seconds where a step needs much memory. It changes no
            result.
        folder: the folder of checkpoints and metrics. A training in the folder is resumed. It may be made
            longer (the rows of its earlier end stay); a training that has all its steps is returned without
            a compile. `lrn.load` reads the folder.
        save_seconds: seconds between checkpoints. `fit` always saves after the last step.
        save_every: steps between further checkpoints, besides those of ``save_seconds``.
        name: the training's name in messages.
        progress: show a bar on a terminal, or plain lines elsewhere.
        sinks: receive the rows of each chunk. After a resume they receive the rows that followed the
            checkpoint again.
        devices: the devices that carry the lanes; by default all devices of all processes. Where there are
            more devices than lanes, several devices share the work of a learner that can divide it
            (`lrn.xla.parts`).
        on_event: called with one sentence for each failure and each failed or damaged checkpoint; by default
            `fit` prints these. In a job of several processes only the main process calls it.
        only: pairs of an arm and a seed: all pairs of some arms and some seeds. `fit` trains all lanes and
            reports and returns only these. It saves nothing, so ``only`` excludes ``folder``.
        brief: whether the CPU compiles with little optimization, for trainings of seconds: the programs
            compile in a quarter of the time and run more slowly, with the same results up to rounding.

    Warns:
        ScheduleWarning: see ``steps``.
        PrecisionWarning: the learner keeps parameters in half precision.

    Raises:
        ValueError: an argument is out of range or does not fit the other arguments; raised before any
            compile.
        files.BusyError: another `fit` uses the folder.
        checkpoint.DamageError: all checkpoints in the folder are damaged.
        files.WriteError: the last checkpoint could not be saved. An earlier checkpoint that could not be
            saved is only reported to ``on_event``.
        interrupt.Interrupted: SIGTERM or SIGINT came inside of `interrupt.handled`. If there is a folder, the
            training is saved.
    """
    arms, stacked = arguments.arms_of(configs)
    seeds = arguments.seeds_of(seeds)
    arguments.check_times(steps, eval_every, log_every, chunk, save_every, save_seconds, evaluate)
    arguments.check_evaluate(evaluate)
    arguments.check_data(data, per_seed, len(seeds), sampler)
    folder = None if folder is None else Path(folder)
    reported = None if only is None else arguments.lanes_of(only, arms, seeds, folder)
    warn.of_schedules(stacked, steps)
    enable_compilation_cache()
    threefry.use()  # here and in no core: small programs spend much of their compile time on random numbers

    program = Program(
        factory, stacked, len(arms), seeds, data, per_seed or {}, sampler, evaluate, devices, brief
    )
    warn.of_precision(program.shape.state)
    writes = main_process()
    with contextlib.ExitStack() as leaving:
        bar = leaving.enter_context(Bar(name, steps)) if progress and writes else None
        say = (on_event or (bar.say if bar else print)) if writes else _say_nothing
        log = Log(name, arms, seeds, folder, sinks if writes else (), say, writes, reported)
        identity: dict[str, Any] = {}
        start = resume.Start(0, None, log_every)
        if folder is not None:
            lock = files.locked(folder)
            on_main(lambda: leaving.enter_context(lock))
            identity = resume.identity(name, arms, seeds, log_every, eval_every, stacked, program)
            start = resume.find_start(folder, identity, program.shape, log, steps, say)
        times = Times(steps, start.log_every or -(-steps // 100), eval_every, save_every, save_seconds, chunk)
        evaluates = evaluate is not None
        training = _Training(
            program, log, times, evaluates, bar, say, name, folder, identity, start.step, start.carry
        )
        del start  # the host arrays of a checkpoint are freed when they are on the devices
        training.run()
    state = jax.tree.map(lambda x: by_lane(x, len(arms), len(seeds)), training.state())
    # This order does not depend on the chunk's length.
    failures = sorted(log.failures, key=lambda f: (f.step, arms.index(f.arm), seeds.index(f.seed)))
    if reported is not None:
        grid = reported.reshape(len(arms), len(seeds))
        rows, columns = (np.flatnonzero(grid.any(axis)) for axis in (1, 0))
        state = jax.tree.map(lambda x: x[rows][:, columns], state)
        arms, seeds = tuple(arms[i] for i in rows), tuple(seeds[i] for i in columns)
    return Fit(state, log.table(), failures, arms, seeds, training.timing, training.cpu, program.memory())


def _say_nothing(_: str) -> None:
    """Take the place of ``on_event`` in a process that is not the main one."""


@dataclasses.dataclass
class _Training:
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
        """Train to the step ``stop``; the chunk's `lrn.train.program.Windows` as host arrays."""
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
