"""Schedules of epsilon or temperature over steps; every argument may be traced."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn.types import Array


def linear_schedule(step: ArrayLike, start: ArrayLike, end: ArrayLike, duration: ArrayLike) -> Array:
    """From ``start`` at step 0 straight to ``end`` at step ``duration``, and constant from there.

    A duration of 0 is ``end`` at once.
    """
    first, last = jnp.asarray(start, jnp.float32), jnp.asarray(end, jnp.float32)
    at_once = jnp.asarray(duration) == 0
    share = jnp.clip(jnp.asarray(step, jnp.float32) / jnp.where(at_once, 1.0, duration), 0.0, 1.0)
    return first + (last - first) * jnp.where(at_once, 1.0, share)


def exponential_schedule(step: ArrayLike, start: ArrayLike, end: ArrayLike, half_life: ArrayLike) -> Array:
    """From ``start`` at step 0 towards ``end``; the distance halves every ``half_life`` steps."""
    first, last = jnp.asarray(start, jnp.float32), jnp.asarray(end, jnp.float32)
    return last + (first - last) * jnp.exp2(-jnp.asarray(step, jnp.float32) / half_life)
