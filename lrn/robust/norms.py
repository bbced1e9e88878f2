"""Geometry of the threat models: Linf and L2 balls of radius eps, cut by the pixel box [0, 1].

Everything is per example: the first axis is the batch, the norm is over all the others.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from lrn import check
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


def distance(x_adv: Array, x: Array, norm: str) -> Array:
    """Distance of each example from its original, [batch].

    Raises:
        ValueError: an unknown norm.
    """
    check.choice("norm", norm, NORMS)
    delta = x_adv - x
    size = _reduce(jnp.max, jnp.abs(delta)) if norm == "linf" else _l2(delta)
    return size.reshape(x.shape[0])


def project(x_adv: Array, x: Array, eps: Array | float, norm: str) -> Array:
    """Bring ``x_adv`` into the eps-ball around ``x`` and the box [0, 1]; both are [batch, ...], x in the box.

    For Linf this is the Euclidean projection on the intersection. For L2 it is the projection on the ball,
    then on the box: since x lies in the box the second moves every pixel towards x, so the result is in
    both sets, but is not the nearest such point (the usual choice: Madry et al. 2018, AutoAttack, foolbox).

    Raises:
        ValueError: an unknown norm.
    """
    check.choice("norm", norm, NORMS)
    eps = jnp.asarray(eps, x.dtype)
    if norm == "linf":
        return jnp.clip(x_adv, jnp.maximum(x - eps, 0), jnp.minimum(x + eps, 1))
    delta = x_adv - x
    size = _l2(delta)
    return jnp.clip(x + delta * jnp.where(size > eps, eps / jnp.where(size > 0, size, 1), 1), 0, 1)


def steepest_direction(gradient: Array, norm: str) -> Array:
    """The unit step that raises a linear function most: sign(g) for Linf, g / |g| for L2; [batch, ...].

    Entries that are not finite count as zero, and a zero gradient gives a zero step: the iterate stays a
    valid image whatever the network returns.

    Raises:
        ValueError: an unknown norm.
    """
    check.choice("norm", norm, NORMS)
    gradient = jnp.where(jnp.isfinite(gradient), gradient, 0)
    if norm == "linf":
        return jnp.sign(gradient)
    largest = _reduce(jnp.max, jnp.abs(gradient))
    scaled = gradient / jnp.where(largest > 0, largest, 1)
    size = jnp.sqrt(_reduce(jnp.sum, scaled**2))
    return scaled / jnp.where(size > 0, size, 1)


def random_start(key: Key, x: Array, eps: Array | float, norm: str) -> Array:
    """A point drawn uniformly from the eps-ball around each example, then clipped to the box; [batch, ...].

    Raises:
        ValueError: an unknown norm.
    """
    check.choice("norm", norm, NORMS)
    eps = jnp.asarray(eps, x.dtype)
    if norm == "linf":
        delta = jax.random.uniform(key, x.shape, x.dtype, -1, 1)
    else:
        # Uniform in the ball: a uniform direction, at a radius whose distribution function is r^dim.
        direction_key, radius_key = jax.random.split(key)
        direction = steepest_direction(jax.random.normal(direction_key, x.shape, x.dtype), norm)
        u = jax.random.uniform(radius_key, (x.shape[0], *(1,) * (x.ndim - 1)), x.dtype)
        delta = direction * u ** (1 / math.prod(x.shape[1:]))
    return project(x + eps * delta, x, eps, norm)
