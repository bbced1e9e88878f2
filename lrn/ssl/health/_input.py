"""Checks of embeddings; where a value is not finite, all values and gradients become NaN."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from lrn import check
from lrn.ssl.similarity import wide
from lrn.types import Array


def rows(z: Any, name: str = "embeddings") -> Array:
    """Embeddings [n, dim] in float32, n of 2 or more.

    Raises:
        InputError: they have another form.
    """
    shape = getattr(z, "shape", ())
    if len(shape) != 2 or shape[0] < 2 or shape[1] < 1:
        raise check.InputError(
            f"{name} must be [n, dim] with n of 2 or more, got shape {shape}; one example has no spread."
        )
    return _finite(z, name)


def views(z: Any) -> Array:
    """Embeddings [n, views, dim] in float32, with 2 examples and 2 views or more.

    Raises:
        InputError: they have another form.
    """
    shape = getattr(z, "shape", ())
    if len(shape) != 3 or shape[0] < 2 or shape[1] < 2 or shape[2] < 1:
        raise check.InputError(
            f"embeddings of views must be [n, views, dim] with 2 or more of both, got shape {shape}; stack "
            "the views of each example on axis 1."
        )
    return _finite(z, "embeddings of views")


def _finite(z: Any, name: str) -> Array:
    if not jnp.issubdtype(z.dtype, jnp.floating):
        raise check.InputError(f"{name} must be floats, got {z.dtype}; convert them.")
    z = wide(jnp.asarray(z))
    return z * jnp.where(jnp.all(jnp.isfinite(z)), 1.0, jnp.nan).astype(z.dtype)
