"""Geometry of the threat models: Linf, L2 and L1 balls of radius eps, intersected with the pixel box [0, 1].

The first axis is the batch, and the norm is over all other axes of each example. The box is fixed; a
network that needs other ranges rescales its inputs inside.

float16 and bfloat16 inputs are computed in float32 (`widen`), and the result is rounded towards the original
(`narrow`), so that it stays in the ball. Near 1 the steps of bfloat16 are 1/256, so a smaller ball holds
only the original.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import readable
from lrn.robust.attack import check_box
from lrn.robust.l1 import project_l1, steepest_step_l1
from lrn.types import Array, Key

NORMS = ("linf", "l2", "l1")


def _reduce(reduction, x: Array) -> Array:
    """Reduce all axes but the first, keeping them as ones: [batch, ...] -> [batch, 1, ...]."""
    return reduction(x, axis=tuple(range(1, x.ndim)), keepdims=True)


def _l2(x: Array) -> Array:
    # Division by the largest entry keeps the squares of entries as small as 1e-25 from underflow.
    largest = _reduce(jnp.max, jnp.abs(x))
    scaled = x / jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(_reduce(jnp.sum, scaled**2))


def by_example(eps: ArrayLike, x: Array) -> Array:
    """A radius, or one radius an example, in a form that broadcasts over ``x`` [batch, ...].

    Args:
        eps: a scalar, or [batch], or this function's result.
        x: the inputs [batch, ...].

    Returns:
        A scalar, or [batch, 1, ...], in float32 or wider.

    Raises:
        ValueError: ``eps`` has another shape.
    """
    eps = jnp.asarray(eps, jnp.promote_types(x.dtype, jnp.float32))
    column = (x.shape[0], *(1,) * (x.ndim - 1))
    if eps.shape in ((), column):
        return eps
    if eps.shape != x.shape[:1]:
        raise check.InputError(
            f"eps must be one number or one for each of {x.shape[0]} examples, got shape {eps.shape}; "
            "use vmap over attacks for several radii an example."
        )
    return eps.reshape(column)


def widen(x: Array) -> Array:
    """``x`` in float32 or wider, the dtype of all geometry."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def narrow(z: Array, x: Array) -> Array:
    """``z`` in the dtype of ``x``, each pixel rounded towards the pixel of ``x``; ``z`` lies in [0, 1].

    Rounding to the nearest number could leave the ball by half a step of the dtype: near 1 this is .002 in
    bfloat16, a quarter of 2/255.
    """
    if z.dtype == x.dtype:
        return z
    # The rounding is arithmetic, because a compiler may skip a cast to half precision and back.
    info = jnp.finfo(x.dtype)
    least = max(int(info.minexp), int(jnp.finfo(z.dtype).minexp) + int(info.nmant))
    # The exponent of the leading bit, large enough for the step.
    exponent = jnp.maximum(jnp.frexp(z)[1] - 1, least)
    step = jnp.ldexp(jnp.ones((), z.dtype), exponent - int(info.nmant))
    return (step * jnp.where(z > x.astype(z.dtype), jnp.floor(z / step), jnp.ceil(z / step))).astype(x.dtype)


def distance(x_adv: Array, x: Array, norm: str) -> Array:
    """The distance of each example from its original, [batch], in float32 or wider.

    Raises:
        ValueError: the norm is unknown.
    """
    check.choice("norm", norm, NORMS)
    return _size(widen(x_adv) - widen(x), norm).reshape(x.shape[0])


def _size(delta: Array, norm: str) -> Array:
    if norm == "l2":
        return _l2(delta)
    return _reduce(jnp.max if norm == "linf" else jnp.sum, jnp.abs(delta))


