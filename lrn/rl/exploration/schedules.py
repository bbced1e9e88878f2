"""Schedules of epsilon or temperature at a step; every argument may be traced."""

from __future__ import annotations

from jax.typing import ArrayLike

from lrn.supervised import schedules
from lrn.types import Array


def linear_schedule(step: ArrayLike, start: ArrayLike, end: ArrayLike, duration: ArrayLike) -> Array:
    """From ``start`` at step 0 straight to ``end`` at step ``duration``, and constant from there.

    A duration of 0 is ``end`` at once.
    """
    return schedules.linear(start, end, duration)(step)


def exponential_schedule(step: ArrayLike, start: ArrayLike, end: ArrayLike, half_life: ArrayLike) -> Array:
    """From ``start`` at step 0 towards ``end``; the distance halves every ``half_life`` steps."""
    return schedules.exponential(start, end, half_life)(step)
