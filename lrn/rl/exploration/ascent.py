"""Ascent: one task for any set of actions, with a dial for its depth and one for the dimensions of an action.

DeepSea (Osband et al. 2020) has two actions, and tasks of continuous control are hard to explore for many
reasons at once. Here a glider has ``engines`` engines, each with a thrust in [-1, 1]. While their mean thrust
is ``least`` or more it rises by one a step; below that it falls, and the episode is over. Rising costs .01 on
the whole way up, falling costs nothing, and a reward of 1 waits at the top alone, ``depth`` steps up.
So the best return is .99 whatever the dials, and nothing but ``depth`` right actions in a row is worth more
than 0. Where a share p of the actions is right, one random try in p^-depth reaches the top.

`lrn.rl.env.discretize` gives the set of actions: two levels are "all or nothing", five are a grid over what
is continuous. Dynamics, rewards and the best policy are the same with any. An even number of levels and a
``least`` of 0 make half of the actions of an odd number of engines right.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.env import Env, Step
from lrn.rl.exploration.coding import Coding, grid
from lrn.rl.exploration.deep_sea import largest_of
from lrn.rl.spaces import Box
from lrn.types import Array, Key

COST = 0.01  # of the whole way up
LEAST = 0.5  # mean thrust with which the glider rises, unless told otherwise
BEST = 1.0 - COST  # return of the best policy, where falling is free


def ascent(
    depth: ArrayLike,
    engines: int = 1,
    largest: int | None = None,
    fall: ArrayLike = 0.0,
    least: ArrayLike = LEAST,
) -> Env:
    """Ascent, observed as [height]; its actions are thrusts [engines] in [-1, 1].

    Args:
        depth: the steps from the ground to the top: an int, or a traced number in a sweep, which then needs
            ``largest``.
        engines: the dimensions of an action.
        largest: an upper bound of all depths.
        fall: the cost of a fall; may be traced. A cost above ``COST`` is a hint: values that start at 0 are
            then optimistic, and a greedy learner finds the top without exploring.

    Raises:
        InputError: depth is below 1, above ``largest``, or traced without it; engines is below 1; or fall
            is below 0.
    """
    largest = largest_of("ascent", "depth", depth, largest, low=1)
    check.integer("engines", engines, low=1)
    check.non_negative("fall", fall)
    check.between("least", least, -1.0, 1.0)
    top = jnp.asarray(depth, jnp.int32)

    def observe(height: Array) -> Array:
        return height.astype(jnp.float32)[None]

    def reset(key: Key) -> tuple[Array, Array]:
        del key
        return observe(jnp.int32(0)), jnp.int32(0)

    def move(key: Key, state: Array, action: Array) -> tuple[Array, Step]:
        del key
        rises = jnp.clip(action, -1.0, 1.0).sum() >= least * engines
        height = jnp.where(rises, state + 1, 0)
        there = rises & (height == top)
        reward = there.astype(jnp.float32) - jnp.where(rises, COST / top, fall)
        return height, Step(reward, there | ~rises, jnp.array(False), observe(height))

    return Env("Ascent", reset, move, (1,), Box(-1.0, 1.0, (engines,)), largest)


def heights(largest: int) -> Coding:
    """The coding of `ascent`'s observations as a table, the top included."""
    return grid([-0.5], [largest + 0.5], [largest + 1])
