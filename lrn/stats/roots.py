"""The square root of a covariance and its inverse, arrays of jax."""

from __future__ import annotations

import jax.numpy as jnp

from lrn.types import Array


def roots(matrix: Array) -> tuple[Array, Array]:
    """The symmetric square root of a positive definite matrix [n, n] and its inverse, each [n, n].

    A singular matrix gives NaN: one whose least eigenvalue is no more than rounding beside the largest.
    """
    value, vector = jnp.linalg.eigh(matrix)
    singular = value <= 4 * value.shape[0] * jnp.finfo(value.dtype).eps * value[-1]
    root = jnp.where(singular, jnp.nan, jnp.sqrt(jnp.where(singular, 1, value)))
    return (
        jnp.matmul(vector * root[None], vector.T, precision="highest"),
        jnp.matmul(vector / root[None], vector.T, precision="highest"),
    )
