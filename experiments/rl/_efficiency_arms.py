"""The arms of the study of sample efficiency: their menus, their trainings, and what is recorded of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from experiments.rl import _efficiency_nets as nets
from experiments.rl import _efficiency_tables as tables
from experiments.rl._efficiency_tables import COUNTED, ERROR, LAST, WORTH, Arm
from lrn import train
from lrn.study.context import Context
from lrn.study.curves import first_time
from lrn.study.select import select

MAZE, RANDOM, PENDULUM = "the maze", "random MDPs", "Pendulum"
FREE, BASED, TRUE = "model-free", "model-based", "the true model"
ONE, FALSE, SMALL = "one update", "a false model", "a small model"
LEVELS, SUSTAINED, LAST_PLACE = (0.5, 0.75, 0.9), 2, -10.0
SAVING, DECIDED, SOLVED = "log2 of the saving", "decided", "arrived"
BIAS, LASTING, FLATTERY, FINAL = "bias on arrival", "bias", "flattery on arrival", "worth in the end"
PARTS = (4, 2, 1)
SMALL_UNITS = 3.0


def arm(place: str, who: str) -> str:
    """The name of an arm."""
    return f"{place}: {who}"


def to(level: float, what: str = SAVING) -> str:
    """The metric of what concerns another level of worth."""
    return what if level == LEVELS[-1] else f"{what}, to {level:g}"


class Curves(NamedTuple):
    """What evaluations saw, in the order of the seeds: worths and errors [seeds, evaluations + 1]."""

    worth: np.ndarray
    error: np.ndarray


def table_menu() -> dict[str, list[dict[str, float]]]:
    """Twelve settings for each arm with a table; those of a model are of two kinds."""
    fine, coarse, initial = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8), (0.1, 0.3, 1.0), (0.0, 1.0)
    free = [{"rate": r, "initial": i} for i, r in product(initial, fine)]
    kinds = product((LAST, COUNTED), initial, coarse)
    based = [{"source": s, "initial": i, "rate": r} for s, i, r in kinds]
    return {FREE: free, ONE: [{**x, "more": 0.0} for x in free], BASED: based}


SHAPES = {FREE: (2, 6), ONE: (2, 6), BASED: (2, 2, 3)}
# Learners that are given a model, the truth or one that mistakes an action for another.
GIVEN = {TRUE: {"given": 1.0}, FALSE: {"given": -1.0}}


def others(config: Any, context: Context) -> list[int]:
    """Seeds that choose and are not judged."""
    return [(seed + 2**31) % 2**32 for seed in context.seeds[: config.selection]]


def in_tables(config: Any, context: Context) -> dict[str, Curves]:
    """Choose every arm's setting on other seeds, train it, and return the curves of all arms."""
    base = Arm(
        steps=config.table_steps,
        interactions=config.table_steps // config.evaluations,
        updates=config.table_updates,
    )
    menu = table_menu()
    places = {MAZE: 0.0, RANDOM: 1.0}
    tried = {
        f"{i} {arm(p, who)}": replace(base, random=r, **setting)
        for p, r in places.items()
        for who, settings in menu.items()
        for i, setting in enumerate(settings)
    }
    options: dict[str, Any] = {
        "steps": config.evaluations, "log_every": config.evaluations,
        "evaluate": tables.evaluate_table, "eval_every": 1,
    }  # fmt: skip

    def chosen() -> dict[str, np.ndarray]:
        seeds = others(config, context)
        found = train.fit(tables.table_learner, tried, seeds, progress=False, **options).table
        return {name: lateness(found.curve(name, WORTH)[1], config.table_steps) for name in tried}

    scores = context.once("tables: choices", chosen)
    arms: dict[str, Arm] = {}
    for p, r in places.items():
        own = {who: np.stack([scores[f"{i} {arm(p, who)}"] for i in range(len(menu[who]))]) for who in menu}
        shaped = {who: x.reshape(*SHAPES[who], -1) for who, x in own.items()}
        for who, choice in select(shaped, "lower").items():
            context.chosen(arm(p, who), choice, len(menu[who]))
            setting = menu[who][int(np.ravel_multi_index(choice.place, SHAPES[who]))]
            arms[arm(p, who)] = replace(base, random=r, **setting)
        for who, setting in GIVEN.items():
            arms[arm(p, who)] = replace(base, random=r, source=COUNTED, rate=1.0, **setting)
    for name, c in arms.items():
        context.given(name, {"updates": c.steps * (1 + c.updates * c.more)})
    table = context.fit(tables.table_learner, arms, name="tables", **options).table
    return {name: curves(table, name, context.seeds) for name in arms}


def on_pendulum(config: Any, context: Context) -> dict[str, Curves]:
    """The same with networks."""
    menus = {FREE: _free, BASED: _based}
    scores = context.once("Pendulum: choices", partial(_tried_on_pendulum, config, context, menus))
    choices, found = select({who: scores[who] for who in menus}, "lower"), {}
    for who, of in menus.items():
        context.chosen(arm(PENDULUM, who), choices[who], len(config.rates))
        chosen = of(config, config.rates[choices[who].only])
        arms = {arm(PENDULUM, who): chosen}
        if who == BASED:
            arms[arm(PENDULUM, TRUE)] = replace(chosen, exact=1.0)
            arms[arm(PENDULUM, SMALL)] = replace(chosen, units=SMALL_UNITS)
        for name in arms:
            context.given(name, {"gradient steps": config.net_steps * config.updates})
        table = context.fit(**_trained(config, who), arms=arms, name=f"Pendulum, {who}").table
        found |= {name: curves(table, name, context.seeds) for name in arms}
        if who == BASED:
            for h, a in product(nets.HORIZONS, arms):
                context.record(a, over(h), np.abs(at_end(table, a, f"{ERROR} over {h}", context.seeds)))
    return found


