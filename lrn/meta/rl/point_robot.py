"""The point robot: walk in the plane to a goal that one cannot see, only feel (Finn et al. 2017).

The reward alone tells where the goal is, so a policy must try, and adapt. The reward is minus the distance,
as in the authors' code (their paper says its square); episodes last the whole horizon, where theirs end
within .01 of the goal.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.meta.rl.tasks import RLTaskFamily
from lrn.rl.env import Box, Env, Step
from lrn.types import Array, Key, PyTree

SPEED = 0.1  # the longest move a step along an axis
GOALS = ("square", "circle")


class Robot(NamedTuple):
    """Where it is, [2], and the steps taken."""

    position: Array
    time: Array


def point_robot(
    goals: str = "square", size: float = 0.5, *, sparse: float | None = None, horizon: int = 100
) -> RLTaskFamily:
    """Goals at random; a task is its goal [2].

    Args:
        goals: uniform in a "square" of side ``2 * size`` around the start, or on a "circle" of radius
            ``size``.
        size: of either.
        sparse: see `robot_env`.
        horizon: steps of an episode.

    Raises:
        ValueError: an unknown choice, or a number out of range.
    """
    check.choice("goals", goals, GOALS)
    check.positive("size", size)
    _check(sparse, horizon)

    def sample(key: Key) -> PyTree:
        if goals == "square":
            return jax.random.uniform(key, (2,), minval=-size, maxval=size)
        angle = jax.random.uniform(key, (), maxval=2 * jnp.pi)
        return size * jnp.stack([jnp.cos(angle), jnp.sin(angle)])

    return RLTaskFamily(
        f"point robot ({goals})", sample, lambda goal: robot_env(goal, sparse, horizon), lambda goal: goal
    )


def robot_env(goal: ArrayLike, sparse: float | None = None, horizon: int = 100) -> Env:
    """One goal. Observes the position [2]; an action [2] is a move, cut to .1 either way along each axis.

    Args:
        goal: [2], may be traced.
        sparse: None for a reward of minus the distance to the goal; a radius for 1 within it and 0 elsewhere.
        horizon: steps after which the episode is truncated.

    Raises:
        ValueError: a goal of another shape, or a number out of range.
    """
    _check(sparse, horizon)
    place = jnp.asarray(goal, jnp.float32)
    if place.shape != (2,):
        raise check.InputError(f"a goal must have shape [2], got {list(place.shape)}; give x and y.")

    def reset(key: Key) -> tuple[Array, Robot]:
        del key
        return jnp.zeros(2), Robot(jnp.zeros(2), jnp.int32(0))

    def move(key: Key, state: Robot, action: Array) -> tuple[Robot, Step]:
        del key
        position = state.position + jnp.clip(action, -SPEED, SPEED)
        after = Robot(position, state.time + 1)
        # Taken of squares that cannot be 0, since the derivative of a root there is not a number.
        distance = jnp.sqrt(jnp.sum((position - place) ** 2) + 1e-12)
        reward = -distance if sparse is None else (distance <= sparse).astype(jnp.float32)
        return after, Step(reward, jnp.array(False), after.time >= horizon, position)

    return Env("point robot", reset, move, (2,), Box(-SPEED, SPEED, (2,)), horizon)


def _check(sparse: float | None, horizon: int) -> None:
    if sparse is not None:
        check.positive("sparse", sparse)
    check.integer("horizon", horizon, low=1)
