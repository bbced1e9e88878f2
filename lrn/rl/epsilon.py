"""The chance of a random action, and how agents with a value for each action take one."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn.rl.exploration.schedules import linear_schedule
from lrn.types import Array


def epsilon_greedy(uniform: Array, q: Array, epsilon: Array) -> Array:
    """Epsilon-greedy actions, int32 [...].

    One uniform number decides whether to explore and which action to play: given that it lies below epsilon,
    ``uniform / epsilon`` is uniform in [0, 1) again and picks one of the allowed actions.
    (`lrn.rl.exploration.select` has a version that takes a key.)

    Args:
        uniform: [...], numbers drawn uniformly from [0, 1).
        q: values [..., actions]; -inf for an action that is not allowed.
        epsilon: scalar, the chance of a random action.
    """
    allowed = ~jnp.isneginf(q)
    n = allowed.sum(-1)
    place = jnp.minimum(uniform / jnp.maximum(epsilon, 1e-6) * n, n - 1).astype(jnp.int32)
    random = jnp.argmax(jnp.cumsum(allowed, -1) > place[..., None], -1).astype(jnp.int32)
    return jnp.where(uniform < epsilon, random, jnp.argmax(q, -1).astype(jnp.int32))


def epsilon_at(config: Any, steps: ArrayLike) -> Array:
    """The chance of a random action after ``steps`` environment steps [...], of the same shape.

    The config may be of any class that has `DQNConfig`'s fields ``total_steps``, ``exploration_fraction``,
    ``epsilon_start`` and ``epsilon_end``.
    """
    duration = config.exploration_fraction * config.total_steps
    return linear_schedule(steps, config.epsilon_start, config.epsilon_end, duration)
