"""Schedules: functions of a step count; every number of a schedule may be traced.

All lengths and boundaries are in steps, never in fractions of the training, and need not be whole numbers. A
schedule is ``schedule(count) -> value``, float32. The count is 0 at the first step and may be an array.
An optax optimizer accepts a schedule as its learning rate. optax's own linear and cosine schedules branch
on their lengths in Python, which fails when a sweep traces the lengths.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array

Schedule = Callable[[ArrayLike], Array]


def progress(count: ArrayLike, steps: ArrayLike) -> Array:
    """The completed share of ``steps``: 0 at count 0, 1 from ``steps`` on; always 1 for 0 steps."""
    at_once = jnp.asarray(steps) == 0
    share = jnp.clip(jnp.asarray(count, jnp.float32) / jnp.where(at_once, 1.0, steps), 0.0, 1.0)
    return jnp.where(at_once, 1.0, share)


def constant(value: ArrayLike) -> Schedule:
    """``value`` at every step."""

    def at(count: ArrayLike) -> Array:
        return jnp.broadcast_to(jnp.asarray(value, jnp.float32), jnp.shape(count))

    return at


def linear(start: ArrayLike, end: ArrayLike, steps: ArrayLike) -> Schedule:
    """A straight line from ``start`` at step 0 to ``end`` at step ``steps``, then constant.

    Raises:
        InputError: steps is negative.
    """
    check.non_negative("steps", steps)
    first, last = jnp.asarray(start, jnp.float32), jnp.asarray(end, jnp.float32)
    return lambda count: first + (last - first) * progress(count, steps)


def cosine(start: ArrayLike, end: ArrayLike, steps: ArrayLike) -> Schedule:
    """Half a cosine from ``start`` to ``end`` over ``steps`` steps (Loshchilov and Hutter 2017).

    After ``steps`` steps the value is ``end``.

    Raises:
        InputError: steps is negative.
    """
    check.non_negative("steps", steps)
    first, last = jnp.asarray(start, jnp.float32), jnp.asarray(end, jnp.float32)
    return lambda count: last + (first - last) * 0.5 * (1 + jnp.cos(jnp.pi * progress(count, steps)))


def exponential(start: ArrayLike, end: ArrayLike, half_life: ArrayLike) -> Schedule:
    """From ``start`` at step 0 towards ``end``; every ``half_life`` steps the distance to ``end`` halves.

    Raises:
        InputError: half_life is not positive.
    """
    check.positive("half_life", half_life)
    first, last = jnp.asarray(start, jnp.float32), jnp.asarray(end, jnp.float32)
    return lambda count: last + (first - last) * jnp.exp2(-jnp.asarray(count, jnp.float32) / half_life)


def inverse_power(start: ArrayLike, rate: ArrayLike, power: ArrayLike) -> Schedule:
    """``start / (1 + rate * count) ** power``: a power of 1 is the decay of Robbins and Monro (1951).

    Raises:
        InputError: rate or power is negative.
    """
    check.non_negative("rate", rate)
    check.non_negative("power", power)
    first, falls = jnp.asarray(start, jnp.float32), -jnp.asarray(power, jnp.float32)
    return lambda count: first * (1 + rate * jnp.asarray(count, jnp.float32)) ** falls


def piecewise(values: Sequence[ArrayLike], boundaries: Sequence[ArrayLike]) -> Schedule:
    """``values[0]`` first, then ``values[i + 1]`` from step ``boundaries[i]`` on.

    Args:
        values: the values, one more than boundaries.
        boundaries: steps, ascending.

    Raises:
        InputError: there is not one value more than boundaries, or the boundaries do not ascend.
    """
    if len(values) != len(boundaries) + 1:
        raise check.InputError(
            f"values must be one more than boundaries, got {len(values)} and {len(boundaries)}; give the "
            "value before the first boundary and one after each."
        )
    for boundary in boundaries:
        check.finite("every boundary", boundary)
    known = [x for x in boundaries if isinstance(x, (int, float))]
    if any(a >= b for a, b in itertools.pairwise(known)):
        raise check.InputError(f"boundaries must ascend, got {list(boundaries)}; sort them, each once.")

    def at(count: ArrayLike) -> Array:
        value = constant(values[0])(count)
        for boundary, after in zip(boundaries, values[1:]):
            value = jnp.where(jnp.asarray(count) >= boundary, jnp.asarray(after, jnp.float32), value)
        return value

    return at


def warm_up(schedule: Schedule, steps: ArrayLike) -> Schedule:
    """A linear rise over the first ``steps`` steps, after which ``schedule`` begins at its own step 0.

    Step ``count`` of the rise has ``(count + 1) / steps`` times the schedule's first value (Goyal et al.
    2017): no step has a rate of 0, and the last step of the rise has the whole first value.

    Raises:
        InputError: steps is negative.
    """
    check.non_negative("steps", steps)

    def at(count: ArrayLike) -> Array:
        count = jnp.asarray(count, jnp.float32)
        share = jnp.minimum(1.0, (count + 1) / jnp.maximum(steps, 1.0))
        return share * schedule(jnp.maximum(count - steps, 0.0))

    return at
