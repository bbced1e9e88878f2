"""Tasks in which random tries succeed equally often, ways to explore them, and one learner for all ways.

A world is Ascent or the car on a hill with one set of actions. Its tasks differ in floats alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.config import config
from lrn.rl.agent import Agent
from lrn.rl.env import Env, discretize, make, require_discrete
from lrn.rl.evaluate import evaluator
from lrn.rl.exploration import Coding, tiles
from lrn.rl.exploration.ascent import ascent, heights
from lrn.rl.exploration.chance import chance
from lrn.rl.exploration.explorer import Explorer, explorer
from lrn.rl.spaces import Box
from lrn.types import Array

CHANCE = "random successes in 10,000 steps"
EPSILON = {
    "annealed": [{"epsilon": 1.0, "epsilon_end": 0.05, "fraction": f} for f in (0.25, 0.5, 1.0)],
    "constant": [{"epsilon": e, "epsilon_end": e} for e in (0.2, 0.5, 0.8)],
}


class World(NamedTuple):
    """A set of actions, and what the learner is given with it.

    levels, engines: of the actions. discrete: whether the claim takes the actions for discrete, or for a grid
    over what is continuous. power: of the car's engine. unit: of values, for the menus. rates: of learning.
    mark: the mean return, over so many episodes, above which a task is solved.
    """

    levels: int
    engines: int
    discrete: bool
    power: float = 0.0
    unit: float = 1.0
    rates: tuple[float, ...] = (1.0,)
    mark: float = 0.5
    episodes: int = 1


ASCENTS = {"two thrusts": World(2, 1, True), "grid": World(4, 1, False), "3D grid": World(4, 3, False)}
CARS = {
    "car, three forces": World(3, 1, True, 0.00206, 10.0, (0.2, 0.5), 50.0, 4),
    "car, grid": World(9, 1, False, 0.0026, 10.0, (0.2, 0.5), 50.0, 4),
    "car, 3D grid": World(3, 3, False, 0.00356, 10.0, (0.2, 0.5), 50.0, 4),
}
WORLDS = {**ASCENTS, **CARS}


@config
class Arm:
    """All that arms of one program differ in: the floats of a task, and how to explore it.

    depth, least, fall: of Ascent, see `ascent`. power: of the car's engine. way: how to explore.
    """

    depth: float = 1.0
    least: float = 0.0
    fall: float = 0.0
    power: float = 0.0
    way: Explorer = Explorer()


def menu(world: World) -> dict[str, list[dict[str, float]]]:
    """The settings of each way of exploring, three at each rate of learning, by the fields of `Explorer`."""
    scales = [world.unit * v for v in (0.1, 1.0, 10.0)]
    ways = {**EPSILON, "optimistic": [{"initial": v} for v in scales]}
    if not world.discrete:
        ways["pink"] = [{"noise": v, "pink": 1.0} for v in (0.5, 1.0, 2.0)]
    return {way: [{**x, "learning_rate": r} for x in each for r in world.rates] for way, each in ways.items()}


def place(name: str, most: int) -> tuple[Callable[[Arm], Env], Coding]:
    """A world as it is played, no task of it deeper than ``most``: an arm's environment, and its coding."""
    levels, engines, *_ = WORLDS[name]
    if name in ASCENTS:
        return lambda c: discretize(ascent(c.depth, engines, most, c.fall, c.least), levels), heights(most)

    def car(c: Arm) -> Env:
        env = make("MountainCarContinuous-v0", power=c.power)
        mean = env._replace(move=lambda key, state, a: env.move(key, state, a.mean(keepdims=True)))
        return discretize(mean._replace(actions=Box(-1.0, 1.0, (engines,))), levels)

    return car, tiles((-1.2, -0.07), (0.6, 0.07), (8, 8))


def chances(name: str, tasks: Mapping[str, Arm], most: int, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """By task, the random successes in 10,000 steps, [seeds]: of 64 tries in the car, in Ascent as follows.

    There they follow from the share of the actions that rise when each is tried.
    """
    env_of, _ = place(name, most)

    def counted(task: Arm, keys: Array) -> Array:
        env = env_of(task)
        actions, (_, ground) = jnp.arange(require_discrete(env, "chances")), env.reset(keys[0])
        p = 1.0 - jax.vmap(lambda a: env.move(keys[0], ground, a)[1].terminated)(actions).mean()
        return jnp.full(len(keys), p**task.depth * (1 - p) / (1 - p**task.depth))

    def played(task: Arm, keys: Array) -> Array:
        return jax.vmap(lambda key: chance(env_of(task), key, 64))(keys)

    keys = jax.vmap(jax.random.key)(np.asarray(seeds, np.uint32))
    of = jax.jit(played if name in CARS else counted)
    return {t: 1e4 * np.asarray(of(task, keys)) for t, task in tasks.items()}


def trained(
    fit: Callable[..., Any], name: str, most: int, arms: Mapping[str, Arm], steps: int, evaluations: int
) -> dict[str, np.ndarray]:
    """Train arms in a world; whether each seed, in order, has solved its task: [seeds, evaluations + 1]."""
    (env_of, coding), world = place(name, most), WORLDS[name]

    def learner(c: Arm) -> Agent:
        return explorer(env_of(c), coding, c.way, steps, 0 if world.discrete else world.engines)

    table = fit(
        learner, arms, name=name, steps=steps, log_every=steps, eval_every=steps // evaluations,
        evaluate=evaluator(env_of, world.episodes),
    ).table  # fmt: skip
    return {k: (table.curve(k, "greedy_return")[1] > world.mark).astype(float) for k in arms}
