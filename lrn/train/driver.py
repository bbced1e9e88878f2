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
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from lrn import check, files, interrupt
from lrn.table import Table
from lrn.train import arguments, checkpoint, resume, warn
from lrn.train.job import agree, any_process, main_process, on_main
from lrn.train.log import Failure, Log, Sink
from lrn.train.program import WINDOWS, Evaluate, Program
from lrn.train.progress import Bar
from lrn.train.saved import by_lane, one_arm, one_lane
from lrn.train.warn import PrecisionWarning, ScheduleWarning
from lrn.types import Device, PyTree, Sampler, Trainable
from lrn.xla import threefry
from lrn.xla.runtime import enable_compilation_cache

__all__ = ["Evaluate", "Failure", "Fit", "PrecisionWarning", "ScheduleWarning", "Sink", "fit"]

T = TypeVar("T")

_TIMED = ("compile", "train", "evaluate", "save")


class Fit(NamedTuple):
    """A finished training.

    state: the final states, leaves [arms, seeds, ...].
    table: all metric rows, in order of step.
    failures: the first `Failure` of each lane that failed. A failed lane changes nothing in other lanes.
    arms, seeds: the names of the two leading axes of ``state``.
    timing: seconds spent on "compile", "train", "evaluate" and "save"; work that a resume skipped costs 0.
    cpu: CPU-seconds of this process, over all its threads, under the keys of ``timing``. On a shared machine
        these are the fair measure.
    memory: the bytes that the compiled steps take on one device: "arguments", "outputs" and "temporaries".
        Empty where nothing was compiled, and where the backend does not report its memory.
    """

    state: PyTree
    table: Table
    failures: list[Failure]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    timing: dict[str, float]
    cpu: dict[str, float]
    memory: dict[str, int]

    def arm(self, name: str) -> PyTree:
        """The final states of one arm, leaves [seeds, ...].

        Raises:
            ValueError: there is no such arm.
        """
        return one_arm(self.state, self.arms, name)

    def lane(self, arm: str, seed: int) -> PyTree:
        """The final state of one arm and seed, as the learner's `step` and `policy` take it.

        Raises:
            ValueError: there is no such arm or seed.
        """
        return one_lane(self.state, self.arms, self.seeds, arm, seed)

    def lost(self, arm: str) -> np.ndarray:
        """Whether each seed of an arm failed (became non-finite), bool [seeds].

        Raises:
            ValueError: there is no such arm.
        """
        check.choice("arm", arm, self.arms)
        failed = {f.seed for f in self.failures if f.arm == arm}
        return np.array([seed in failed for seed in self.seeds])


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

    program = Program(factory, stacked, len(arms), seeds, data, per_seed or {}, sampler, evaluate, devices)
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
        times = _Times(
            steps, start.log_every or -(-steps // 100), eval_every, save_every, save_seconds, chunk
        )
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


class _Times(NamedTuple):
    """When the host acts; all in steps, except ``save_seconds``; see the arguments of `fit`."""

    steps: int
    log_every: int
    eval_every: int | None
    save_every: int | None
    save_seconds: float
    chunk: int | None

    def evaluates_at(self, step: int) -> bool:
        """Whether the host checks, and where there is an evaluation evaluates, the states after ``step``."""
        return step == self.steps or bool(self.eval_every and step % self.eval_every == 0)

    def end_of_chunk(self, step: int, length: int) -> int:
        """The step at which a chunk ends that begins at ``step`` and has at most ``length`` steps."""
        multiples = [(step // every + 1) * every for every in (self.eval_every, self.save_every) if every]
        return min([step + length, self.steps, *multiples])


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
    times: _Times
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
            seconds = _chunk_seconds(self.program.memory().get("temporaries", 0))
            pace = _Pace(self._longest_chunk(), fixed=self.times.chunk is not None, seconds=seconds)
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

    def _do_chunk(self, pace: _Pace) -> None:
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


# On a CPU each call of a compiled function takes its temporary memory anew from the system, which clears each
# page: .3 to .6 seconds a GB, nearly half the time of a training with half a GB in chunks of one step.
SECONDS_A_BYTE = 0.5e-9
PROMPT, PATIENT, OVERHEAD = 0.5, 5.0, 0.05


def _chunk_seconds(temporary_bytes: int) -> float:
    """The length of a chunk in which that memory costs a twentieth of the time, within bounds."""
    if jax.default_backend() != "cpu":
        return PROMPT
    return min(max(PROMPT, temporary_bytes * SECONDS_A_BYTE / OVERHEAD), PATIENT)


class _Pace:
    """Chooses the length of a chunk: some seconds of work, so that signals and bars stay prompt."""

    def __init__(self, most: int, fixed: bool, seconds: float = PROMPT):
        self.length = most if fixed else min(most, 8)
        self._most, self._fixed, self._seconds = most, fixed, seconds

    def took(self, steps: int, seconds: float) -> None:
        """Adapt ``length`` to the ``seconds`` that the last chunk, of ``steps`` steps, took."""
        if not self._fixed:
            wanted = int(self._seconds * steps / max(seconds, 1e-6))
            self.length = max(1, min(wanted, 16 * self.length, self._most))
