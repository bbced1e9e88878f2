"""The point robot: a walk in the plane to a goal that the observation does not show (Finn et al. 2017).

Only the reward depends on the goal, so a policy must explore and adapt. The reward is minus the distance
to the goal, as in the authors' code (their paper has the squared distance). Episodes last the whole
horizon; the authors' episodes end within .01 of the goal.
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

SPEED = 0.1  # the largest move in a step along an axis
GOALS = ("square", "circle")


class Robot(NamedTuple):
    """The state of the robot: its position [2], and the number of steps taken."""

    position: Array
    time: Array


def point_robot(
    goals: str = "square", size: float = 0.5, *, sparse: float | None = None, horizon: int = 100
) -> RLTaskFamily:
    """Point robots with random goals; a task, and its code, is the goal [2].

    Args:
        goals: the distribution of goals: uniform in a "square" of side ``2 * size`` around the start, or on a
            "circle" of radius ``size`` around it.
        size: the size of the square or the circle.
        sparse: see `robot_env`.
        horizon: the number of steps of an episode.

    Raises:
        ValueError: ``goals`` is unknown, or a number is out of range.
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
    """The environment with one goal.

    The observation is the position [2]. An action [2] is a move, clipped to [-.1, .1] along each axis.

    Args:
        goal: [2]; may be traced.
        sparse: None for a reward of minus the distance to the goal; a radius for a reward of 1 within this
            distance of the goal and 0 elsewhere.
        horizon: the number of steps after which the episode is truncated.

    Raises:
        ValueError: the goal has another shape, or a number is out of range.
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
        # The sum of squares is kept above 0, where the root has no finite derivative.
        distance = jnp.sqrt(jnp.sum((position - place) ** 2) + 1e-12)
        reward = -distance if sparse is None else (distance <= sparse).astype(jnp.float32)
        return after, Step(reward, jnp.array(False), after.time >= horizon, position)

    return Env("point robot", reset, move, (2,), Box(-SPEED, SPEED, (2,)), horizon)


def _check(sparse: float | None, horizon: int) -> None:
    if sparse is not None:
        check.positive("sparse", sparse)
    check.integer("horizon", horizon, low=1)
