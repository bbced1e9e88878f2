"""Checks of features [n, dim], arrays of jax; where a value is not finite, all values become NaN."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from lrn import check
from lrn.types import Array


def rows(z: Any, name: str = "embeddings") -> Array:
    """Features [n, dim] in float32 or wider, n of 2 or more.

    Raises:
        InputError: they have another form.
    """
    shape = getattr(z, "shape", ())
    if len(shape) != 2 or shape[0] < 2 or shape[1] < 1:
        raise check.InputError(
            f"{name} must be [n, dim] with n of 2 or more, got shape {shape}; one example has no spread."
        )
    return finite(z, name)


def finite(z: Any, name: str) -> Array:
    """Floats of any shape in float32 or wider; where one is not finite all become NaN, and their gradients.

    Raises:
        InputError: they are no floats.
    """
    if not jnp.issubdtype(z.dtype, jnp.floating):
        raise check.InputError(f"{name} must be floats, got {z.dtype}; convert them.")
    z = jnp.asarray(z)
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    return z * jnp.where(jnp.all(jnp.isfinite(z)), 1.0, jnp.nan).astype(z.dtype)
