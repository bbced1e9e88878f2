"""The driver: `fit` trains configs x seeds as one compiled call, a chunk of steps at a time.

Inside a chunk nothing leaves the accelerator. Between chunks, and only there, the host evaluates,
reports, streams metrics, looks for non-finite values and saves. The chunk's length is a number given
to one compiled loop at run time, so it changes neither the program nor a bit of the result, and
memory does not grow with the number of steps.

Keys are folded from (seed, step): a resumed training is the same training.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lrn import check, files, interrupt
from lrn.config import stack
from lrn.table import Table
from lrn.train import checkpoint, warn
from lrn.train.job import agree, any_process, main_process, on_main
from lrn.train.lanes import Lanes
from lrn.train.log import Failure, Log, Sink
from lrn.train.program import WINDOWS, Evaluate, Program, merge, sha256
from lrn.train.progress import Bar
from lrn.train.saved import by_lane, one_arm, one_lane
from lrn.train.warn import PrecisionWarning, ScheduleWarning
from lrn.types import Device, PyTree, Sampler, Trainable
from lrn.xla import threefry
from lrn.xla.runtime import enable_compilation_cache

__all__ = ["Evaluate", "Failure", "Fit", "PrecisionWarning", "ScheduleWarning", "Sink", "fit"]


class Fit(NamedTuple):
    """A finished training.

    state: the final states, leaves [arms, seeds, ...].
    table: every metric row, in order of step.
    failures: the first `Failure` of each lane that has one; the others are as if those had not run.
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
        return one_arm(self.state, self.arms, name)

    def lane(self, arm: str, seed: int) -> PyTree:
        """The final state of one arm and seed, as the learner's `step` and `policy` take it.

        Raises:
            ValueError: no such arm or seed.
        """
        return one_lane(self.state, self.arms, self.seeds, arm, seed)

    def lost(self, arm: str) -> np.ndarray:
        """Which seeds of an arm became non-finite, bool [seeds].

        Raises:
            ValueError: no such arm.
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

    A lane (one config with one seed) is not bit for bit what the same config and seed give when trained
    alone: lanes that are computed together add in another order. The difference is one of rounding at first,
    and after about 20 iterations what the training makes of it (up to .28 in the parameters of PPO after 97).
    Neither is the better one, and over seeds there is no bias. To replay one lane exactly, give the same
    arguments, with all configs and seeds, and ``only=[(arm, seed)]``. Of the others ``steps``, ``evaluate``,
    ``eval_every``, ``log_every`` and ``chunk`` may differ, for they change no bit of a state.

    Under `jax.disable_jit` the learner is traced once, for its shapes, and then runs uncompiled, one lane
    after another, so that a debugger or a `print` in it sees numbers. That is slow.

    Args:
        factory: ``factory(config) -> Learner``; called while tracing, with the config's floats traced.
        configs: one config, a list of them, or a dict from arm name to config. They may differ in
            floats only; anything else is another program, hence another `fit`.
        seeds: distinct whole numbers in [0, 2^32). A seed draws the same batches in every arm.
        steps: how many steps to train, below 2^31. Where the config, or one in it, says by ``total_steps``
            and ``interactions`` what its schedules are made for, a training that is longer or shorter by
            more than a tenth warns.
        data: arrays that the sampler and the evaluation read, shared by all lanes.
        per_seed: arrays [seeds, ...] added to ``data`` (then a dict) for each seed alone.
        sampler: draws a batch from the data at each step; without one the learner gets ``None``.
        evaluate: ``evaluate(learner, config, key, state, data) -> {name: scalar}``, run at the end, and with
            ``eval_every`` also at step 0 and at each of its multiples. The learner is what the factory made
            of the config.
        eval_every: steps between evaluations.
        log_every: steps that a metric is averaged over for one row; by default what the training in the
            folder has, or else a hundredth of the steps.
        chunk: the most steps between two looks of the host; by default about half a second's worth. It
            changes no result.
        folder: where checkpoints and metrics are kept. A training found there is resumed, also to be made
            longer (the rows of its earlier end stay); a finished one is returned without a compile.
            `lrn.load` reads it.
        save_seconds: seconds between checkpoints (one is always saved at the end).
        save_every: steps between checkpoints, besides those by time.
        name: what messages call this training.
        progress: show a bar, or plain lines when not on a terminal.
        sinks: get each chunk's rows as they come; after a resume, again those that followed the checkpoint.
        devices: lay the lanes over these; all devices of all processes by default. Where there are more of
            them than lanes, what a learner divides (`lrn.xla.parts`) is divided among several.
        on_event: is told, one sentence each, of failures and of failed or damaged saves; printed by default.
            In a job of several processes only the main one tells.
        only: lanes, as all pairs of some arms and seeds: all lanes are trained, and only these are reported
            and returned. Nothing is saved: not with ``folder``.

    Warns:
        ScheduleWarning: see ``steps``.
        PrecisionWarning: the learner keeps parameters in half precision.

    Raises:
        ValueError: an argument is out of range or does not fit the others; said before any compile.
        files.BusyError: another `fit` is running in the folder.
        checkpoint.DamageError: the folder's checkpoints are all damaged.
        files.WriteError: the last checkpoint could not be saved; an earlier failure is only told.
        interrupt.Interrupted: inside `interrupt.handled`, SIGTERM or SIGINT came; everything is saved if
            there is a folder.
    """
    arms, stacked = _arms(configs)
    seeds = _seeds(seeds)
    check.integer("steps", steps, low=1)
    for label, number in (
        ("steps", steps),
        ("eval_every", eval_every),
        ("log_every", log_every),
        ("chunk", chunk),
        ("save_every", save_every),
    ):
        if number is not None:
            check.integer(label, number, low=1)
            if number >= 2**31:
                raise check.InputError(f"{label} must be below 2^31, got {number}; choose a smaller one.")
    if eval_every is not None and evaluate is None:
        raise check.InputError(
            "eval_every was given and nothing to evaluate; pass evaluate= too, or neither."
        )
    check.positive("save_seconds", save_seconds)
    _check_evaluate(evaluate)
    _check_data(data, per_seed, len(seeds), sampler)
    folder = None if folder is None else Path(folder)
    kept = None if only is None else _kept(only, arms, seeds, folder)
    warn.of_schedules(stacked, steps)
    enable_compilation_cache()
    threefry.use()  # here and in no core: drawing is much of what programs of small steps compile

    program = Program(factory, stacked, len(arms), seeds, data, per_seed or {}, sampler, evaluate, devices)
    warn.of_precision(program.shape.state)
    lanes = program.lanes
    timing: dict[str, float] = dict.fromkeys(("compile", "train", "evaluate", "save"), 0.0)
    cpu = dict(timing)

    writes = main_process()
    with contextlib.ExitStack() as leaving:
        bar = leaving.enter_context(Bar(name, steps)) if progress and writes else None
        say = (on_event or (bar.say if bar else print)) if writes else _say_nothing
        log = Log(name, arms, seeds, folder, sinks if writes else (), say, writes, kept)
        identity: dict[str, Any] = {}
        step = 0
        carry: Any = None
        if folder is not None:
            own = folder
            on_main(lambda: leaving.enter_context(files.locked(own)))
            identity = _identity(name, arms, seeds, log_every, eval_every, stacked, program)
            step, carry = _resume(folder, identity, program.shape, log, steps, say)
            log_every = identity["log_every"]  # that of the training found there
        log_every = log_every or -(-steps // 100)
        identity["log_every"] = log_every
        width = min(chunk or steps, steps, (WINDOWS - 2) * log_every)
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
                meta = {"identity": identity, "steps": steps, **log.meta()}
                checkpoint.save(folder, step, host, meta)

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
                carry, windows = timed("train", _advance, program, lanes, carry, step, stop, log_every)
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
    state = jax.tree.map(lambda x: by_lane(x, len(arms), len(seeds)), lanes.get(carry.state))
    # In an order that does not depend on the chunk's length.
    failures = sorted(log.failures, key=lambda f: (f.step, arms.index(f.arm), seeds.index(f.seed)))
    if kept is not None:
        grid = kept.reshape(len(arms), len(seeds))
        rows, columns = (np.flatnonzero(grid.any(axis)) for axis in (1, 0))
        state = jax.tree.map(lambda x: x[rows][:, columns], state)
        arms, seeds = tuple(arms[i] for i in rows), tuple(seeds[i] for i in columns)
    return Fit(state, log.table(), failures, arms, seeds, timing, cpu, program.memory())


def _advance(
    program: Program, lanes: Lanes, carry: Any, start: int, stop: int, every: int
) -> tuple[Any, Any]:
    """The carry after a chunk and, on the host, what it reports."""
    carry, windows = program.advance(carry, start, stop, every)
    return carry, lanes.get(windows)  # which waits for the chunk


def _say_nothing(_: str) -> None:
    """What a process says that is not the main one."""


def _identity(
    name: str,
    arms: Sequence[str],
    seeds: Sequence[int],
    log_every: int | None,
    eval_every: int | None,
    configs: Any,
    program: Program,
) -> dict[str, Any]:
    """What must agree for a checkpoint to be of this training; JSON values."""
    # Functions in a config print with their address, which changes from process to process; what they do is
    # in the program.
    structure = re.sub(r" at 0x[0-9a-f]+", "", str(jax.tree.structure((configs, program.shape))))
    return {
        "name": name,
        "arms": list(arms),
        "seeds": list(seeds),
        "log_every": log_every,
        "eval_every": eval_every,
        "configs": sha256([np.asarray(x) for x in jax.tree.leaves(configs)]),
        "structure": files.sha256_json(structure),
        **program.sha256(),
    }


_MEANS = {
    "configs": "the configs",
    "structure": "the static settings or the form of the state",
    "init": "what init computes",
    "step": "what a step computes",
    "evaluation": "the evaluation",
    "data": "the data",
}


def _differences(theirs: Any, ours: Mapping[str, Any]) -> list[str]:
    """What differs between the identities of two trainings, for people."""
    if not isinstance(theirs, Mapping):
        return ["the version of lrn"]
    differ = [k for k in ours if theirs.get(k) != ours[k]] + [k for k in theirs if k not in ours]
    short = lambda value: (text := str(value))[:60] + "..." * (len(text) > 60)  # noqa: E731
    return [
        _MEANS.get(k) or f"{k}, {short(theirs.get(k))} there and {short(ours.get(k))} here" for k in differ
    ]


def _resume(
    folder: Path, identity: dict[str, Any], shape: Any, log: Log, steps: int, say: Callable[[str], None]
) -> tuple[int, Any]:
    """The step and the carry (host arrays) to go on from; (0, None) to start.

    Where ``identity`` leaves ``log_every`` open it takes that of the training found.
    """
    reader = Log("", (), (), folder, (), say)  # every process checks what it reads

    def damage(meta: Mapping[str, Any]) -> str | None:
        theirs = meta.get("identity")
        if identity["log_every"] is None and isinstance(theirs, Mapping):
            identity["log_every"] = theirs.get("log_every")
        if differ := _differences(theirs, identity):
            raise check.InputError(
                f"{folder} holds another training (what differs: {'; '.join(differ)}); "
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
        check.integer("seed", seed)
        if seed >= 2**32:
            raise ValueError(f"seed must be below 2^32, got {seed}; choose a smaller one.")
    if not listed or len(set(listed)) != len(listed):
        raise ValueError(
            f"seeds must be one or more distinct numbers, got {listed}; repeat none and give at least one."
        )
    return tuple(int(s) for s in listed)


def _kept(
    only: Sequence[tuple[str, int]], arms: tuple[str, ...], seeds: tuple[int, ...], folder: Path | None
) -> np.ndarray:
    """Which lanes [lanes] `only` names."""
    if folder is not None:
        raise check.InputError("only= replays lanes and saves nothing; leave out folder=.")
    grid = np.zeros((len(arms), len(seeds)), bool)
    for pair in only:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise check.InputError(
                f"only= lists pairs of an arm and a seed, got {pair!r}; give [(arm, seed)]."
            )
        arm, seed = pair
        check.choice("the arm in only=", arm, arms)
        if seed not in seeds:
            raise check.InputError(f"only= names the seed {seed!r}, which is not among seeds={list(seeds)}.")
        grid[arms.index(arm), seeds.index(seed)] = True
    if not grid.any() or grid.sum() != grid.any(1).sum() * grid.any(0).sum():
        raise check.InputError(
            f"only= must name all pairs of its arms and seeds, at least one, got {list(only)}; "
            "call fit for each of them."
        )
    return grid.reshape(-1)


def _check_evaluate(evaluate: Evaluate | None) -> None:
    if evaluate is None:
        return
    try:
        inspect.signature(evaluate).bind(*[None] * 5)
    except TypeError:
        raise check.InputError(
            f"evaluate takes {inspect.signature(evaluate)}; let it take (learner, config, key, state, data)."
        ) from None
    except ValueError:  # a function without a signature
        return


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
    if sampler is not None and sampler.check is not None:
        own = {k: np.asarray(v) for k, v in (per_seed or {}).items()}
        for i in range(seeds if own else 1):
            sampler.check(merge(data, {k: v[i] for k, v in own.items()}))
