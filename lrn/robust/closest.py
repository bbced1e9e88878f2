"""The closest adversarial example found so far: what attacks that minimize the distance share."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn.robust.attack import column
from lrn.robust.norms import by_example, distance, narrow, widen
from lrn.types import Array


class Closest(NamedTuple):
    """The closest adversarial example found for each example.

    x: the points [batch, ...]; the clean input where none is found. distance: the distance of each point
        from its clean input, [batch], in the unit of the pixels: inf where none is found, 0 where the
        network is wrong on the clean input.
    """

    x: Array
    distance: Array


def first(x: Array, wrong: Array, norm: str) -> Closest:
    """The clean inputs, at distance 0 where they are adversarial and at inf elsewhere.

    Args:
        x: the clean inputs [batch, ...].
        wrong: bool [batch], whether the clean inputs are adversarial.
        norm: "linf" or "l2".
    """
    nothing = distance(x, x, norm)  # 0, but NaN for an example that `check_examples` made NaN
    return Closest(x, jnp.where(wrong, nothing, jnp.inf + nothing))


def closer(best: Closest, z: Array, adversarial: Array, x: Array, norm: str) -> Closest:
    """``best``, with those points of ``z`` [batch, ...] that are adversarial, bool [batch], and closer."""
    size = distance(z, x, norm)
    take = adversarial & (size < best.distance)
    return Closest(jnp.where(column(take, x), z, best.x), jnp.where(take, size, best.distance))


def within(found: Closest, x: Array, eps: Array | float | None) -> Array:
    """The points of ``found`` that lie in the ball of radius ``eps``, and the clean inputs for the others.

    Args:
        found: the points of an attack on ``x``.
        x: the clean inputs [batch, ...].
        eps: a radius, one for each example [batch], or None for a ball without bound.

    Returns:
        [batch, ...]; NaN for an example that `check_examples` made NaN.
    """
    if eps is None:
        return found.x
    beyond = column(found.distance, x) > by_example(eps, widen(x))  # False for NaN
    return jnp.where(beyond, x, found.x)


def rounded(z: Array, x: Array) -> Array:
    """`narrow`, with the derivative of the identity; the derivative of a rounding is 0."""
    cast = z.astype(x.dtype)
    return cast + jax.lax.stop_gradient(narrow(z, x) - cast)
