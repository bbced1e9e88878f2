"""Tasks of exploration, as many ways to explore them, and one learner that differs in nothing else.

A world is a family of tasks that differ in depth: Ascent with one of four sets of actions, DeepSea, or the
continuous car, whose force is one of three or of nine.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import nets
from lrn.config import config
from lrn.rl.agent import Agent, memoryless
from lrn.rl.env import Env, discretize, make, require_discrete
from lrn.rl.evaluate import evaluator, rollouts
from lrn.rl.exploration import Coding, tiles
from lrn.rl.exploration.ascent import LEAST, ascent, heights
from lrn.rl.exploration.deep_sea import deep_sea, table
from lrn.rl.exploration.explorer import Explorer, explorer

ONE, JOINT, GRID, GRIDS = "two levels", "two levels of 3 engines", "five levels", "five levels of 3 engines"
SEA, CAR, FINE = "DeepSea", "car, three forces", "car, nine forces"
EPSILON = {
    "annealed": [{"epsilon": 1.0, "epsilon_end": 0.05, "fraction": f} for f in (0.1, 0.3, 0.9)],
    "constant": [{"epsilon": e, "epsilon_end": e} for e in (0.1, 0.3, 0.6)],
}
NOISES = {"white": {"theta": 50.0}, "OU": {"theta": 0.15}, "pink": {"pink": 1.0}}


class World(NamedTuple):
    """Tasks that differ in depth alone, and what the learner is given there.

    levels, engines: of the actions. discrete: whether the claim takes them for discrete, or for a grid over
    what is continuous. unit: of values, for the menus. rate: of learning. mark: the mean return, over so many
    episodes, above which a task is solved.
    """

    levels: int
    engines: int = 1
    discrete: bool = True
    unit: float = 1.0
    rate: float = 1.0
    mark: float = 0.5
    episodes: int = 1


ASCENTS = {ONE: World(2), JOINT: World(2, 3), GRID: World(5, 1, False), GRIDS: World(5, 3, False)}
CARS = {CAR: World(3, 1, True, 10.0, 0.5, 50.0, 4), FINE: World(9, 1, False, 10.0, 0.5, 50.0, 4)}
KNOWN = {SEA: World(2), **CARS}
WORLDS = {**ASCENTS, **KNOWN}


@config
class Arm:
    """All that arms of one program differ in: the task's depth, what a fall costs, how to explore."""

    depth: float
    fall: float
    way: Explorer


def menu(world: World) -> dict[str, list[dict[str, float]]]:
    """The three settings of each way of exploring, by the fields of `Explorer`."""
    scales = [world.unit * v for v in (0.1, 1.0, 10.0)]
    paid = [{"beta": v / 10, "initial": v} for v in scales]  # what was never tried beats ten first visits
    noises = {k: [{"noise": v, **kind} for v in (0.5, 1.0, 2.0)] for k, kind in NOISES.items()}
    found = {**EPSILON, "optimistic": [{"initial": v} for v in scales], "counts": paid, "RND": paid}
    return found if world.discrete else {**found, **noises}


def right(world: World) -> float:
    """The share of Ascent's actions that make the glider rise, counted one by one."""
    thrusts = itertools.product(np.linspace(-1, 1, world.levels), repeat=world.engines)
    return float(np.mean([np.mean(thrust) >= LEAST for thrust in thrusts]))


def facts(env: Env) -> dict[str, float]:
    """What an Ascent shows when it is played: the return of full thrust, the share of actions that rise."""
    actions, key = require_discrete(env, "facts"), jax.random.key(0)
    full = memoryless(lambda _, seen: jnp.full(len(seen), actions - 1))
    _, ground = env.reset(key)
    rises = jax.vmap(lambda action: ~env.move(key, ground, action)[1].terminated)(jnp.arange(actions))
    played = rollouts(env, full, key, (), 1)
    return {"best return": float(played.returns[0]), "right actions": float(rises.mean())}


def place(name: str, most: int) -> tuple[Callable[[Arm], Env], Coding]:
    """A world as it is played, no task of it deeper than ``most``: an arm's environment, and its coding."""
    world = WORLDS[name]
    if name == SEA:
        return lambda c: deep_sea(c.depth, most), table(most)
    if name in CARS:
        force = discretize(make("MountainCarContinuous-v0"), world.levels)
        return lambda c: force, tiles((-1.2, -0.07), (0.6, 0.07), (8, 8))
    return lambda c: discretize(ascent(c.depth, world.engines, most, c.fall), world.levels), heights(most)


def trained(
    fit: Callable[..., Any], name: str, most: int, arms: Mapping[str, Arm], steps: int, evaluations: int
) -> dict[str, np.ndarray]:
    """Train arms in one world; whether each seed, in order, has solved its task: [seeds, evaluations + 1].

    Args:
        fit: `lrn.train.fit` or `lrn.study.Context.fit`.
        name: of the world.
        most: the largest depth.
        arms: by name; those that end in "RND" explore by it.
        steps: of the environment.
        evaluations: how many after the first, which is at step 0.
    """
    env_of, coding = place(name, most)
    world = WORLDS[name]

    def learner(c: Arm, novel: bool) -> Agent:
        axes, net = 0 if world.discrete else world.engines, nets.mlp(4, (8,)) if novel else None
        return explorer(env_of(c), coding, c.way, steps, axes, net)

    found: dict[str, np.ndarray] = {}
    for novel in (False, True):
        mine = {k: c for k, c in arms.items() if k.endswith("RND") == novel}
        make_one = functools.partial(learner, novel=novel)
        options = {"log_every": steps, "eval_every": steps // evaluations}
        evaluate = evaluator(make_one, env_of, world.episodes)
        part = f"{name}{', RND' if novel else ''}"
        table_ = fit(make_one, mine, name=part, steps=steps, evaluate=evaluate, **options).table
        found |= {k: (table_.curve(k, "greedy_return")[1] > world.mark).astype(float) for k in mine}
    return found
