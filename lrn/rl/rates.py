"""Learning rates that fall with the gradient steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from lrn.types import Array


def learning_rate(rate: Array | float, updates: Array | float, anneal: bool) -> Callable[[Any], Array]:
    """A schedule for optax: ``rate``, falling linearly to 0 over ``updates`` gradient steps if ``anneal``.

    `optax.linear_schedule` wants a whole number of steps, and total steps over those of an iteration are
    not always one.
    """

    def at(count: Any) -> Array:
        left = jnp.maximum(1.0 - count / updates, 0.0) if anneal else jnp.ones(())
        return rate * left

    return at
