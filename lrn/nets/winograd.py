"""A 3x3 convolution with 16 multiplications in place of 36 (Lavin and Gray 2016, F(2x2, 3x3)).

Four outputs of a tile of 2x2 pixels depend on 4x4 inputs. In a changed basis of the inputs and of the kernel,
each of 16 coordinates is multiplied by itself alone, so a convolution is 16 products of matrices [tiles, in]
and [in, out]. The changes of basis are sums and halves, and the derivative of the whole has the same form.

The table has milliseconds of processor time for the value and both gradients of a layer in a scan, beside the
matrix of patches of `lrn.nets.conv` (one core of an AMD EPYC, Zen 5, jax 0.10.2).

=========================  =======  ========
layer                      patches  winograd
=========================  =======  ========
128 x 14x14, 32 -> 64         23       18
64 x 14x14, 64 -> 64          20       13
32 x 32x32, 64 -> 64          62       42
32 x 16x16, 128 -> 128        43       29
32 x 8x8, 256 -> 256          43       22
32 x 4x4, 512 -> 512          44       29
4 kernels, 25 x 14x14, 64     56       31
8 kernels, 5 x 14x14, 64      21        8
128 x 28x28, 8 -> 16          11       18
=========================  =======  ========

Rounding is that of float32: on normal inputs both forms err by about 1e-6 of the largest output. Neighbors
share their inputs, so an infinite or undefined pixel also reaches outputs one pixel beyond its window.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax

from lrn.types import Array

CHANNELS = 32  # with fewer inputs or outputs the changes of basis cost more than the products save


def suits(shape: Sequence[int], stride: int, size: tuple[int, int], dtype: jnp.dtype) -> bool:
    """Whether this form is the faster one.

    Args:
        shape: of the kernel [rows, columns, in, out]. stride: of the outputs.
        size: of the outputs (height, width). dtype: of inputs and kernel.
    """
    rows, columns, *channels = shape
    fits = (rows, columns) == (3, 3) and stride == 1 and min(channels) >= CHANNELS
    saves = 16 * _tiles(size[0]) * _tiles(size[1]) < 9 * size[0] * size[1]
    return fits and saves and dtype in (jnp.float32, jnp.float64)


def _tiles(outputs: int) -> int:
    return -(-outputs // 2)


def tile_bytes(size: tuple[int, int], channels: int, dtype: jnp.dtype) -> int:
    """The bytes of one example's coordinates, for outputs of ``size`` and inputs and outputs together."""
    return 16 * _tiles(size[0]) * _tiles(size[1]) * channels * jnp.dtype(dtype).itemsize


def transformed(kernel: Array) -> list[list[Array]]:
    """The kernel [3, 3, in, out] in the new basis: four by four arrays [in, out]."""

    def change(g: Sequence[Array]) -> list[Array]:
        outer, middle = 0.5 * (g[0] + g[2]), 0.5 * g[1]
        return [g[0], outer + middle, outer - middle, g[2]]

    rows = change([kernel[i] for i in range(3)])
    return [change([row[j] for j in range(3)]) for row in rows]


def correlate(
    x: Array, kernel: list[list[Array]], pads: Sequence[tuple[int, int]], size: tuple[int, int]
) -> Array:
    """Cross-correlate images with a 3x3 kernel.

    Args:
        x: images [batch, height, width, in].
        kernel: of `transformed`.
        pads: the zeros before and after the pixels, for each direction.
        size: of the outputs (height', width').

    Returns:
        [batch, height', width', out].
    """
    batch, inputs = x.shape[0], x.shape[3]
    tiles = _tiles(size[0]), _tiles(size[1])
    # A tile more than the outputs in each direction; what an odd size lacks is zero and is cut off below.
    more = [2 * n + 2 - (sum(pad) + length) for n, pad, length in zip(tiles, pads, x.shape[1:3])]
    x = jnp.pad(x, ((0, 0), *((low, high + m) for (low, high), m in zip(pads, more)), (0, 0)))
    x = x.reshape(batch, tiles[0] + 1, 2, tiles[1] + 1, 2, inputs)
    # `coordinates` takes the two axes of a direction away, and puts the tiles in their place.
    coordinates = [_coordinates(row, 2) for row in _coordinates(x, 1)]
    products = [[coordinates[i][j].reshape(-1, inputs) @ kernel[i][j] for j in range(4)] for i in range(4)]
    outputs = [_outputs(row) for row in zip(*(_outputs(column) for column in zip(*products)))]
    outputs = jnp.stack([jnp.stack([y.reshape(batch, *tiles, -1) for y in row], 3) for row in outputs], 2)
    return outputs.reshape(batch, 2 * tiles[0], 2 * tiles[1], -1)[:, : size[0], : size[1]]


def _coordinates(x: Array, axis: int) -> list[Array]:
    """Four arrays [..., tiles, ...] of x [..., tiles + 1, 2, ...], whose ``axis`` counts the tiles."""
    even, odd = (lax.index_in_dim(x, i, axis + 1, keepdims=False) for i in range(2))
    tiles = even.shape[axis] - 1
    a, b, c, d = (
        lax.slice_in_dim(y, start, start + tiles, axis=axis) for start in (0, 1) for y in (even, odd)
    )
    return [a - c, b + c, c - b, b - d]


def _outputs(products: Sequence[Array]) -> list[Array]:
    """Two outputs of four products."""
    a, b, c, d = products
    return [a + b + c, b - c - d]
