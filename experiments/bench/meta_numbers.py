"""``python -m experiments.bench meta_numbers [--only NAME ...] [--slow] [--json FILE]``: published numbers.

Each line meta-trains by a protocol of the literature and is judged on 600 new tasks a seed. What is held
against the known figure is the mean over seeds; with several seeds its 95% t interval is given, with one the
interval over the tasks. The exit code is 1 if any line falls short. Seeds 0 to 9 are for this alone: what the
literature leaves open was chosen on validation characters with seeds from 1000 on.

Sinusoids (Finn et al. 2017): K = 10, two layers of 40, meta-batch 25, Adam 1e-3, 30,000 iterations; the
mean squared error after 1, 5 and 10 steps. Its mean can be that of a few tasks which diverged, so the median
and the fraction of such tasks are shown beside it.

Omniglot: 1,200 characters to train, 423 to test, turned by quarters; 28 x 28. Every query is judged by
itself: no batch statistics. Lines with ``budget`` in their name are cut to what two cores do in 40 minutes;
the published budgets run with ``--slow`` and want a GPU.
"""

from __future__ import annotations

import dataclasses
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
from lrn.runtime import device_per_processor
from lrn.types import Array, Key, Net, NetState, Params


@dataclasses.dataclass
class Args:
    """What to run."""

    only: tuple[str, ...] = ()
    """Names of lines, or parts of names; all that are not slow by default."""
    slow: bool = False
    """Also the published budgets on Omniglot."""
    seeds: int = 0
    """How many; by default ten for sinusoids and one for Omniglot."""
    first_seed: int = 0
    """The first of them; from 1000 on for trials."""
    iterations: int = 0
    """Cut the training, for trials."""
    part: str = "test"
    """The characters to judge on: "test" after training on "development", "validation" after "train"."""
    tasks: int = 600
    """To judge on."""
    json: Path | None = None
    """Also write the figures here; lines of an earlier run stay in it."""


class Line(NamedTuple):
    """A training, what it is judged on, and what is known of it.

    known: by number of steps, the figure to reach: a loss from above, an accuracy from below.
    tested: ``tested(data)``, and with another problem and learner where the ways of training differ.
    """

    known: Mapping[int, float]
    learner: Callable[[Any], MetaLearner]
    problem: Problem
    config: Any
    family: TaskFamily | Callable[[Any], TaskFamily]
    tested: TaskFamily | Callable[[Any], TaskFamily]
    tasks: int
    iterations: int
    test_learner: Callable[[Any], MetaLearner] | None = None
    test_problem: Problem | None = None

    @property
    def score(self) -> str:
        """What is compared."""
        return "loss" if self.problem.outputs == 1 else "accuracy"


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
    print(f"{'':<34}{'steps':>6}{'mean':>28}{'known':>8}{'median':>9}{'diverged':>10}{'minutes':>9}")
    reached = True
    for name in chosen:
        row = measure(known[name](), args, name in SINUSOID)
        for k, found in row["at"].items():
            interval = f"{found['mean']:.4g} [{found['low']:.4g}, {found['high']:.4g}]"
            goal = f"{found['known']:g}" if found["known"] is not None else ""
            mark = "" if found["reached"] else "  short of it"
            print(
                f"{name:<34}{k:>6}{interval:>28}{goal:>8}{found['median']:>9.4g}{found['diverged']:>10.2%}"
                f"{row['seconds'] / 60:>9.1f}{mark}",
                flush=True,
            )
            reached &= found["reached"]
        if args.json:
            before = json.loads(args.json.read_text()) if args.json.exists() else {}
            args.json.write_text(json.dumps({**before, name: row}, indent=1))
    return int(not reached)


def measure(line: Line, args: Args, small: bool) -> dict[str, Any]:
    """The figures of one line."""
    begin = time.perf_counter()
    count = args.seeds or (10 if small else 1)
    data = None
    if not small:
        training = "development" if args.part == "test" else "train"
        data = {"training": omniglot(training).images, "testing": omniglot(args.part).images}
    # On a CPU only a large network with several tasks a step gains by a device for each processor.
    one = jax.default_backend() == "cpu" and (small or line.tasks == 1)
    devices = jax.devices()[: 1 if one else None]
    fit = train.fit(
        line.learner,
        line.config,
        range(args.first_seed, args.first_seed + count),
        steps=args.iterations or line.iterations,
        sampler=episodes(line.family, line.tasks),
        data=data,
        evaluate=evaluator(
            line.test_learner or line.learner,
            line.test_problem or line.problem,
            line.tested,
            tasks=args.tasks,
            at=tuple(line.known),
        ),
        progress=not small,
        devices=devices,
    )
    return {
        "at": {k: _figures(fit.table, line, k) for k in line.known},
        "score": line.score,
        "seeds": count,
        "iterations": args.iterations or line.iterations,
        "seconds": time.perf_counter() - begin,
        "cpu": fit.cpu,
        "config": repr(line.config),
        "device": f"{len(devices)} x {devices[0].device_kind}",
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
    }


def _figures(table: Any, line: Line, k: int) -> dict[str, Any]:
    values = table.final("default", f"{line.score}@{k}")
    if len(values) > 1:
        interval = stats.t_interval(values)
        mean, low, high = interval.estimate, interval.low, interval.high
    else:
        half = float(table.final("default", f"{line.score}@{k} halfwidth")[0])
        mean, low, high = float(values[0]), float(values[0]) - half, float(values[0]) + half
    known = line.known[k]
    better = mean <= known if line.score == "loss" else mean >= known
    return {
        "mean": mean,
        "low": low,
        "high": high,
        "by_seed": values.tolist(),
        "median": float(np.median(table.final("default", f"{line.score}@{k} median"))),
        "diverged": float(table.final("default", f"diverged@{k}").mean()),
        "known": known if np.isfinite(known) else None,
        "reached": bool(better or not np.isfinite(known)),
    }


