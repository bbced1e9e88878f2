"""Learning rates that fall with the gradient steps, and whether a schedule makes sense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from lrn import check
from lrn.types import Array

MOST_COUNTED = 2**31 - 1  # optax counts gradient steps in int32, and stops there


def check_total_steps(total_steps: int, interactions: int) -> None:
    """Raise InputError unless a training of ``total_steps`` has an iteration, of ``interactions`` steps."""
    if total_steps < interactions:
        raise check.InputError(
            f"total_steps must be at least the {interactions} steps of one iteration (num_envs x "
            f"rollout_length), got {total_steps}; choose a larger total_steps or shorter rollouts."
        )


def learning_rate(rate: Array | float, updates: Array | float, anneal: bool) -> Callable[[Any], Array]:
    """A schedule for optax: ``rate``, falling linearly to 0 over ``updates`` gradient steps if ``anneal``.

    `optax.linear_schedule` wants a whole number of steps, and total steps over those of an iteration are
    not always one.

    Raises:
        InputError: the steps of an annealed training are more than can be counted.
    """
    if anneal and isinstance(updates, float | int) and updates > MOST_COUNTED:
        raise check.InputError(
            f"a rate that falls over {updates:.4g} gradient steps cannot be followed: their counter ends at "
            f"{MOST_COUNTED}; choose a smaller total_steps, or anneal=False."
        )

    def at(count: Any) -> Array:
        left = jnp.maximum(1.0 - count / updates, 0.0) if anneal else jnp.ones(())
        return rate * left

    return at
