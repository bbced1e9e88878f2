"""A bonus added to the reward: what makes an agent seek what it has not seen, with a state that learns.

An agent that takes ``bonus: Bonus | None`` keeps the bonus's state in its own and, at each of its steps,

    state = bonus.update(key, state, Transitions(...))       # the transitions just collected, each once
    reward = reward + bonus.bonus(state, observation, action, next_observation)

in this order: what was just seen counts, so a first visit has n = 1, and running scales are never empty. An
agent that replays asks for the bonus of a transition when it is sampled, so that it is never out of date. The
bonus is part of the reward that is learned from, and of nothing that is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn.types import Array, Key, State


class Transitions(NamedTuple):
    """Fresh transitions, n of them: an agent with a rollout [time, batch, ...] merges the two axes.

    Observations have the environment's dtype: take `lrn.rl.env.as_float` of them before any arithmetic.

    observation: [n, ...]; action: [n] or [n, dim].
    next_observation: [n, ...], what the action led to, before any reset (`lrn.rl.env.Step`'s
        ``final_observation``).
    """

    observation: Array
    action: Array
    next_observation: Array


class Bonus(NamedTuple):
    """A bonus as three pure functions, made by a factory named after the method.

    init: ``init(key, observation) -> state`` for an example batch of observations [n, ...].
    bonus: ``bonus(state, observation, action, next_observation) -> [n]``, to be added to the reward. It has
        its coefficient in it, and no gradient flows through it.
    update: ``update(key, state, transitions) -> state``, called once with each fresh batch of `Transitions`.
    """

    init: Callable[[Key, Array], State]
    bonus: Callable[[State, Array, Array, Array], Array]
    update: Callable[[Key, State, Transitions], State]


def both(first: Bonus, second: Bonus) -> Bonus:
    """The sum of two bonuses, each with its own state and coefficient."""

    def init(key: Key, observation: Array) -> tuple[State, State]:
        one, two = jax.random.split(key)
        return first.init(one, observation), second.init(two, observation)

    def bonus(state: tuple[State, State], observation: Array, action: Array, after: Array) -> Array:
        paid = (each.bonus(s, observation, action, after) for each, s in zip((first, second), state))
        return sum(paid, start=jnp.zeros(observation.shape[0]))

    def update(key: Key, state: tuple[State, State], transitions: Transitions) -> tuple[State, State]:
        one, two = jax.random.split(key)
        return first.update(one, state[0], transitions), second.update(two, state[1], transitions)

    return Bonus(init, bonus, update)
