"""Unit vectors and similarities, with gradients that are finite everywhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn.types import Array

_TINY = 1e-12


def unit(x: Array) -> Array:
    """Vectors [..., dim] divided by their L2 norms; the zero vector stays zero, and its gradient is finite.

    ``x / max(norm(x), eps)`` has the gradient NaN at zero, because that of the norm is 0 / 0.
    """
    x = wide(x)
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), _TINY))


def wide(x: Array) -> Array:
    """Floats of float32 or wider: logits over a small temperature lose their gradient in bfloat16."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def products(a: Array, b: Array) -> Array:
    """Inner products [n, m] of rows [n, dim] and [m, dim], at full precision."""
    return jnp.matmul(wide(a), wide(b).T, precision="highest")
