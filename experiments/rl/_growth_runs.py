"""Runs of a method on tasks of growing size: its menu, the choice of a setting, the episodes until solved."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.rl._growth_laws import (
    EXPONENTIAL,
    LEAD,
    POWER,
    SPREAD,
    log_medians,
    measured,
    observed,
    planted,
    spread_of,
)
from experiments.rl._growth_tasks import (
    COUNTS,
    OPTIMISM,
    POLICY,
    RANDOM,
    TABLE,
    UCB,
    VALUES,
    Most,
    Size,
    program,
)
from lrn import check
from lrn.study.context import Context
from lrn.study.select import EDGE, select

ROWS, SHOWN, MATTER, WIDTH, DEPTH = "rows", "bits shown", "bits that matter", "width", "depth"
TWO = "Q-network, two bits"
STEPS, SHARE, SEEN, RATIO = "log2 episodes, at least", "solved", "largest size", "episodes, over theory"
IDLE, COUNTED, BRIEFLY = "no learning", "by the learner's count", 16
GREEDY = {"epsilon_start": 0.0, "epsilon_end": 0.0, "initial": 0.0, "beta": 0.0, "learning_rate": 1.0}
ALWAYS = {**GREEDY, "epsilon_start": 1.0, "epsilon_end": 1.0}
SCALES = (0.1, 0.3, 1.0, 3.0)
MENUS: dict[str, list[dict[str, float]]] = {
    RANDOM: [ALWAYS],
    UCB: [{"ucb_scale": v} for v in (0.1, 1.0, 10.0, 100.0)],
    OPTIMISM: [{**GREEDY, "initial": v} for v in SCALES],
    COUNTS: [{**GREEDY, "initial": v, "beta": v / 10} for v in SCALES],
    TABLE: [{"learning_rate": v} for v in (0.25, 0.5, 0.75, 1.0)],
    VALUES: [{"learning_rate": v} for v in (1e-2, 3e-2, 1e-1, 3e-1)],
    POLICY: [{"learning_rate": v, "entropy_coefficient": 0.1} for v in (1e-3, 3e-3, 1e-2, 3e-2)],
}
UNTAUGHT: dict[str, dict[str, float]] = {
    RANDOM: {**ALWAYS, "learning_rate": 0.0},
    VALUES: {"learning_rate": 1e-12},
}


class Series(NamedTuple):
    """A method on tasks of growing size.

    axis: what grows. label: its name in figures. method: of learning. expected: the law that is predicted to
    lead; "" where nothing is predicted; "cheap" where twice the size should cost under sqrt(2) as many.
    """

    axis: str
    label: str
    method: str
    expected: str = ""

    @property
    def arm(self) -> str:
        """The name of the arm."""
        return f"{self.axis}: {self.label}"


def size_of(config: Any, series: Series, n: int) -> Size:
    """The task and the network of a series at a size."""
    if series.axis in (WIDTH, DEPTH):
        return Size(config.bits, 2, *((n, config.depth) if series.axis == WIDTH else (config.width, n)))
    matter = {MATTER: n, SHOWN: 1 + (series.label == TWO)}.get(series.axis, 1)
    return Size(n, matter, config.width, config.depth)


def most_of(config: Any, series: Series) -> Most:
    """The largest size of the program of a series; series with as large a size share a program."""
    largest = size_of(config, series, config.along(series.axis)[-1])
    if series.method in (VALUES, POLICY):
        return Most(largest.task, largest.width, largest.depth)
    return Most(config.table if series.method == TABLE else largest.task)


def grow(config: Any, context: Context, series: Series) -> None:
    """Run a series at every size and record its episodes and their growth."""
    sizes, limit, steps = config.along(series.axis), config.limit(series.axis), grown(config, context, series)
    most = observed(steps)
    context.record(series.arm, measured(sizes, steps, limit))
    context.record(series.arm, SPREAD, spread_of(steps, limit))
    context.record(series.arm, SEEN, np.full(len(steps), float(sizes[most - 1]) if most else 0.0))
    if series.method == RANDOM:
        context.record(series.arm, RATIO, steps[:, 0].mean(1) / (2.0 ** (sizes[0] + 1) - 2))


def plant(law: str, axis: str) -> str:
    """The arm of a planted law over the sizes of an axis."""
    return f"planted {law}, {axis}"


def plants(config: Any, context: Context, axis: str, spread: float) -> None:
    """Record the leads of planted laws, with the sizes, the limit, the seeds and the runs of an axis."""
    sizes, limit = config.along(axis), config.limit(axis)
    for law in (POWER, EXPONENTIAL):
        steps = planted(law, sizes, limit, context.seeds, config.runs(axis), spread)
        context.record(plant(law, axis), LEAD, measured(sizes, steps, limit)[LEAD])


def grown(config: Any, context: Context, series: Series) -> np.ndarray:
    """Run a series at every size; episodes [seeds, sizes, runs], infinite if given up."""
    sizes, limit, seeds = config.along(series.axis), config.limit(series.axis), len(context.seeds)
    steps, edges = [], 0.0
    for n in sizes:
        if steps and np.isinf(steps[-1]).all():
            steps.append(steps[-1])  # not run
        elif series.method == TABLE and n > config.table:
            # A table is right in nine of ten contexts where it knows eight of them.
            if 0.7 * 2**n < limit:
                raise check.InputError(f"a table of {n} bits may be learned in time; raise table to {n}.")
            steps.append(np.full_like(steps[-1], np.inf))
        else:
            found = context.once(f"{series.arm} {n}", functools.partial(solve, config, context, series, n))
            context.given(series.arm, {"environment steps": found["played"].sum(1)})
            context.given(f"{series.arm}, {COUNTED}", {"environment steps": found["counted"].sum(1)})
            steps.append(found["episodes"])
            edges += float(found["edge"])
        least = np.minimum(log_medians(steps[-1]), np.log2(limit))
        context.record(series.arm, {STEPS: least, SHARE: np.isfinite(steps[-1]).mean(1)}, step=n)
    if len(MENUS[series.method]) > 1:
        context.given(series.arm, {"candidates": len(MENUS[series.method])})
        context.record(series.arm, EDGE, np.full(seeds, edges))
    return np.stack(steps, 1)


def solve(config: Any, context: Context, series: Series, n: int) -> dict[str, Any]:
    """Choose the setting of a series at a size on other seeds, and run it on the judged seeds.

    The candidate all of whose runs are solved first is chosen; if none is, that with the most solved runs.

    Returns:
        episodes, played, counted: [seeds, runs], see `program`; episodes are infinite if given up.
        edge: 1 if the choice, by runs that solved the task, is at the edge of the menu.
    """
    menu, shape = MENUS[series.method], (len(context.seeds), config.runs(series.axis))
    learn = functools.partial(_learn, config, context, series, n, config.limit(series.axis))
    best, edge = 0, 0.0
    if len(menu) > 1:
        others = _keys([(seed + 2**31) % 2**32 for seed in context.seeds], shape[1])
        groups = np.arange(len(others)) % len(menu)
        tried, fair = learn(others, menu, groups)["episodes"], len(others) // len(menu)
        scores = np.log([tried[groups == i][:fair] for i in range(len(menu))])
        choice = select({series.arm: scores}, "lower")[series.arm]
        best, edge = choice.only, float(choice.edge) if np.isfinite(choice.score) else 0.0
    found = learn(_keys(context.seeds, shape[1]), menu, np.full(shape[0] * shape[1], best))
    return {**{k: x.reshape(shape) for k, x in found.items()}, "edge": np.asarray(edge)}


def untaught(config: Any, context: Context, series: Series, n: int) -> None:
    """Record what a series without learning solves at a size, in a part of the episodes."""
    runs, name = config.runs(series.axis), f"{series.arm}, {IDLE}"
    keys, few = _keys(context.seeds, runs), config.limit(series.axis) // BRIEFLY
    learn = functools.partial(_learn, config, context, series, n, few, keys, [UNTAUGHT[series.method]])
    solved = np.isfinite(context.once(name, lambda: learn(np.zeros(len(keys), int)))["episodes"])
    context.record(name, SHARE, solved.reshape(-1, runs).mean(1))


def _keys(seeds: Any, runs: int) -> Any:
    """A key for each run of each seed, [seeds * runs]."""
    own = jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))
    return jax.vmap(lambda key: jax.random.split(key, runs))(own).reshape(-1)


def _learn(
    config: Any,
    context: Context,
    series: Series,
    n: int,
    limit: int,
    keys: Any,
    menu: list[dict[str, float]],
    groups: np.ndarray,
) -> dict[str, np.ndarray]:
    """Runs with the settings ``menu[groups]``; episodes [runs] are infinite where a run was given up."""
    search = program(series.method, most_of(config, series), context.preset == "smoke")
    settings = {k: np.asarray([menu[i][k] for i in groups], np.float32) for k in menu[0]}
    size = jax.tree.map(np.int32, size_of(config, series, n))
    found = search(keys, settings, np.asarray(groups, np.int32), size, np.int32(limit))
    each = {k: np.asarray(x, float) for k, x in found.items()}
    return {**each, "episodes": np.where(each["episodes"] > 0, each["episodes"], np.inf)}
