"""The driver: `fit` trains configs x seeds as one compiled call, a chunk of steps at a time.

Inside a chunk nothing leaves the accelerator. Between chunks, and only there, the host evaluates,
reports, streams metrics, looks for non-finite values and saves. The chunk's length is a number given
to one compiled loop at run time, so it changes neither the program nor a bit of the result, and
memory does not grow with the number of steps.

Keys are folded from (seed, step): a resumed training is the same training.
"""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check, checkpoint, files, interrupt
from lrn._log import Failure, Log, Sink
from lrn._program import WINDOWS, Evaluate, Program, merge
from lrn.config import stack
from lrn.lanes import Lanes, agree, any_process, main_process, on_main
from lrn.progress import Bar
from lrn.runtime import enable_compilation_cache
from lrn.table import Table
from lrn.types import Device, PyTree, Sampler, Trainable

__all__ = ["Evaluate", "Failure", "Fit", "Sink", "fit"]


class Fit(NamedTuple):
    """A finished training.

    state: the final states, leaves [arms, seeds, ...].
    table: every metric row, in order of step.
    failures: lanes that became non-finite; the others are as if those had not run.
    arms, seeds: the names of the two leading axes of ``state``.
    timing: seconds spent on "compile", "train", "evaluate", "save"; zero for what a resume skipped.
    cpu: the same in CPU-seconds of this process, over all its threads; the fair column on a shared machine.
    memory: bytes a device holds for the compiled steps: "arguments", "outputs" and "temporaries". Empty where
        nothing was compiled, or where the backend does not tell.
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
            ValueError: no such arm.
        """
        check.choice("arm", name, self.arms)
        return jax.tree.map(lambda x: x[self.arms.index(name)], self.state)


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
) -> Fit:
    """Train every config with every seed, all in one compiled call.

    Args:
        factory: ``factory(config) -> Learner``; called while tracing, with the config's floats traced.
        configs: one config, a list of them, or a dict from arm name to config. They may differ in
            floats only; anything else is another program, hence another `fit`.
        seeds: distinct whole numbers in [0, 2^32). A seed draws the same batches in every arm.
        steps: how many steps to train.
        data: arrays that the sampler and the evaluation read, shared by all lanes.
        per_seed: arrays [seeds, ...] added to ``data`` (then a dict) for each seed alone.
        sampler: draws a batch from the data at each step; without one the learner gets ``None``.
        evaluate: ``evaluate(config, key, state, data) -> {name: scalar}``, run at the end, and with
            ``eval_every`` also at step 0 and at each of its multiples.
        eval_every: steps between evaluations.
        log_every: steps that a metric is averaged over for one row; a hundredth of the training by default.
            Give it to be able to make a training in a folder longer later.
        chunk: the most steps between two looks of the host; by default about half a second's worth. It
            changes no result.
        folder: where checkpoints and metrics are kept. A training found there is resumed; a finished one
            is returned without a compile.
        save_seconds: seconds between checkpoints (one is always saved at the end).
        save_every: steps between checkpoints, besides those by time.
        name: what messages call this training.
        progress: show a bar, or plain lines when not on a terminal.
        sinks: get each chunk's rows as they come; after a resume, again those that followed the checkpoint.
        devices: lay the lanes over these; all devices of all processes by default. Where there are more of
            them than lanes, what a learner divides (`lrn.parts`) is divided among several.
        on_event: is told, one sentence each, of failures and of failed or damaged saves; printed by default.
            In a job of several processes only the main one tells.

    Raises:
        ValueError: an argument is out of range or does not fit the others; said before any compile.
        checkpoint.DamageError: the folder's checkpoints are all damaged.
        files.WriteError: the last checkpoint could not be saved; an earlier failure is only told.
        interrupt.Interrupted: inside `interrupt.handled`, SIGTERM or SIGINT came; everything is saved if
            there is a folder.
    """
    arms, stacked = _arms(configs)
    seeds = _seeds(seeds)
    for label, count in (
        ("eval_every", eval_every),
        ("log_every", log_every),
        ("chunk", chunk),
        ("save_every", save_every),
    ):
        if count is not None:
            check.integer(label, count, low=1)
    if eval_every is not None and evaluate is None:
        raise check.InputError(
            "eval_every was given and nothing to evaluate; pass evaluate= too, or neither."
        )
    check.integer("steps", steps, low=1)
    check.positive("save_seconds", save_seconds)
    _check_data(data, per_seed, len(seeds), sampler)
    folder = None if folder is None else Path(folder)
    log_every = log_every or -(-steps // 100)
    enable_compilation_cache()

    program = Program(
        factory, stacked, len(arms), seeds, data, per_seed or {}, sampler, evaluate, log_every, devices
    )
    lanes = program.lanes
    timing: dict[str, float] = dict.fromkeys(("compile", "train", "evaluate", "save"), 0.0)
    cpu = dict(timing)
    width = min(chunk or steps, (WINDOWS - 2) * log_every)

    writes = main_process()
    with Bar(name, steps) if progress and writes else contextlib.nullcontext() as bar:
        say = (on_event or (bar.say if bar else print)) if writes else _say_nothing
        log = Log(name, arms, seeds, folder, sinks if writes else (), say, writes)
        # What must agree for a checkpoint to be of this training. Functions in a config print with their
        # address, which changes from process to process; what they do is in the program.
        structure = re.sub(r" at 0x[0-9a-f]+", "", str(jax.tree.structure((stacked, program.shape))))
        identity = files.sha256_json(
            [
                [name, arms, seeds, log_every, eval_every, structure],
                [np.asarray(x).tolist() for x in jax.tree.leaves(stacked)],
                program.sha256() if folder is not None else "",
            ]
        )
        carry: Any
        step, carry = _resume(folder, identity, program.shape, log, steps, say)
        if bar:
            bar.begin(step)

        def timed(what: str, call: Callable[..., Any], *args: Any) -> Any:
            begin, spent = time.perf_counter(), time.process_time()
            result = call(*args)
            timing[what] += time.perf_counter() - begin
            cpu[what] += time.process_time() - spent
            return result

        def save() -> None:
            host = lanes.get(carry)  # in which all processes take part

            def write() -> None:
                assert folder is not None
                log.flush(step)
                checkpoint.save(folder, step, host, {"identity": identity, **log.meta()})

            try:
                on_main(write)
            except OSError as error:
                if step == steps or stopping:  # there will be no other chance
                    raise
                say(f"{name}: {error}")

        def asked() -> bool:
            """Whether a signal asked any process to stop; all stop at the same step."""
            return any_process(interrupt.requested() is not None)

        def measure() -> None:
            values = lanes.get(program.evaluate(carry, step))
            for metric, value in values.items():
                log.add(step, metric, value.astype(np.float64))
            log.failed({m: np.where(np.isfinite(v), -1, step) for m, v in values.items()})

        stopping = False
        with interrupt.deferred():
            if step < steps:
                carry = timed("compile", lambda: program.start() if carry is None else lanes.put(carry))
                timed("compile", lambda: program.compile(carry))
                if evaluate is not None and eval_every and step == 0:
                    timed("evaluate", measure)
            pace = _Pace(width, fixed=chunk is not None)
            saved = time.monotonic()
            while step < steps:
                boundaries = [(step // every + 1) * every for every in (eval_every, save_every) if every]
                stop = min([step + agree(pace.length), steps, *boundaries])
                before = timing["train"]
                carry, windows = timed("train", _advance, program, lanes, carry, step, stop)
                pace.took(stop - step, timing["train"] - before)
                log.windows(windows.mean, windows.weight, step, stop, log_every, steps)
                log.failed(windows.bad)
                step = stop
                if step == steps or (eval_every and step % eval_every == 0):
                    # Only here, so that what is reported does not depend on the chunk's length.
                    log.failed({"state": np.where(windows.finite, -1, step)})
                    if evaluate is not None:
                        timed("evaluate", measure)
                if bar:
                    bar.update(step, log.latest)
                log.stream()
                stopping = asked()
                due = agree(int(time.monotonic() - saved >= save_seconds)) or (
                    save_every and step % save_every == 0
                )
                if folder is not None and (stopping or due or step == steps):
                    timed("save", save)
                    saved = time.monotonic()
                if stopping:
                    break
            if asked():
                raise interrupt.Interrupted(interrupt.requested() or signal.SIGTERM)
    assert carry is not None
    state = jax.tree.map(
        lambda x: jnp.asarray(x.reshape(len(arms), len(seeds), *x.shape[1:])), lanes.get(carry.state)
    )
    # In an order that does not depend on the chunk's length.
    failures = sorted(log.failures, key=lambda f: (f.step, arms.index(f.arm), seeds.index(f.seed)))
    return Fit(state, log.table(), failures, arms, seeds, timing, cpu, program.memory())


def _advance(program: Program, lanes: Lanes, carry: Any, start: int, stop: int) -> tuple[Any, Any]:
    """The carry after a chunk and, on the host, what it reports."""
    carry, windows = program.advance(carry, start, stop)
    return carry, lanes.get(windows)  # which waits for the chunk


def _say_nothing(_: str) -> None:
    """What a process says that is not the main one."""


def _resume(folder: Path | None, identity: str, shape: Any, log: Log, steps: int, say: Callable[[str], None]):
    """The step and the carry (host arrays) to go on from; (0, None) to start."""
    loaded = None
    if folder is not None:
        reader = Log("", (), (), folder, (), say)  # every process checks what it reads

        def damage(meta: Mapping[str, Any]) -> str | None:
            if meta["identity"] != identity:
                raise check.InputError(
                    f"{folder} holds another training (its arms, seeds, settings or state differ); "
                    "give another folder, or remove this one to begin again."
                )
            return reader.damage(meta)

        loaded = checkpoint.load(folder, shape, damage)
    step = loaded.step if loaded else 0
    if agree(step) != step:
        raise ValueError(
            f"the processes of this job see different checkpoints in {folder}; give a shared folder."
        )
    if loaded is None:
        if folder is not None:
            log.restore(None)
        return 0, None
    for warning in loaded.warnings:
        say(warning)
    if step > steps:
        raise check.InputError(
            f"{folder} holds a training of {step} steps, more than the {steps} asked for; "
            f"ask for at least {step}, or give another folder."
        )
    log.restore(loaded.meta)
    return step, loaded.tree


class _Pace:
    """Chooses the chunk's length: about half a second of work, so that signals and bars stay prompt."""

    def __init__(self, most: int, fixed: bool, seconds: float = 0.5):
        self.length = most if fixed else min(most, 8)
        self._most, self._fixed, self._seconds = most, fixed, seconds

    def took(self, steps: int, seconds: float) -> None:
        if not self._fixed:
            wanted = int(self._seconds * steps / max(seconds, 1e-6))
            self.length = max(1, min(wanted, 16 * self.length, self._most))


def _arms(configs: Any) -> tuple[tuple[str, ...], Any]:
    if isinstance(configs, Mapping):
        named = {str(k): v for k, v in configs.items()}
    elif isinstance(configs, (list, tuple)) and not hasattr(configs, "_fields"):
        named = {str(i): c for i, c in enumerate(configs)}
    else:
        named = {"default": configs}
    if not named:
        raise ValueError("fit needs at least one config, got none; pass a config, a list, or a dict of them.")
    return tuple(named), stack(list(named.values()))


def _seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    if isinstance(seeds, (str, int)) or not hasattr(seeds, "__iter__"):
        raise ValueError(
            f"seeds must be a sequence of whole numbers, got {seeds!r}; for n seeds give range(n)."
        )
    listed = list(seeds)
    for seed in listed:
        check.integer("a seed", seed)
        if seed >= 2**32:
            raise ValueError(f"a seed must be below 2^32, got {seed}; choose a smaller one.")
    if not listed or len(set(listed)) != len(listed):
        raise ValueError(
            f"seeds must be one or more distinct numbers, got {listed}; repeat none and give at least one."
        )
    return tuple(int(s) for s in listed)


def _check_data(
    data: PyTree, per_seed: Mapping[str, Any] | None, seeds: int, sampler: Sampler | None
) -> None:
    if sampler is not None and not isinstance(sampler, Sampler):
        raise ValueError(
            f"sampler must be an lrn Sampler, got {type(sampler).__name__}; wrap the function: Sampler(draw)."
        )
    if sampler is not None and sampler.needs_data and data is None and not per_seed:
        raise ValueError("a sampler was given and no data to draw from; pass data= as a pytree of arrays.")
    for x in jax.tree.leaves(data):
        if np.shape(x) and np.shape(x)[0] == 0:
            raise ValueError("the data has an array without rows; give at least one row.")
    if per_seed:
        if data is not None and not isinstance(data, Mapping):
            raise ValueError("per_seed adds names to data, which must then be a dict of arrays.")
        for label, value in per_seed.items():
            if np.ndim(value) < 1 or np.shape(value)[0] != seeds:
                raise ValueError(
                    f"per_seed[{label!r}] has shape {list(np.shape(value))} and there are {seeds} seeds; "
                    "its first axis is the seed."
                )
        merge(data, per_seed)
