"""Unit vectors and similarities, with gradients that are finite everywhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.types import Array

_TINY = 1e-12


def unit(x: Array) -> Array:
    """Vectors [..., dim] divided by their L2 norms; vectors shorter than 1e-6 become zero, without gradient.

    A vector whose squared norm overflows becomes NaN. (The reciprocal of its norm would be 0.)

    ``x / max(norm(x), eps)`` has the gradient NaN at zero, because that of the norm is 0 / 0. With
    ``x * rsqrt(max(norm(x)^2, eps^2))`` it is finite but 1 / eps, and one zero row outweighs the whole batch.
    """
    x = wide(x)
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    scale = jnp.where(squares > _TINY, jax.lax.rsqrt(jnp.maximum(squares, _TINY)), 0.0)
    return x * jnp.where(squares == jnp.inf, jnp.nan, scale)


def wide(x: Array) -> Array:
    """Floats of float32 or wider: logits over a small temperature lose their gradient in bfloat16."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def products(a: Array, b: Array) -> Array:
    """Inner products [n, m] of rows [n, dim] and [m, dim], at full precision."""
    return jnp.matmul(wide(a), wide(b).T, precision="highest")


def cosines(a: Array, b: Array) -> Array:
    """Cosine similarities [n] of rows [n, dim] and [n, dim]; 0 where a row is zero."""
    return jnp.sum(unit(a) * unit(b), axis=-1)


def pairs(a: Array, b: Array, least: int = 2) -> None:
    """Raise InputError unless ``a`` and ``b`` are [n, dim] of one shape, with n of ``least`` or more."""
    if a.ndim != 2 or a.shape != b.shape or a.shape[0] < least:
        raise check.InputError(
            f"embeddings of two views must be [n, dim] of one shape with n of {least} or more, got "
            f"{a.shape} and {b.shape}."
        )


def grouped(x: Array, group: int) -> Array:
    """Rows [n, ...] in groups of neighbors [n / group, group, ...]; group 0 is one group of all rows.

    Raises:
        InputError: the size of a group does not divide the rows.
    """
    size = group or x.shape[0]
    if x.shape[0] % size:
        raise check.InputError(
            f"groups of {group} do not divide a batch of {x.shape[0]}; choose a group that divides the batch."
        )
    return x.reshape(-1, size, *x.shape[1:])


def check_group(group: int) -> None:
    """Raise InputError unless ``group`` is 0, for the whole batch, or 2 or more."""
    check.integer("group", group)
    if group == 1:
        raise check.InputError("a group of 1 has no negatives; choose a group of 2 or more, or 0 for all.")
