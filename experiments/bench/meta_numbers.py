"""``python -m experiments.bench meta_numbers [--only NAME ...] [--slow] [--json FILE]``: published numbers.

Each line meta-trains by a protocol of the literature and evaluates on 600 new tasks for each seed. The
mean over seeds is compared with the published figure, and shown with its 95% t interval; with one seed
the interval is over tasks. The exit code is 1 if any line falls short. Seeds 0 to 9 are only for this
comparison: settings that the literature leaves open were chosen on validation characters, with seeds from
    1000 on.

Sinusoids (Finn et al. 2017): K = 10, two layers of 40, meta-batches of 25, Adam with rate 1e-3, 30,000
iterations. The figure is the mean squared error after 1, 5 and 10 steps. A few diverged tasks can
determine a mean, so the median and the fraction of diverged tasks are shown too.

Omniglot: 1,200 characters for training and 423 for test, with quarter turns, at 28 x 28 pixels. Every
    query is
judged alone, except in lines with "transductive" in their name. There BatchNorm takes the statistics of
all queries of a task, with as many queries of a class as shots, as in the published figures of MAML and
MAML++ (whose BatchNorm has parameters for each inner step; lrn's has not). Lines with ``budget`` in their
name use networks without normalization and a budget that two cores manage in 40 minutes. ``--slow`` runs
the published networks and budgets, each of which takes an hour to days on one core; use a GPU. With
``--save`` a stopped line can be resumed.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import tyro

from lrn import check, nets, stats, train
from lrn.data.few_shot import omniglot
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import TaskFamily, episodes
from lrn.meta.evaluate import evaluator
from lrn.meta.families.few_shot import few_shot
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.learner import MetaLearner
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.maml_plus_plus import MAMLPlusPlusConfig, maml_plus_plus
from lrn.meta.pooled import PooledConfig, pooled
from lrn.meta.problem import Problem, classification, regression
from lrn.meta.prototypical import PrototypicalConfig, prototypical
from lrn.types import Array, Key, Net, NetState, Params, State
from lrn.xla.runtime import device_per_processor


@dataclasses.dataclass
class Args:
    """What to run."""

    only: tuple[str, ...] = ()
    """Names of lines, or parts of names; by default all lines that are not slow."""
    slow: bool = False
    """Run the published budgets on Omniglot too."""
    seeds: int = 0
    """The number of seeds; by default ten for sinusoids and one for Omniglot."""
    first_seed: int = 0
    """The first seed; use 1000 and above for trials."""
    iterations: int = 0
    """The number of meta-iterations in place of the line's, for trials."""
    part: str = "test"
    """The characters to evaluate on: "test" after training on "development", "validation" after "train"."""
    tasks: int = 600
    """The number of tasks to evaluate on."""
    save: Path | None = None
    """A folder for checkpoints, from which the same command resumes."""
    json: Path | None = None
    """A file for the figures, as JSON; lines of earlier runs stay in the file."""


Tasks = TaskFamily | Callable[[Any], TaskFamily]  # a family, or a function from the data to a family


class Judged(NamedTuple):
    """An evaluation of a trained learner.

    known: from a number of steps to the published figure: the most for a loss, the least for an accuracy.
    learner: ``learner(config)``, the learner to evaluate. problem: its problem. family: the tasks.
    """

    known: Mapping[int, float]
    learner: Callable[[Any], MetaLearner]
    problem: Problem
    family: Tasks


class Line(NamedTuple):
    """A training with its evaluations.

    learner: ``learner(config)``, the learner to train. config: its config. family: its tasks.
    tasks: the number of tasks in a meta-batch. iterations: the number of meta-iterations.
    judged: the evaluations by name; a single evaluation has the name "".
    """

    learner: Callable[[Any], MetaLearner]
    config: Any
    family: Tasks
    tasks: int
    iterations: int
    judged: Mapping[str, Judged]

    @property
    def score(self) -> str:
        """The score that is compared: "loss" or "accuracy"."""
        return "loss" if all(j.problem.outputs == 1 for j in self.judged.values()) else "accuracy"


