"""The population of rewards of `reward_shaping`: what a practitioner would write down for a task, crossed.

A reward is the environment's own plus a term. The term has a quantity of the state of which more looks
better, scaled to [0, 1]; a form, in which the quantity is paid; and a weight, in units of the environment's
own reward, which is 1 or -1 a step.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.config import config, stack
from lrn.rl import env as envs
from lrn.rl.env import Env, Step
from lrn.rl.shaping import shaping_term, with_reward
from lrn.types import Array, Key

DISCOUNT = 0.99
PLAIN, NOTHING = "plain", "no reward"
BONUS, PENALTY, PROGRESS = FORMS = ("bonus", "penalty", "progress")
WEIGHTS = {"light": 0.3, "heavy": 3.0}
WALKERS, WALK = 16, 1000  # random play that measures the unit of a reward


class Task(NamedTuple):
    """A task.

    name: of the gymnax environment. floor, solved: the returns that are progress 0, that of random play or of
    failure, and progress 1. sign: of its reward, 1 or -1 a step. middle, half: by coordinate of the
    observation, what networks see as 0 and as 1. quantities: from name to a function of the observation, in
    [0, 1].
    """

    name: str
    floor: float
    solved: float
    sign: float
    middle: tuple[float, ...]
    half: tuple[float, ...]
    quantities: Mapping[str, Callable[[Array], Array]]


def _share(x: Array) -> Array:
    return jnp.clip(x, 0.0, 1.0)


# The quantities are those that rewards for these tasks commonly pay: of the car its potential and its kinetic
# energy, and of the cart the distances to the two limits at which an episode ends.
TASKS = {
    "MountainCar": Task(
        "MountainCar-v0", -200.0, -110.0, -1.0, (-0.35, 0.0), (0.85, 0.07),
        {
            "height": lambda o: _share(0.5 + 0.5 * jnp.sin(3 * o[0])),
            "speed": lambda o: _share(jnp.abs(o[1]) / 0.07),
        },
    ),
    "CartPole": Task(
        "CartPole-v1", 22.0, 475.0, 1.0, (0.0,) * 4, (2.4, 2.0, 0.21, 2.0),
        {
            "upright": lambda o: _share(1 - jnp.abs(o[2]) / 0.2095),
            "centered": lambda o: _share(1 - jnp.abs(o[0]) / 2.4),
        },
    ),
}  # fmt: skip


@config
class Weights:
    """One weight for each quantity of a task."""

    first: float = 0.0
    second: float = 0.0

    def of(self, values: Sequence[Array]) -> Array:
        """The weighted sum of the quantities."""
        return self.first * values[0] + self.second * values[1]


@config
class Reward:
    """A reward, as floats, so that all rewards of a task are one compile.

    own: weight of the environment's reward. constant: paid at each step. paid: weights of the quantities
    after the step. potential: weights of the quantities in the potential. unit: what the sum is divided by.
    """

    paid: Weights = Weights()
    potential: Weights = Weights()
    own: float = 1.0
    constant: float = 0.0
    unit: float = 1.0


def name_of(weight: str, form: str, quantity: str) -> str:
    """The name of a reward with a term."""
    return f"{weight} {form}: {quantity}"


def population(task: str) -> dict[str, Reward]:
    """All rewards of a task, by name: the plain one, and each quantity in each form at each weight.

    A bonus pays w f(s') a step, a penalty -w (1 - f(s')), progress the potential-based term (Ng et al. 1999)
    of the potential w f / (1 - discount), which is worth as much as the bonus in a state that is kept.
    """
    rewards, quantities = {PLAIN: Reward()}, tuple(TASKS[task].quantities)
    for form, (weight, w), (i, quantity) in itertools.product(FORMS, WEIGHTS.items(), enumerate(quantities)):
        term = Weights(*(w * (i == j) for j in range(2)))
        value = Weights(*(w * (i == j) / (1 - DISCOUNT) for j in range(2)))
        rewards[name_of(weight, form, quantity)] = {
            BONUS: Reward(paid=term),
            PENALTY: Reward(paid=term, constant=-w),
            PROGRESS: Reward(potential=value),
        }[form]
    return rewards


def groups(task: str) -> dict[str, list[str]]:
    """The rewards that share a form, a weight or a quantity, and the plain one, by what they share."""
    names = [n for n in population(task) if n != PLAIN]
    shared = {form: [n for n in names if f" {form}: " in n] for form in FORMS}
    shared |= {weight: [n for n in names if n.startswith(weight)] for weight in WEIGHTS}
    shared |= {q: [n for n in names if n.endswith(f": {q}")] for q in TASKS[task].quantities}
    return {PLAIN: [PLAIN], **shared}


def pay(task: str, reward: Reward, observation: Array, step: Step) -> Array:
    """What a reward pays for a step that was taken at an observation."""
    measures = TASKS[task].quantities.values()
    now, later = ([f(o) for f in measures] for o in (observation, step.final_observation))
    potentials = reward.potential.of(now), reward.potential.of(later)
    term = reward.constant + reward.paid.of(later) + shaping_term(DISCOUNT, step.terminated, *potentials)
    return (reward.own * step.reward + term) / reward.unit


def rewarded(task: str, reward: Reward) -> Env:
    """The environment with a reward of the population, or with none (``own`` and all weights 0)."""
    env = envs.make(TASKS[task].name)
    return with_reward(env, lambda observation, _, step: pay(task, reward, observation, step), "rewarded")


def unit(task: str, reward: Reward) -> Array:
    """The spread of the running discounted return of random play, by which rewards are divided; scalar.

    The running return is that of the usual normalization of rewards, started anew with each episode.
    """
    env = rewarded(task, reward)
    start, walk = jax.random.split(jax.random.key(0))
    observation, state = jax.vmap(env.reset)(jax.random.split(start, WALKERS))
    del observation

    def move(carry: Any, key: Key) -> Any:
        state, total = carry
        act, turn = jax.random.split(key)
        actions = jax.random.randint(act, (WALKERS,), 0, envs.require_discrete(env, "random play"))
        _, state, step = jax.vmap(env.step)(jax.random.split(turn, WALKERS), state, actions)
        total = DISCOUNT * total + step.reward
        return (state, jnp.where(step.ended, 0.0, total)), total

    totals = jax.lax.scan(move, (state, jnp.zeros(WALKERS)), jax.random.split(walk, WALK))[1]
    return totals.std()


def scaled(task: str) -> dict[str, Reward]:
    """The population, each reward divided by its unit, and no reward at all."""
    rewards = population(task)
    units = np.asarray(jax.jit(jax.vmap(lambda r: unit(task, r)))(stack([*rewards.values()])))
    made = {n: dataclasses.replace(r, unit=float(u)) for (n, r), u in zip(rewards.items(), units)}
    return made | {NOTHING: Reward(own=0.0)}
