"""Codes with a mean of 0 and a standard deviation of 1."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn.types import Array

_ROUNDING = 1e-12  # a variance below this share of the mean square is the rounding of a constant


def standardized(x: Array, *others: Array) -> tuple[Array, ...]:
    """x and other rows less the mean of x, in units of its standard deviation; a constant column becomes 0.

    Args:
        x: floats [n, dim]. others: floats [rows, dim]; a column that is constant in x becomes 0 there too.

    Returns:
        x and the others, of their shapes.
    """
    mean, variance = jnp.mean(x, axis=0), jnp.var(x, axis=0)
    none = variance <= _ROUNDING * jnp.mean(jnp.square(x), axis=0)
    scale = jnp.where(none, 0.0, jax.lax.rsqrt(jnp.where(none, 1.0, variance)))
    return tuple((part - mean[None]) * scale[None] for part in (x, *others))
