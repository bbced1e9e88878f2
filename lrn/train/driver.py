"""The driver: `fit` trains configs x seeds as one compiled call, a chunk of steps at a time.

Inside a chunk nothing leaves the accelerator. Between chunks, and only there, the host evaluates,
reports, streams metrics, looks for non-finite values and saves. The chunk's length is an argument of one
compiled loop, so it changes neither the program nor a bit of the result, and memory does not grow with
the number of steps.

Keys are folded from (seed, step), so a resumed training equals an uninterrupted one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lrn import files
from lrn.train import arguments, resume, warn
from lrn.train.chunks import Training
from lrn.train.job import main_process, on_main
from lrn.train.log import Failure, Log, Sink
from lrn.train.pace import Times
from lrn.train.program import Evaluate, Program
from lrn.train.progress import Bar
from lrn.train.result import Fit
from lrn.train.saved import by_lane
from lrn.train.warn import PrecisionWarning, ScheduleWarning
from lrn.types import Device, PyTree, Sampler, Trainable
from lrn.xla import threefry
from lrn.xla.runtime import enable_compilation_cache

__all__ = ["Evaluate", "Failure", "Fit", "PrecisionWarning", "ScheduleWarning", "Sink", "fit"]


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
        training = Training(
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
