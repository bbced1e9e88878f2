"""The point of a hyperplane within the box [0, 1] that is nearest to a point of the box, in Linf, L2 and L1.

FAB takes two such projections in each step (Croce & Hein 2020, section 2.2). The hyperplane is given by the
value and the gradient of a linear function at the point: the move ``d`` satisfies value + gradient . d = 0.
Where the hyperplane misses the box, ``d`` leads to the corner of the box that is nearest to the hyperplane,
along the gradient's entries that are not 0.

The move changes each pixel in the one direction in which the function comes closer to 0, by at most the
pixel's room: its distance from the face of the box in this direction. One number then fixes the shortest
move: the common size of the changes (Linf), their common ratio to the gradient (L2), or the smallest slope
that is used (L1). The search for this number needs no sorting.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lrn import check
from lrn.robust.norms import NORMS
from lrn.types import Array

DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}


def length(delta: Array, norm: str) -> Array:
    """The norm of each row of ``delta`` [batch, dim], [batch].

    Raises:
        ValueError: the norm is unknown.
    """
    check.choice("norm", norm, NORMS)
    size = jnp.abs(delta)
    if norm == "l1":
        return jnp.sum(size, axis=1)
    largest = jnp.max(size, axis=1)
    if norm == "linf":
        return largest
    # Division by the largest entry keeps the squares of small entries from underflow.
    scaled = size / jnp.where(largest > 0, largest, 1)[:, None]
    return largest * jnp.sqrt(jnp.sum(scaled**2, axis=1))


def nearest_move(x: Array, gradient: Array, value: Array, norm: str) -> Array:
    """The shortest move from ``x`` to the hyperplane within the box, see `nearest_move_linf` and the others.

    Raises:
        ValueError: the norm is unknown.
    """
    check.choice("norm", norm, NORMS)
    moves = {"linf": nearest_move_linf, "l2": nearest_move_l2, "l1": nearest_move_l1}
    return moves[norm](x, gradient, value)


def nearest_move_linf(x: Array, gradient: Array, value: Array) -> Array:
    """The move of least Linf norm.

    Args:
        x: points [batch, dim] in [0, 1].
        gradient: the gradient of the linear function [batch, dim]. Only ratios of value and gradient matter,
            so a gradient as small as 1e-30 is no worse than any other; a zero gradient gives a zero move.
        value: the linear function at ``x``, [batch].

    Returns:
        The move d [batch, dim]: value + gradient . d = 0, and x + d lies in [0, 1]; or the move to the
        corner of the box nearest to the hyperplane.
    """
    return _move(x, gradient, value, lambda slope, room, drop: _fill(slope, slope > 0, room, drop))


def nearest_move_l2(x: Array, gradient: Array, value: Array) -> Array:
    """The move of least L2 norm; arguments and result are those of `nearest_move_linf`."""
    return _move(x, gradient, value, lambda slope, room, drop: _fill(slope, slope, room, drop))


def nearest_move_l1(x: Array, gradient: Array, value: Array) -> Array:
    """The move of least L1 norm; arguments and result are those of `nearest_move_linf`.

    Pixels of equal slope, of which only a part is needed, use the same share of their room.
    """
    return _move(x, gradient, value, _take_steepest)


def _move(x: Array, gradient: Array, value: Array, sizes: Callable[[Array, Array, Array], Array]) -> Array:
    """The move whose sizes [batch, dim] come from ``sizes(slope, room, drop)``.

    slope: by how much the function's absolute value falls for each unit of a pixel's change, scaled to
        at most 1. room: the largest change of the pixel. drop: the scaled absolute value [batch, 1], or
        the fall when all pixels use their room, if that is less.
    """
    steepest = jnp.max(jnp.abs(gradient), axis=1, keepdims=True)
    scale = jnp.where(steepest > 0, steepest, 1)
    drop = jnp.abs(value)[:, None] / scale
    direction = jnp.where(value[:, None] >= 0, -1, 1) * jnp.sign(gradient)
    slope = jnp.abs(gradient) / scale
    room = jnp.where(direction > 0, 1 - x, x)
    room = jnp.where(slope > 0, room, 0)
    reach = jnp.sum(slope * room, axis=1, keepdims=True)
    size = sizes(slope, room, jnp.minimum(drop, reach))
    return direction * jnp.where(drop < reach, size, room)


def _fill(slope: Array, speed: Array, room: Array, drop: Array) -> Array:
    """The sizes min(level * speed, room) with sum(slope * sizes) = drop, [batch, dim].

    The sum is concave and piecewise linear in the level. Newton's method therefore rises to the solution
    from below, and reaches it exactly when the set of pixels without room no longer changes, after a few
    steps.
    """
    rate, held = slope * speed, slope * room

    def rise(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        level, _ = carry
        full = level * speed >= room
        rest = drop - jnp.sum(held, axis=1, keepdims=True, where=full)
        pace = jnp.sum(rate, axis=1, keepdims=True, where=~full)
        higher = jnp.maximum(level, rest / jnp.where(pace > 0, pace, 1))
        return higher, jnp.any(higher > level)

    start = jnp.zeros_like(drop), jnp.array(True)
    level, _ = jax.lax.while_loop(lambda carry: carry[1], rise, start)
    return jnp.minimum(level * speed, room)


def _take_steepest(slope: Array, room: Array, drop: Array) -> Array:
    """The rooms of the steepest pixels until they add up to ``drop``, and a share of the last, [batch, dim].

    The smallest slope in use is found by bisection on its bits, because the bits of floats that are not
    negative have the order of the floats.
    """
    bits = jax.lax.bitcast_convert_type(slope, jnp.int32 if slope.dtype.itemsize == 4 else jnp.int64)
    held = slope * room

    def halve(_, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = low + (high - low) // 2
        enough = jnp.sum(held, axis=1, keepdims=True, where=bits >= middle) >= drop
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    start = jnp.zeros_like(bits[:, :1]), jnp.max(bits, axis=1, keepdims=True) + 1
    last, _ = jax.lax.fori_loop(0, 8 * slope.dtype.itemsize - 1, halve, start)
    used, partly = bits > last, bits == last
    rest = drop - jnp.sum(held, axis=1, keepdims=True, where=used)
    available = jnp.sum(held, axis=1, keepdims=True, where=partly)
    share = jnp.clip(rest / jnp.where(available > 0, available, 1), 0, 1)
    return jnp.where(used, room, jnp.where(partly, share * room, 0))