def project(x_adv: Array, x: Array, eps: Array | float, norm: str) -> Array:
    """Move ``x_adv`` [batch, ...] into the eps-ball around ``x`` [batch, ...] and into the box [0, 1].

    For Linf and L1 the result is the Euclidean projection on the intersection. For L2 it is the projection on
    the ball, followed by that on the box. Since ``x`` lies in the box, the second projection moves every
    pixel towards ``x``, so the result lies in both sets; it is not the nearest such point. This is the
    usual choice (Madry et al. 2018, AutoAttack, foolbox). The result has the dtype of ``x``. Under jit,
    where ``x`` cannot be read, it is NaN for pixels of ``x`` outside of the box.

    Raises:
        ValueError: the norm is unknown, or ``x`` lies outside of the box.
    """
    check.choice("norm", norm, NORMS)
    if readable(x):
        check_box(x)
    original, z = widen(x), widen(x_adv)
    original = jnp.where((original >= 0) & (original <= 1), original, jnp.nan)
    eps = by_example(eps, original)
    if norm == "linf":
        return narrow(jnp.clip(z, jnp.maximum(original - eps, 0), jnp.minimum(original + eps, 1)), x)
    if norm == "l1":
        return narrow(project_l1(z, original, eps), x)
    delta = z - original
    size = _l2(delta)
    scale = jnp.where(size > eps, eps / jnp.where(size > 0, size, 1), 1)
    return narrow(jnp.clip(original + delta * scale, 0, 1), x)


def steepest_direction(gradient: Array, norm: str) -> Array:
    """The unit step that raises a linear function most, [batch, ...]: sign(g) for Linf, g / |g| for L2.

    For L1 the step is that of the one largest entry, the first of equal entries; the box, which
    `steepest_step` regards, may block this entry. The result is in float32 or wider, because the squares
    of a float16 gradient underflow. Entries that are not finite count as zero, and a zero gradient gives a
    zero step, so the iterate stays a valid image whatever the network returns.

    Raises:
        ValueError: the norm is unknown.
    """
    check.choice("norm", norm, NORMS)
    gradient = widen(jnp.where(jnp.isfinite(gradient), gradient, 0))
    if norm == "linf":
        return jnp.sign(gradient)
    if norm == "l1":
        flat = gradient.reshape(gradient.shape[0], -1)
        first = jax.nn.one_hot(jnp.argmax(jnp.abs(flat), axis=1), flat.shape[1], dtype=flat.dtype)
        return (first * jnp.sign(flat)).reshape(gradient.shape)
    largest = _reduce(jnp.max, jnp.abs(gradient))
    scaled = gradient / jnp.where(largest > 0, largest, 1)
    size = jnp.sqrt(_reduce(jnp.sum, scaled**2))
    return scaled / jnp.where(size > 0, size, 1)


def steepest_step(gradient: Array, z: Array, size: Array | float, norm: str) -> Array:
    """The step of a given length that raises a linear function most at ``z``, [batch, ...].

    For Linf and L2 this is ``size`` times `steepest_direction`. For L1 the step moves the entries with the
    largest gradients to the face of the box, one after another (`steepest_step_l1`), because the
    entry that the direction names is often blocked.

    Args:
        gradient: [batch, ...]; entries that are not finite count as zero.
        z: the points [batch, ...], which lie in the box.
        size: the length in ``norm``, in the unit of the pixels: a number, or one an example [batch].
        norm: one of `NORMS`.

    Raises:
        ValueError: the norm is unknown, or ``size`` has another shape.
    """
    size = by_example(size, gradient)
    if norm != "l1":
        return size * steepest_direction(gradient, norm)
    gradient = widen(jnp.where(jnp.isfinite(gradient), gradient, 0))
    return steepest_step_l1(gradient, widen(z), size)


def random_start(key: Key, x: Array, eps: Array | float, norm: str) -> Array:
    """A point drawn uniformly from the eps-ball around each example and clipped to the box, [batch, ...].

    Raises:
        ValueError: the norm is unknown, or ``x`` lies outside of the box.
    """
    check.choice("norm", norm, NORMS)
    original = widen(x)
    eps = by_example(eps, original)
    if norm == "linf":
        delta = jax.random.uniform(key, x.shape, original.dtype, -1, 1)
    else:
        # A uniform direction and a radius with distribution function r^dim are uniform in the ball.
        direction_key, radius_key = jax.random.split(key)
        draw = jax.random.laplace if norm == "l1" else jax.random.normal
        direction = draw(direction_key, x.shape, original.dtype)
        direction = (
            direction / _size(direction, norm) if norm == "l1" else steepest_direction(direction, norm)
        )
        u = jax.random.uniform(radius_key, (x.shape[0], *(1,) * (x.ndim - 1)), original.dtype)
        delta = direction * u ** (1 / math.prod(x.shape[1:]))
    return project(original + eps * delta, x, eps, norm)
