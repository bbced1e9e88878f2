"""Geometry of the threat models: Linf and L2 balls of radius eps, cut by the pixel box [0, 1].

Everything is per example: the first axis is the batch, the norm is over all the others. The box is fixed:
a network that wants other ranges rescales inside.

float16 and bfloat16 are computed in float32 (`widen`) and come back rounded towards the original (`narrow`),
so that a point stays in the ball. Near 1 bfloat16 has steps of 1/256: a ball smaller than that holds the
original alone.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from lrn import check
from lrn.robust.attack import check_box, readable
from lrn.types import Array, Key

NORMS = ("linf", "l2")


def _reduce(reduction, x: Array) -> Array:
    """Reduce all axes but the first, keeping them as ones: [batch, ...] -> [batch, 1, ...]."""
    return reduction(x, axis=tuple(range(1, x.ndim)), keepdims=True)


def _l2(x: Array) -> Array:
    # Scaled by the largest entry first: squares of gradients as small as 1e-25 would underflow to 0.
    largest = _reduce(jnp.max, jnp.abs(x))
    scaled = x / jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(_reduce(jnp.sum, scaled**2))


def widen(x: Array) -> Array:
    """``x`` in float32 at least: what all geometry is computed in."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def narrow(z: Array, x: Array) -> Array:
    """``z``, which lies in [0, 1], in the dtype of ``x``, each pixel rounded towards that of ``x``.

    To nearest could leave the ball by half a step of the dtype: near 1 that is .002 in bfloat16, a quarter
    of 2/255.
    """
    if z.dtype == x.dtype:
        return z
    # Rounded by arithmetic, for a compiler may skip a cast to half precision and back.
    info = jnp.finfo(x.dtype)
    least = max(int(info.minexp), int(jnp.finfo(z.dtype).minexp) + int(info.nmant))
    exponent = jnp.maximum(jnp.frexp(z)[1] - 1, least)  # of the leading bit; the step itself is not below
    step = jnp.ldexp(jnp.ones((), z.dtype), exponent - int(info.nmant))
    return (step * jnp.where(z > x.astype(z.dtype), jnp.floor(z / step), jnp.ceil(z / step))).astype(x.dtype)


def distance(x_adv: Array, x: Array, norm: str) -> Array:
    """Distance of each example from its original, [batch], in float32 at least.

    Raises:
        ValueError: an unknown norm.
    """
    check.choice("norm", norm, NORMS)
    delta = widen(x_adv) - widen(x)
    size = _reduce(jnp.max, jnp.abs(delta)) if norm == "linf" else _l2(delta)
    return size.reshape(x.shape[0])


def project(x_adv: Array, x: Array, eps: Array | float, norm: str) -> Array:
    """Bring ``x_adv`` into the eps-ball around ``x`` and the box [0, 1]; both are [batch, ...], x in the box.

    For Linf this is the Euclidean projection on the intersection. For L2 it is the projection on the ball,
    then on the box: since x lies in the box the second moves every pixel towards x, so the result is in
    both sets, but is not the nearest such point (the usual choice: Madry et al. 2018, AutoAttack, foolbox).
    The result has the dtype of ``x``, and is NaN where ``x`` lies outside the box and cannot be read.

    Raises:
        ValueError: an unknown norm, or ``x`` outside the box.
    """
    check.choice("norm", norm, NORMS)
    if readable(x):
        check_box(x)
    original, z = widen(x), widen(x_adv)
    original = jnp.where((original >= 0) & (original <= 1), original, jnp.nan)
    eps = jnp.asarray(eps, original.dtype)
    if norm == "linf":
        return narrow(jnp.clip(z, jnp.maximum(original - eps, 0), jnp.minimum(original + eps, 1)), x)
    delta = z - original
    size = _l2(delta)
    scale = jnp.where(size > eps, eps / jnp.where(size > 0, size, 1), 1)
    return narrow(jnp.clip(original + delta * scale, 0, 1), x)


def steepest_direction(gradient: Array, norm: str) -> Array:
    """The unit step that raises a linear function most: sign(g) for Linf, g / |g| for L2; [batch, ...].

    In float32 at least: the squares of a float16 gradient underflow. Entries that are not finite count as
    zero, and a zero gradient gives a zero step: the iterate stays a valid image whatever the network returns.

    Raises:
        ValueError: an unknown norm.
    """
    check.choice("norm", norm, NORMS)
    gradient = widen(jnp.where(jnp.isfinite(gradient), gradient, 0))
    if norm == "linf":
        return jnp.sign(gradient)
    largest = _reduce(jnp.max, jnp.abs(gradient))
    scaled = gradient / jnp.where(largest > 0, largest, 1)
    size = jnp.sqrt(_reduce(jnp.sum, scaled**2))
    return scaled / jnp.where(size > 0, size, 1)


def random_start(key: Key, x: Array, eps: Array | float, norm: str) -> Array:
    """A point drawn uniformly from the eps-ball around each example, then clipped to the box; [batch, ...].

    Raises:
        ValueError: an unknown norm, or ``x`` outside the box.
    """
    check.choice("norm", norm, NORMS)
    original = widen(x)
    eps = jnp.asarray(eps, original.dtype)
    if norm == "linf":
        delta = jax.random.uniform(key, x.shape, original.dtype, -1, 1)
    else:
        # Uniform in the ball: a uniform direction, at a radius whose distribution function is r^dim.
        direction_key, radius_key = jax.random.split(key)
        direction = steepest_direction(jax.random.normal(direction_key, x.shape, original.dtype), norm)
        u = jax.random.uniform(radius_key, (x.shape[0], *(1,) * (x.ndim - 1)), original.dtype)
        delta = direction * u ** (1 / math.prod(x.shape[1:]))
    return project(original + eps * delta, x, eps, norm)