def main(argv: list[str]) -> int:
    """Train, judge, compare; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench meta_numbers", description=__doc__)
    check.integer("seeds", args.seeds, low=0)
    check.integer("iterations", args.iterations, low=0)
    check.integer("tasks", args.tasks, low=2)
    check.choice("part", args.part, ("test", "validation"))
    device_per_processor()
    every = {**SINUSOID, **OMNIGLOT, **SLOW}
    known = every if args.slow or args.only else {**SINUSOID, **OMNIGLOT}
    parts = [part.lower() for part in args.only if part not in known]
    chosen = [n for n in known if not args.only or n in args.only or any(part in n.lower() for part in parts)]
    if not chosen:
        raise check.InputError(f"no line is called {args.only[0]!r}; {check.nearest(args.only[0], every)}")
    print(f"{'':<34}{'steps':>12}{'mean':>28}{'known':>8}{'median':>9}{'diverged':>10}{'minutes':>9}")
    reached = True
    for name in chosen:
        row = measure(known[name](), args, name)
        for k, figure in row["at"].items():
            interval = f"{figure['mean']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}]"
            goal = f"{figure['known']:g}" if figure["known"] is not None else ""
            mark = "" if figure["reached"] else "  short of it"
            print(
                f"{name:<34}{k:>12}{interval:>28}{goal:>8}{figure['median']:>9.4g}{figure['diverged']:>10.2%}"
                f"{row['seconds'] / 60:>9.1f}{mark}",
                flush=True,
            )
            reached &= figure["reached"]
        if args.json:
            before = json.loads(args.json.read_text()) if args.json.exists() else {}
            args.json.write_text(json.dumps({**before, name: row}, indent=1))
    return int(not reached)


def measure(line: Line, args: Args, name: str) -> dict[str, Any]:
    """The figures of one line."""
    small = name in SINUSOID
    count = args.seeds or (10 if small else 1)
    data = None
    if not small:
        training = "development" if args.part == "test" else "train"
        data = {"training": omniglot(training).images, "testing": omniglot(args.part).images}
    folder = None
    if args.save:
        folder = args.save / "_".join(f"{name} {args.part}".replace(",", "").split())
    clock = _Clock(folder)
    # Many seeds of a small network train fastest on one device.
    devices = jax.devices()[:1] if small and jax.default_backend() == "cpu" else None
    fit = train.fit(
        line.learner,
        line.config,
        range(args.first_seed, args.first_seed + count),
        steps=args.iterations or line.iterations,
        sampler=episodes(line.family, line.tasks),
        data=data,
        evaluate=_evaluate(line.judged, args.tasks),
        folder=folder,
        sinks=(clock,),
        save_seconds=60.0,
        progress=not small,
        devices=devices,
    )
    return {
        "at": {
            f"{test} {k}".strip(): _figures(fit.table, line.score, f"{test} " * bool(test), k, known)
            for test, judged in line.judged.items()
            for k, known in judged.known.items()
        },
        "score": line.score,
        "seeds": count,
        "iterations": args.iterations or line.iterations,
        "seconds": clock.seconds(),
        "config": repr(line.config),
        "device": jax.devices()[0].device_kind,
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
    }


class _Clock:
    """The seconds of a training, summed over the processes that began and resumed it."""

    def __init__(self, folder: Path | None):
        self._file = folder / "seconds" if folder else None
        self._before = float(self._file.read_text()) if self._file and self._file.exists() else 0.0
        self._begin, self._trained = time.perf_counter(), False

    def write(self, table: Any) -> None:
        """Note that something was trained; `lrn.train.fit` calls this as on every sink."""
        del table
        self._trained = True
        self.seconds()

    def close(self) -> None:
        """Do nothing; `lrn.train.fit` calls this as on every sink."""

    def seconds(self) -> float:
        """The seconds so far; a process that only finds a finished training adds none."""
        spent = self._before + self._trained * (time.perf_counter() - self._begin)
        if self._file and self._trained:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(str(spent))
        return spent


def _evaluate(judged: Mapping[str, Judged], tasks: int) -> Callable[..., Mapping[str, Array]]:
    evaluators = {
        f"{name} " * bool(name): (j.learner, evaluator(j.problem, j.family, tasks=tasks, at=tuple(j.known)))
        for name, j in judged.items()
    }

    # What is judged may adapt otherwise than what was trained.
    def evaluate(trained: Any, config: Any, key: Key, state: State, data: Any) -> Mapping[str, Array]:
        del trained
        return {
            name + score: value
            for name, (learner, judge) in evaluators.items()
            for score, value in judge(learner(config), config, key, state, data).items()
        }

    return evaluate


def _figures(table: Any, score: str, test: str, k: int, known: float) -> dict[str, Any]:
    values = table.final("default", f"{test}{score}@{k}")
    if len(values) > 1:
        interval = stats.t_interval(values)
        mean, low, high = interval.estimate, interval.low, interval.high
    else:
        half = float(table.final("default", f"{test}{score}@{k} halfwidth")[0])
        mean, low, high = float(values[0]), float(values[0]) - half, float(values[0]) + half
    better = mean <= known if score == "loss" else mean >= known
    return {
        "mean": mean,
        "low": low,
        "high": high,
        "by_seed": values.tolist(),
        "median": float(np.median(table.final("default", f"{test}{score}@{k} median"))),
        "diverged": float(table.final("default", f"{test}diverged@{k}").mean()),
        "known": known if np.isfinite(known) else None,
        "reached": bool(better or not np.isfinite(known)),
    }


def _smaller(net: Net, factor: float) -> Net:
    """The network with its initial weights multiplied by a factor."""

    def init(key: Key, x: Array) -> tuple[Params, NetState]:
        params, state = net.init(key, x)
        return jax.tree.map(lambda p: factor * p, params), state

    return Net(init, net.apply)


def _sinusoid(known: tuple[float, ...], learner: Any, config: Any) -> Line:
    # The initial weights have half of He's standard deviation, about as in PyTorch. With the whole
    # deviation and inputs of up to 5 the loss has such a curvature that five steps of .01 diverge: the
    # training of every second seed ends within 500 iterations.
    problem = regression(_smaller(nets.mlp(None, (40, 40)), 0.5))
    made = functools.partial(learner, problem)
    judged = Judged(dict(zip((1, 5, 10), known)), made, problem, sinusoid())
    return Line(made, config, sinusoid(), 25, 30_000, {"": judged})


def _maml(steps: int, rate: float, order: str = "second") -> MAMLConfig:
    return MAMLConfig(inner=InnerConfig(steps=steps, rate=rate, order=order))


SINUSOID: dict[str, Callable[[], Line]] = {
    "sinusoid MAML, 1 step": lambda: _sinusoid((0.507, 0.324, 0.251), maml, _maml(1, 0.01)),
    "sinusoid MAML, 5 steps": lambda: _sinusoid((0.665, 0.180, 0.140), maml, _maml(5, 0.01)),
    "sinusoid FOMAML, 1 step": lambda: _sinusoid((0.561, 0.290, 0.210), maml, _maml(1, 0.01, "first")),
    # These two lines are for comparison, without a published figure; the rate was not tuned.
    "sinusoid MAML, rate .001": lambda: _sinusoid((np.inf,) * 3, maml, _maml(1, 0.001)),
    "sinusoid pooled": lambda: _sinusoid(
        (np.inf,) * 3, pooled, PooledConfig(fine_tune=InnerConfig(rate=0.001))
    ),
}


def _characters(part: str, ways: int, shots: int, queries: int) -> Callable[[Any], TaskFamily]:
    return lambda data: few_shot(data[part], ways, shots, queries, rotations=True)


def _omniglot(
    known: float,
    ways: int,
    shots: int,
    learner: Any,
    config: Any,
    tasks: int,
    iterations: int,
    at: int,
    statistics: str = "transductive",
) -> Line:
    """A line of a learner with an inner loop, with four strided blocks and one query of a class per shot."""
    body = nets.conv4() if statistics == "none" else nets.conv4(norm="batch", reduce="mean")
    problem = classification(body, ways, statistics)
    made = functools.partial(learner, problem)
    queries = _queries(shots) if statistics == "none" else shots
    judged = Judged({at: known}, made, problem, _characters("testing", ways, shots, queries))
    return Line(made, config, _characters("training", ways, shots, shots), tasks, iterations, {"": judged})


def _prototypes(
    shots: int, iterations: int, known: Mapping[int, float], body: Net, statistics: str, ways: int = 60
) -> Line:
    """A line of prototypical networks, with one episode per step and more ways in training than at test."""

    def learner(ways: int) -> tuple[Callable[[Any], MetaLearner], Problem]:
        problem = classification(body, ways, statistics)
        return functools.partial(prototypical, problem), problem

    judged = {
        f"{n}w{shots}s": Judged({0: figure}, *learner(n), _characters("testing", n, shots, _queries(shots)))
        for n, figure in known.items()
    }
    train = _characters("training", ways, shots, 5)
    return Line(learner(ways)[0], PrototypicalConfig(), train, 1, iterations, judged)


def _queries(shots: int) -> int:
    return min(15, 20 - shots)  # a character has 20 drawings


def _falling(rate: Any) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(rate, BUDGET))


BUDGET = 24_000  # meta-steps of MAML, which two cores do in less than 40 minutes

OMNIGLOT: dict[str, Callable[[], Line]] = {
    "omniglot prototypes 5w1s, budget": lambda: _prototypes(1, 4_000, {5: 0.97}, nets.conv4(), "none"),
    "omniglot MAML 5w1s, budget": lambda: _omniglot(
        0.97, 5, 1, maml, dataclasses.replace(_maml(1, 0.4), optimizer=_falling), 32, BUDGET, 3, "none"
    ),
}


def _published(shots: int, known: Mapping[int, float]) -> Line:
    # PyTorch's moving averages keep .9 of the old value.
    return _prototypes(shots, 20_000, known, nets.conv4(down="pool", norm="batch", momentum=0.9), "running")


def _finn(known: float, ways: int, shots: int) -> Line:
    if ways == 5:
        return _omniglot(known, ways, shots, maml, _maml(1, 0.4), 32, 40_000, 3)
    return _omniglot(known, ways, shots, maml, _maml(5, 0.1), 16, 40_000, 5)


def _antoniou(known: float, ways: int, shots: int) -> Line:
    settings = MAMLPlusPlusConfig()
    return _omniglot(known, ways, shots, maml_plus_plus, settings, 8, settings.total_steps, 5)


SLOW: dict[str, Callable[[], Line]] = {
    "omniglot prototypes 1s": lambda: _published(1, {5: 0.988, 20: 0.960}),
    "omniglot prototypes 5s": lambda: _published(5, {5: 0.997, 20: 0.989}),
    "omniglot MAML 5w1s, transductive": lambda: _finn(0.987, 5, 1),
    "omniglot MAML 5w5s, transductive": lambda: _finn(0.999, 5, 5),
    "omniglot MAML 20w1s, transductive": lambda: _finn(0.958, 20, 1),
    "omniglot MAML 20w5s, transductive": lambda: _finn(0.989, 20, 5),
    "omniglot MAML++ 5w1s, transductive": lambda: _antoniou(0.994, 5, 1),
    "omniglot MAML++ 5w5s, transductive": lambda: _antoniou(0.998, 5, 5),
    "omniglot MAML++ 20w1s, transductive": lambda: _antoniou(0.976, 20, 1),
    "omniglot MAML++ 20w5s, transductive": lambda: _antoniou(0.993, 20, 5),
}
