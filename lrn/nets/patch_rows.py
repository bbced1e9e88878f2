"""The patches of images as the rows of a matrix, and products of these rows with a kernel."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lrn.types import Array


@jax.custom_jvp
def product(rows: Array, kernel: Array) -> Array:
    """Rows [r, k] times a transposed kernel [n, k], which makes the backward pass faster on CPU.

    The derivative by a kernel [k, n] is ``rows.T @ d_out``, which takes 1.5 times as long as ``d_out.T @
    rows``, the derivative by the transposed kernel. XLA would transpose the kernel back, and would copy
    it together with another operand to make one product of two; the barrier in the derivative prevents both.
    """
    return jnp.einsum("rk,nk->rn", rows, kernel)


@product.defjvp
def _product_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (rows, kernel), (d_rows, d_kernel) = primals, tangents
    d_kernel = lax.optimization_barrier(d_kernel)
    return product(rows, kernel), (
        jnp.einsum("rk,nk->rn", d_rows, kernel) + jnp.einsum("rk,nk->rn", rows, d_kernel)
    )


def patch_rows(
    x: Array, kernel: tuple[int, ...], pads: list[tuple[int, int]], stride: int, size: tuple[int, int]
) -> Array:
    """The inputs of each output pixel [batch, height', width', rows * columns * in], in kernel order."""
    if any(map(any, pads)):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    if stride > 1 and not any(k % stride for k in kernel):
        rows, columns = (n + k // stride - 1 for n, k in zip(size, kernel))
        blocks = x[:, : rows * stride, : columns * stride]
        blocks = blocks.reshape(x.shape[0], rows, stride, columns, stride * x.shape[3])
        shifted = [
            blocks[:, i : i + size[0], row, j : j + size[1]]
            for i in range(kernel[0] // stride)
            for row in range(stride)
            for j in range(kernel[1] // stride)
        ]
    else:
        rows, columns = ((n - 1) * stride + 1 for n in size)
        shifted = [
            x[:, i : i + rows : stride, j : j + columns : stride]
            for i in range(kernel[0])
            for j in range(kernel[1])
        ]
    # (XLA's loop over a new axis of slices is twice as fast as over their joint channels.)
    return jnp.stack(shifted, axis=3).reshape(*shifted[0].shape[:3], -1)


def patch_bytes(size: tuple[int, ...], kernel: tuple[int, ...], channels: int, dtype: Any) -> int:
    """The bytes of one example's patches, for output images of ``size`` (height, width)."""
    return math.prod(size) * math.prod(kernel) * channels * jnp.dtype(dtype).itemsize
