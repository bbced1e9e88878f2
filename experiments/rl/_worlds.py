"""Tasks of exploration, as many ways to explore them, and one learner that differs in nothing else.

A world is a family of tasks that differ in depth: Ascent with one of four sets of actions, DeepSea, or the
continuous car, whose force is one of three or of nine.
"""

from __future__ import annotations

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
from lrn.rl.exploration.deep_sea import deep_sea
from lrn.rl.exploration.deep_sea import table as sea_table
from lrn.rl.exploration.explorer import Explorer, explorer

ONE, JOINT, GRID, GRIDS = "discrete", "discrete in 3D", "continuous", "continuous in 3D"
SEA, CAR, FINE = "DeepSea", "car, three forces", "car, nine forces"
EPSILON = {
    "annealed": [{"epsilon": 1.0, "epsilon_end": 0.05, "fraction": f} for f in (0.25, 0.5, 1.0)],
    "constant": [{"epsilon": e, "epsilon_end": e} for e in (0.2, 0.5, 1.0)],
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
    # What was never tried is worth ten first visits, as a greedy learner would prefer what has paid one.
    counts = [{"beta": v / 10, "initial": v} for v in scales]
    novel = [{"novelty": v / 10, "initial": v} for v in scales]
    noises = {k: [{"noise": v, **kind} for v in (0.5, 1.0, 2.0)] for k, kind in NOISES.items()}
    ways = {**EPSILON, "optimistic": [{"initial": v} for v in scales], "counts": counts, "RND": novel}
    return ways if world.discrete else {**ways, **noises}


def right(world: World) -> float:
    """The share of Ascent's actions that make the glider rise, counted one by one."""
    thrusts = itertools.product(np.linspace(-1, 1, world.levels), repeat=world.engines)
    return float(np.mean([np.mean(thrust) >= LEAST for thrust in thrusts]))


def place(name: str, most: int) -> tuple[Callable[[Arm], Env], Coding]:
    """A world as it is played, no task of it deeper than ``most``: an arm's environment, and its coding."""
    world = WORLDS[name]
    if name == SEA:
        return lambda c: deep_sea(c.depth, most), sea_table(most)
    if name in CARS:
        force = discretize(make("MountainCarContinuous-v0"), world.levels)
        return lambda c: force, tiles((-1.2, -0.07), (0.6, 0.07), (8, 8))
    return lambda c: discretize(ascent(c.depth, world.engines, most, c.fall), world.levels), heights(most)


def facts(name: str, depth: int) -> dict[str, float]:
    """What an Ascent shows when it is played: the return of full thrust, the share of actions that rise."""
    env = place(name, depth)[0](Arm(float(depth), 0.0, Explorer()))
    actions, key = require_discrete(env, "facts"), jax.random.key(0)
    full = memoryless(lambda _, seen: jnp.full(len(seen), actions - 1))
    _, ground = env.reset(key)
    rises = jax.vmap(lambda action: ~env.move(key, ground, action)[1].terminated)(jnp.arange(actions))
    played = rollouts(env, full, key, (), 1)
    return {"best return": float(played.returns[0]), "right actions": float(rises.mean())}


def trained(
    fit: Callable[..., Any], name: str, most: int, arms: Mapping[str, Arm], steps: int, evaluations: int
) -> dict[str, np.ndarray]:
    """Train arms in one world; whether each seed, in order, has solved its task: [seeds, evaluations + 1].

    Args:
        fit: `lrn.train.fit` or `lrn.study.Context.fit`.
        name: of the world.
        most: the largest depth.
        arms: by name.
        steps: of the environment.
        evaluations: how many after the first, which is at step 0.
    """
    env_of, coding = place(name, most)
    world, net = WORLDS[name], nets.mlp(4, (8,))
    axes = 0 if world.discrete else world.engines

    def learner(c: Arm) -> Agent:
        return explorer(env_of(c), coding, c.way, steps, axes, net)

    table = fit(
        learner, arms, name=name, steps=steps, log_every=steps, eval_every=steps // evaluations,
        evaluate=evaluator(env_of, world.episodes),
    ).table  # fmt: skip
    return {k: (table.curve(k, "greedy_return")[1] > world.mark).astype(float) for k in arms}
