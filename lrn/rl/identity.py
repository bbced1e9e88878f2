"""Tiny environments with known answers: an agent that cannot solve them in seconds has a bug.

Each environment isolates one ability: learning a value (`constant_reward`), acting on an observation (`echo`,
`continuous_echo`), assigning credit over time (`delayed_reward`), memory (`memory`), and telling a time limit
from a termination (`two_state_truncating`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.rl.env import Box, Discrete, Env, Step
from lrn.types import Array, Key

Transition = Callable[[Key, Any, Array], tuple[Any, Array, Array, Array]]


def _env(
    name: str,
    first: Callable[[Key], Any],
    observe: Callable[[Any], Array],
    move: Transition,
    actions: Discrete | Box,
    horizon: int,
) -> Env:
    """An `Env` from ``move(key, state, action) -> (state, reward, terminated, truncated)``."""

    def reset(key: Key) -> tuple[Array, Any]:
        state = first(key)
        return observe(state), state

    def moved(key: Key, state: Any, action: Array) -> tuple[Any, Step]:
        state, reward, terminated, truncated = move(key, state, action)
        return state, Step(jnp.asarray(reward, jnp.float32), terminated, truncated, observe(state))

    shape = jax.eval_shape(reset, jax.eval_shape(lambda: jax.random.key(0)))[0].shape
    return Env(name, reset, moved, shape, actions, horizon)


class _Clock(NamedTuple):
    """The state of an environment here: a symbol to remember or to answer, and the time in the episode."""

    symbol: Array
    time: Array


def constant_reward(actions: int = 2) -> Env:
    """Episodes of one step with reward 1 for every action: the value is 1, and all advantages are 0."""
    check.integer("actions", actions, low=1)
    no, yes = jnp.array(False), jnp.array(True)
    return _env(
        "constant reward",
        lambda key: jnp.int32(0),
        lambda state: jnp.ones(1),
        lambda key, state, action: (state, jnp.float32(1), yes, no),
        Discrete(actions),
        1,
    )


def echo(n: int = 3, length: int = 5) -> Env:
    """Show one of n symbols (one-hot) at each step and pay 1 for naming it; the best return is ``length``."""
    check.integer("n", n, low=2)
    check.integer("length", length, low=1)

    def move(key: Key, state: _Clock, action: Array) -> tuple[_Clock, Array, Array, Array]:
        time = state.time + 1
        reward = (action == state.symbol).astype(jnp.float32)
        return _Clock(jax.random.randint(key, (), 0, n), time), reward, time >= length, jnp.array(False)

    return _env(
        "echo",
        lambda key: _Clock(jax.random.randint(key, (), 0, n), jnp.int32(0)),
        lambda state: jax.nn.one_hot(state.symbol, n),
        move,
        Discrete(n),
        length,
    )


def continuous_echo(length: int = 5) -> Env:
    """Show a number in [-0.8, 0.8] and pay ``1 - |action - number|``; the best return is ``length``.

    Actions lie in [-2, 2], which exposes an agent that ignores the scale of actions.
    """
    check.integer("length", length, low=1)

    def draw(key: Key) -> Array:
        return jax.random.uniform(key, (1,), minval=-0.8, maxval=0.8)

    def move(key: Key, state: _Clock, action: Array) -> tuple[_Clock, Array, Array, Array]:
        time = state.time + 1
        reward = 1.0 - jnp.abs(action.reshape(()) - state.symbol[0])
        return _Clock(draw(key), time), reward, time >= length, jnp.array(False)

    return _env(
        "continuous echo",
        lambda key: _Clock(draw(key), jnp.int32(0)),
        lambda state: state.symbol,
        move,
        Box(-2.0, 2.0, (1,)),
        length,
    )


def delayed_reward(delay: int = 4) -> Env:
    """Pay for the first action ``delay`` steps later: 1 for action 1, else 0; later actions do nothing.

    The observation holds the time in the episode and the choice made, both one-hot.
    """
    check.integer("delay", delay, low=1)

    def move(key: Key, state: _Clock, action: Array) -> tuple[_Clock, Array, Array, Array]:
        choice = jnp.where(state.time == 0, action, state.symbol)
        time = state.time + 1
        over = time > delay
        return _Clock(choice, time), over * choice.astype(jnp.float32), over, jnp.array(False)

    def observe(state: _Clock) -> Array:
        return jnp.concatenate(
            [jax.nn.one_hot(state.time, delay + 2), jax.nn.one_hot(state.symbol, 2) * (state.time > 0)]
        )

    return _env(
        "delayed reward",
        lambda key: _Clock(jnp.int32(0), jnp.int32(0)),
        observe,
        move,
        Discrete(2),
        delay + 1,
    )


def memory(gap: int = 3) -> Env:
    """Show a symbol (0 or 1) once, then ask for it ``gap`` steps later: reward 1 if right, -1 if wrong.

    The best expected return is 1 with memory and 0 without.
    """
    check.integer("gap", gap, low=1)

    def move(key: Key, state: _Clock, action: Array) -> tuple[_Clock, Array, Array, Array]:
        time = state.time + 1
        over = time > gap
        reward = jnp.where(over, jnp.where(action == state.symbol, 1.0, -1.0), 0.0)
        return _Clock(state.symbol, time), reward, over, jnp.array(False)

    def observe(state: _Clock) -> Array:
        shown = jax.nn.one_hot(state.symbol, 2) * (state.time == 0)
        return jnp.concatenate([shown, (state.time >= gap).astype(jnp.float32)[None]])

    return _env(
        "memory",
        lambda key: _Clock(jax.random.randint(key, (), 0, 2), jnp.int32(0)),
        observe,
        move,
        Discrete(2),
        gap + 1,
    )


def two_state_truncating(length: int = 5, actions: Discrete | Box | None = None) -> Env:
    """Two states that alternate, with rewards 1 and 2; a time limit cuts episodes after ``length`` steps.

    Nothing terminates and actions do nothing. With a discount g the values are therefore those of the endless
    chain, ``(1 + 2 g) / (1 - g^2)`` and ``(2 + g) / (1 - g^2)``, for every time limit. The first state is
    drawn at random; the state is observed one-hot.
    """
    check.integer("length", length, low=1)

    def move(key: Key, state: _Clock, action: Array) -> tuple[_Clock, Array, Array, Array]:
        del key, action
        time = state.time + 1
        reward = 1.0 + state.symbol.astype(jnp.float32)
        return _Clock(1 - state.symbol, time), reward, jnp.array(False), time >= length

    return _env(
        "two states",
        lambda key: _Clock(jax.random.randint(key, (), 0, 2), jnp.int32(0)),
        lambda state: jax.nn.one_hot(state.symbol, 2),
        move,
        actions or Discrete(2),
        length,
    )
