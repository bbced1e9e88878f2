"""Usual wrappers of environments: frame stack, action repeat, rewards clipped or scaled, sticky actions.

Each is a function from an `Env` to an `Env`. A wrapper that keeps something of an episode keeps it in the
environment's state, so that it starts anew with every episode. `lrn.rl.env` has `time_limit`, `discretize`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.env import Env, Step
from lrn.types import Array, Key, PyTree


class Stacked(NamedTuple):
    """The state of an environment with stacked frames.

    state: state of the environment within.
    frames: the last observations, side by side in the last axis.
    """

    state: PyTree
    frames: Array


class Sticky(NamedTuple):
    """The state of an environment with sticky actions.

    state: state of the environment within.
    last: the action that was taken last.
    first: bool, whether the episode has just begun.
    """

    state: PyTree
    last: Array
    first: Array


def frame_stack(env: Env, frames: int) -> Env:
    """The last observations side by side in the last axis, from old to new (Mnih et al. 2015).

    An observation [..., n] becomes [..., n * frames]. At the start of an episode all frames are the first
    observation.

    Raises:
        InputError: ``frames`` is no whole number of at least 1, or observations are scalars.
    """
    check.integer("frames", frames, low=1)
    if not env.observation_shape:
        raise check.InputError(
            f"the observations of {env.name} are scalars, which cannot be stacked; give them an axis."
        )
    *rest, n = env.observation_shape

    def reset(key: Key) -> tuple[Array, Stacked]:
        observation, state = env.reset(key)
        stacked = jnp.concatenate([observation] * frames, -1)
        return stacked, Stacked(state, stacked)

    def move(key: Key, state: Stacked, action: Array) -> tuple[Stacked, Step]:
        inner, step = env.move(key, state.state, action)
        stacked = jnp.concatenate([state.frames[..., n:], step.final_observation], -1)
        return Stacked(inner, stacked), step._replace(final_observation=stacked)

    return env._replace(
        name=f"{env.name} ({frames} frames)",
        reset=reset,
        move=move,
        observation_shape=(*rest, n * frames),
        render=env.render_within(),
    )


def action_repeat(env: Env, times: int) -> Env:
    """Every action is taken ``times`` times, or until the episode ends; the rewards are summed.

    A step of the wrapped environment is up to ``times`` steps of the one within, and the horizon shrinks
    accordingly.

    Raises:
        InputError: ``times`` is no whole number of at least 1.
    """
    check.integer("times", times, low=1)

    def move(key: Key, state: PyTree, action: Array) -> tuple[PyTree, Step]:
        def again(carry: tuple[PyTree, Step], key: Key) -> tuple[tuple[PyTree, Step], None]:
            before, so_far = carry
            after, step = env.move(key, before, action)
            step = step._replace(reward=so_far.reward + step.reward)
            # What follows the end of an episode is meaningless and does not count.
            kept = jax.tree.map(
                lambda new, old: jnp.where(so_far.ended, old, new), (after, step), (before, so_far)
            )
            return kept, None

        first_key, rest_key = jax.random.split(key)
        first = env.move(first_key, state, action)
        if times == 1:
            return first
        return jax.lax.scan(again, first, jax.random.split(rest_key, times - 1))[0]

    horizon = -(-env.horizon // times)
    return env._replace(name=f"{env.name} (actions x {times})", move=move, horizon=horizon)


def scale_reward(env: Env, scale: ArrayLike, shift: ArrayLike = 0.0) -> Env:
    """Rewards ``scale * reward + shift``; both numbers may be traced.

    A shift changes the ranking of policies where episodes differ in length.

    Raises:
        InputError: a number is not finite.
    """
    check.finite("scale", scale)
    check.finite("shift", shift)
    return _rewarded(env, "reward scaled", lambda reward: scale * reward + shift)


def clip_reward(env: Env, low: ArrayLike = -1.0, high: ArrayLike = 1.0) -> Env:
    """Rewards clipped to [low, high] (Mnih et al. 2015); returns in metrics are those of clipped rewards.

    Raises:
        InputError: a number is not finite, or ``low`` is above ``high``.
    """
    check.finite("low", low)
    check.finite("high", high)
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        raise check.InputError(f"low must be at most high, got {low} and {high}; swap them.")
    return _rewarded(env, "reward clipped", lambda reward: jnp.clip(reward, low, high))


def _rewarded(env: Env, name: str, of: Any) -> Env:
    def move(key: Key, state: PyTree, action: Array) -> tuple[PyTree, Step]:
        state, step = env.move(key, state, action)
        return state, step._replace(reward=jnp.asarray(of(step.reward), jnp.float32))

    return env._replace(name=f"{env.name} ({name})", move=move)


def sticky_actions(env: Env, chance: ArrayLike = 0.25) -> Env:
    """With a chance the previous action is taken in place of the new one (Machado et al. 2018).

    The first action of an episode is always taken. The previous action is the one that was taken, which may
    itself have stuck.

    Args:
        env: the environment.
        chance: the chance, in [0, 1]; may be traced.

    Raises:
        InputError: the chance is out of range.
    """
    check.between("chance", chance, 0.0, 1.0)
    box = getattr(env.actions, "shape", None)
    like = np.zeros((), np.int32) if box is None else np.zeros(box, np.float32)

    def reset(key: Key) -> tuple[Array, Sticky]:
        observation, state = env.reset(key)
        return observation, Sticky(state, jnp.asarray(like), jnp.array(True))

    def move(key: Key, state: Sticky, action: Array) -> tuple[Sticky, Step]:
        stick_key, move_key = jax.random.split(key)
        sticks = (jax.random.uniform(stick_key) < chance) & ~state.first
        taken = jnp.where(sticks, state.last, jnp.asarray(action, like.dtype))
        inner, step = env.move(move_key, state.state, taken)
        return Sticky(inner, taken, jnp.array(False)), step

    return env._replace(
        name=f"{env.name} (sticky actions)", reset=reset, move=move, render=env.render_within()
    )
