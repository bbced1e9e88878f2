"""Schedules: functions of a step count, whose every number may be traced.

All lengths and boundaries are in steps, none is a fraction of the training, and none need be whole. A
schedule is ``schedule(count) -> value``, float32, where the count is 0 at the first step and may be an array;
an optax optimizer takes it as its learning rate. optax's own linear and cosine schedules branch on their
lengths, which a sweep traces.
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
    """The share of ``steps`` that is over: 0 at count 0, 1 from ``steps`` on; 0 steps are over at once."""
    at_once = jnp.asarray(steps) == 0
    share = jnp.clip(jnp.asarray(count, jnp.float32) / jnp.where(at_once, 1.0, steps), 0.0, 1.0)
    return jnp.where(at_once, 1.0, share)


def constant(value: ArrayLike) -> Schedule:
    """``value`` at every step."""

    def at(count: ArrayLike) -> Array:
        return jnp.broadcast_to(jnp.asarray(value, jnp.float32), jnp.shape(count))

    return at


def linear(start: ArrayLike, end: ArrayLike, steps: ArrayLike) -> Schedule:
    """From ``start`` at step 0 straight to ``end`` at step ``steps``, and constant from there.

    Raises:
        InputError: steps is negative.
    """
    check.non_negative("steps", steps)
    first, last = jnp.asarray(start, jnp.float32), jnp.asarray(end, jnp.float32)
    return lambda count: first + (last - first) * progress(count, steps)


def cosine(start: ArrayLike, end: ArrayLike, steps: ArrayLike) -> Schedule:
    """From ``start`` to ``end`` over ``steps`` steps by half a cosine (Loshchilov and Hutter 2017).

    Raises:
        InputError: steps is negative.
    """
    check.non_negative("steps", steps)
    first, last = jnp.asarray(start, jnp.float32), jnp.asarray(end, jnp.float32)
    return lambda count: last + (first - last) * 0.5 * (1 + jnp.cos(jnp.pi * progress(count, steps)))


def exponential(start: ArrayLike, end: ArrayLike, half_life: ArrayLike) -> Schedule:
    """From ``start`` at step 0 towards ``end``; the distance halves every ``half_life`` steps.

    Raises:
        InputError: half_life is not positive.
    """
    check.positive("half_life", half_life)
    first, last = jnp.asarray(start, jnp.float32), jnp.asarray(end, jnp.float32)
    return lambda count: last + (first - last) * jnp.exp2(-jnp.asarray(count, jnp.float32) / half_life)


def inverse_power(start: ArrayLike, rate: ArrayLike, power: ArrayLike) -> Schedule:
    """``start / (1 + rate * count) ** power``: a power of 1 is the decay of Robbins and Monro (1951)."""
    first, falls = jnp.asarray(start, jnp.float32), -jnp.asarray(power, jnp.float32)
    return lambda count: first * (1 + rate * jnp.asarray(count, jnp.float32)) ** falls


def piecewise(values: Sequence[ArrayLike], boundaries: Sequence[ArrayLike]) -> Schedule:
    """``values[0]``, then ``values[i + 1]`` from step ``boundaries[i]`` on.

    Args:
        values: one more than there are boundaries.
        boundaries: in steps, ascending.

    Raises:
        InputError: the lengths do not fit, or the boundaries do not ascend.
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

    Step ``count`` of the rise has the share ``(count + 1) / steps`` of the schedule's first value (Goyal et
    al. 2017): no step has a rate of 0, and the last of the rise has the whole.

    Raises:
        InputError: steps is negative.
    """
    check.non_negative("steps", steps)

    def at(count: ArrayLike) -> Array:
        count = jnp.asarray(count, jnp.float32)
        share = jnp.minimum(1.0, (count + 1) / jnp.maximum(steps, 1.0))
        return share * schedule(jnp.maximum(count - steps, 0.0))

    return at