def over(horizon: int) -> str:
    """The metric of a bias over a horizon."""
    return f"{LASTING} over {horizon}"


def _free(config: Any, rate: float) -> Any:
    return nets.soft(rate, config.updates, config.net_steps, config.batch)


def _based(config: Any, rate: float) -> Any:
    model = nets.DynamicsConfig(learning_rate=rate)
    return nets.Planner(model, updates=config.updates, batch=config.batch, steps=config.net_steps)


def _trained(config: Any, who: str) -> dict[str, Any]:
    """The arguments of a fit of one side."""
    based, steps = who == BASED, config.net_steps // 10
    return {
        "factory": nets.model_based if based else nets.model_free,
        "evaluate": nets.evaluate_model_based if based else nets.evaluate_model_free,
        "steps": steps,
        "eval_every": steps // (config.evaluations // 2),
        "log_every": steps,
    }


def _tried_on_pendulum(config: Any, context: Context, menus: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """By side, how late its settings are on other seeds, [rates, seeds]."""
    found = {}
    for who, of in menus.items():
        arms = {f"{rate:g}": of(config, rate) for rate in config.rates}
        options = {**_trained(config, who), "brief": True, "progress": False}
        table = train.fit(configs=arms, seeds=others(config, context), **options).table
        found[who] = np.stack([lateness(table.curve(name, WORTH)[1], config.net_steps) for name in arms])
    return found


def arrivals(worth: np.ndarray, most: int, level: float = LEVELS[-1]) -> np.ndarray:
    """The real steps [seeds] until a worth is at a level twice in a row; infinite if it never is."""
    steps = most * np.arange(worth.shape[1]) / (worth.shape[1] - 1)
    return np.maximum(first_time(steps, worth, level, SUSTAINED), steps[1])


def lateness(worth: np.ndarray, most: int) -> np.ndarray:
    """What chooses settings, lower is better [seeds]: log2 of the arrival.

    A run that does not arrive comes after all that do; the more it is worth on the way, the better.
    """
    arrived, way = arrivals(worth, most), np.clip(worth, -1.0, 1.0).mean(1)
    return np.where(np.isfinite(arrived), np.log2(arrived), np.log2(most) + 2.0 - way)


def savings(free: np.ndarray, based: np.ndarray, most: int, fold: float) -> tuple[np.ndarray, np.ndarray]:
    """How many times as many real steps one learner takes as another, log2 [seeds], and whether it is known.

    Where only the first does not arrive, the saving is at least that of an arrival at the end. Where the
    second does not, the saving takes the last place. Whether a saving exceeds ``fold`` is unknown where
    neither arrives, and where the first does not and its least saving is no larger.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        saving = np.where(np.isfinite(based), np.log2(np.minimum(free, most) / based), LAST_PLACE)
    unknown = ~np.isfinite(free) & ~(saving > np.log2(fold))
    return saving, (~unknown).astype(float)


def curves(table: Any, name: str, seeds: Sequence[int]) -> Curves:
    """The curves of an arm in the order of the seeds."""
    order = np.argsort(np.argsort(seeds))
    worth = table.curve(name, WORTH)[1][order]
    known = ERROR in set(table.metric[table.arm == name])
    return Curves(worth, table.curve(name, ERROR)[1][order] if known else np.full(worth.shape, np.nan))


def at_end(table: Any, name: str, metric: str, seeds: Sequence[int]) -> np.ndarray:
    """The last values of a metric in the order of the seeds."""
    return table.curve(name, metric)[1][np.argsort(np.argsort(seeds)), -1]


def record(context: Context, found: Mapping[str, Curves], place: str, most: int, fold: float) -> None:
    """Record arrivals, savings and biases at a place."""
    mine = {name: c for name, c in found.items() if name.startswith(f"{place}: ")}
    for name, seen in mine.items():
        record_arm(context, name, seen, most)
    pairs = [(FREE, BASED, FREE), (FREE, TRUE, TRUE), (ONE, BASED, ONE)]
    for (slow, fast, name), level in product(pairs, LEVELS):
        if arm(place, slow) in mine:
            late, early = (arrivals(mine[arm(place, x)].worth, most, level) for x in (slow, fast))
            saving, known = savings(late, early, most, fold)
            context.record(arm(place, name), {to(level): saving, to(level, DECIDED): known})


def record_arm(context: Context, name: str, seen: Curves, most: int) -> None:
    """Record whether an arm arrives, and how far off it is on arrival (else in the end) and along the way."""
    arrived, last = arrivals(seen.worth, most), seen.worth.shape[1] - 1
    context.record(name, {SOLVED: np.isfinite(arrived).astype(float), FINAL: seen.worth[:, -1]})
    if np.isfinite(seen.error).any():
        then = np.rint(np.minimum(arrived / most, 1.0) * last).astype(int)
        error = seen.error[np.arange(len(then)), then]
        context.record(name, {BIAS: np.abs(error), FLATTERY: error})
        for part in PARTS:
            context.record(name, LASTING, np.abs(seen.error[:, last // part]), most // part)