def _smaller(net: Net, factor: float) -> Net:
    """The network with its first weights scaled by a factor."""

    def init(key: Key, x: Array) -> tuple[Params, NetState]:
        params, state = net.init(key, x)
        return jax.tree.map(lambda p: factor * p, params), state

    return Net(init, net.apply)


def _sinusoid(known: tuple[float, ...], learner: Any, config: Any) -> Line:
    # Half of He's deviation, about what PyTorch begins with. From the whole, inputs of up to 5 curve the loss
    # so much that five steps of .01 diverge: training of every second seed ends within 500 iterations.
    problem = regression(_smaller(nets.mlp(None, (40, 40)), 0.5))
    return Line(
        dict(zip((1, 5, 10), known)), lambda c: learner(problem, c), problem, config,
        sinusoid(), sinusoid(), 25, 30_000,
    )  # fmt: skip


def _maml(steps: int, rate: float, order: str = "second") -> MAMLConfig:
    return MAMLConfig(inner=InnerConfig(steps=steps, rate=rate, order=order))


SINUSOID: dict[str, Callable[[], Line]] = {
    "sinusoid MAML, 1 step": lambda: _sinusoid((0.507, 0.324, 0.251), maml, _maml(1, 0.01)),
    "sinusoid MAML, 5 steps": lambda: _sinusoid((0.665, 0.180, 0.140), maml, _maml(5, 0.01)),
    "sinusoid FOMAML, 1 step": lambda: _sinusoid((0.561, 0.290, 0.210), maml, _maml(1, 0.01, "first")),
    # For comparison: no figure to reach, and a rate that was not tuned.
    "sinusoid MAML, rate .001": lambda: _sinusoid((np.inf,) * 3, maml, _maml(1, 0.001)),
    "sinusoid pooled": lambda: _sinusoid(
        (np.inf,) * 3, pooled, PooledConfig(fine_tune=InnerConfig(rate=0.001))
    ),
}


def _characters(part: str, ways: int, shots: int, queries: int) -> Callable[[Any], TaskFamily]:
    return lambda data: few_shot(data[part], ways, shots, queries, rotations=True)


def _omniglot(
    known: float, ways: int, shots: int, learner: Any, config: Any, tasks: int, iterations: int, at: int
) -> Line:
    """A learner with an inner loop: as many queries of a class as shots, four strided blocks, no norm."""
    problem = classification(nets.conv4(), ways)
    return Line(
        {at: known}, lambda c: learner(problem, c), problem, config,
        _characters("training", ways, shots, shots), _characters("testing", ways, shots, _queries(shots)),
        tasks, iterations,
    )  # fmt: skip


def _prototypes(known: float, ways: int, shots: int, iterations: int, train_ways: int = 60) -> Line:
    """Trained with more ways than it is tested with, an episode a step (Snell et al. 2017)."""
    wide, narrow = (classification(nets.conv4(), n) for n in (train_ways, ways))
    return Line(
        {0: known}, lambda c: prototypical(wide, c), wide, PrototypicalConfig(),
        _characters("training", train_ways, shots, 5), _characters("testing", ways, shots, _queries(shots)),
        1, iterations, lambda c: prototypical(narrow, c), narrow,
    )  # fmt: skip


def _queries(shots: int) -> int:
    return min(15, 20 - shots)  # there are 20 drawings of a character


def _falling(rate: Any) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(rate, BUDGET))


BUDGET = 24_000  # meta-steps of MAML that two cores do in 40 minutes, with time to spare

OMNIGLOT: dict[str, Callable[[], Line]] = {
    "omniglot prototypes 5w1s, budget": lambda: _prototypes(0.97, 5, 1, 4_000),
    "omniglot MAML 5w1s, budget": lambda: _omniglot(
        0.97, 5, 1, maml, dataclasses.replace(_maml(1, 0.4), optimizer=_falling), 32, BUDGET, 3
    ),
}


def _plus_plus(known: float, ways: int, shots: int) -> Line:
    settings = MAMLPlusPlusConfig()
    return _omniglot(known, ways, shots, maml_plus_plus, settings, 8, settings.total_steps, 5)


SLOW: dict[str, Callable[[], Line]] = {
    "omniglot MAML 5w1s": lambda: _omniglot(0.987, 5, 1, maml, _maml(1, 0.4), 32, 40_000, 3),
    "omniglot MAML 5w5s": lambda: _omniglot(0.999, 5, 5, maml, _maml(1, 0.4), 32, 40_000, 3),
    "omniglot MAML 20w1s": lambda: _omniglot(0.958, 20, 1, maml, _maml(5, 0.1), 16, 40_000, 5),
    "omniglot MAML 20w5s": lambda: _omniglot(0.989, 20, 5, maml, _maml(5, 0.1), 16, 40_000, 5),
    "omniglot prototypes 5w1s": lambda: _prototypes(0.988, 5, 1, 20_000),
    "omniglot prototypes 5w5s": lambda: _prototypes(0.997, 5, 5, 20_000),
    "omniglot prototypes 20w1s": lambda: _prototypes(0.960, 20, 1, 20_000),
    "omniglot prototypes 20w5s": lambda: _prototypes(0.989, 20, 5, 20_000),
    "omniglot MAML++ 5w1s": lambda: _plus_plus(0.994, 5, 1),
    "omniglot MAML++ 5w5s": lambda: _plus_plus(0.998, 5, 5),
    "omniglot MAML++ 20w1s": lambda: _plus_plus(0.976, 20, 1),
    "omniglot MAML++ 20w5s": lambda: _plus_plus(0.993, 20, 5),
}
