"""The interface of an exploration bonus: a learned addition to the reward that makes an agent seek novelty.

An agent that takes ``bonus: Bonus | None`` keeps the state of the bonus in its own state. At each of its
steps the agent makes these two calls in this order:

    state = bonus.update(key, state, Transitions(...))       # the transitions just collected, each once
    reward = reward + bonus.bonus(state, observation, action, next_observation)

The update comes first, so that a first visit has n = 1 and running scales are never empty. An agent with a
replay computes the bonus of a transition when it samples the transition, so that the bonus is never out of
date. Agents learn from the reward with the bonus; the returns that they report are without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn.types import Array, Key, State


class Transitions(NamedTuple):
    """n fresh transitions. An agent with a rollout [time, batch, ...] merges the two leading axes.

    Observations have the environment's dtype: convert them by `lrn.rl.env.as_float` before any arithmetic.

    observation: observations before the actions, [n, ...].
    action: actions, [n] or [n, dim].
    next_observation: observations that the actions led to, before any reset, [n, ...] (the
        ``final_observation`` of `lrn.rl.env.Step`).
    """

    observation: Array
    action: Array
    next_observation: Array


class Bonus(NamedTuple):
    """A bonus as three pure functions, made by a factory named after the method.

    init: ``init(key, observation) -> state``, from an example batch of observations [n, ...].
    bonus: ``bonus(state, observation, action, next_observation) -> [n]``, the bonus of each transition, to be
        added to the reward. It includes the coefficient, and no gradient flows through it.
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
