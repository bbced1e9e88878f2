"""Linear maps along the axes of images: resizing and blurring as two small matrix products for each image."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn.types import Array


def along_both(x: Array, rows: Array, columns: Array) -> Array:
    """Images [batch, height, width, channels] multiplied along both axes.

    Args:
        x: the images.
        rows: [batch, rows, height]. columns: [batch, columns, width].

    Returns:
        [batch, rows, columns, channels].
    """
    x = x.swapaxes(2, 3)  # [batch, height, channels, width]: both products then read rows in order
    x = jnp.einsum("bhcw,bpw->bhcp", x, columns.astype(x.dtype), precision="highest")
    x = jnp.einsum("boh,bhcp->bocp", rows.astype(x.dtype), x, precision="highest")
    return x.swapaxes(2, 3)


def along_time(x: Array, weights: Array) -> Array:
    """Sequences [batch, time, channels] multiplied by weights [batch, out, time]: [batch, out, channels]."""
    return jnp.einsum("bot,btc->boc", weights.astype(x.dtype), x, precision="highest")


def resizing(start: Array, length: Array, size: int, out: int, *, beyond: bool) -> Array:
    """The weights of a linear resize of windows to ``out`` points, with the antialiasing of Pillow.

    Each output is a mean of the inputs around its place, weighted by a triangle as wide as the distance of
    the outputs, or of the inputs where those are further apart.

    Args:
        start, length: the window of each example [batch], in points of the axis; fractions are allowed.
        size: the number of points of the axis.
        out: the number of outputs.
        beyond: whether points outside of the window take part where the triangle reaches them, as in
            Pillow's ``resize(box=)``; if not, the result is that of a crop and then a resize, as in
            torchvision.

    Returns:
        [batch, out, size]; each row sums to 1.
    """
    scale = (length / out)[:, None]
    centers = start[:, None] + (jnp.arange(out) + 0.5)[None] * scale
    points = (jnp.arange(size) + 0.5)[None, None]
    weights = jax.nn.relu(1 - jnp.abs(points - centers[..., None]) / jnp.maximum(scale, 1)[..., None])
    if not beyond:
        low, high = start[:, None, None], (start + length)[:, None, None]
        weights = jnp.where((points > low) & (points < high), weights, 0)
    return weights / jnp.sum(weights, axis=2, keepdims=True)


def blurring(sigma: ArrayLike, size: int, kernel: int) -> Array:
    """The weights of a Gaussian blur with reflected borders, as in torchvision.

    Args:
        sigma: the standard deviation of the Gaussian for each example [batch], in pixels, above 0.
        size: the number of pixels of the axis, above ``kernel // 2``.
        kernel: the odd number of pixels of the kernel.

    Returns:
        [batch, size, size]; each row sums to 1.
    """
    half = kernel // 2
    taps = jnp.arange(-half, half + 1)
    density = jnp.exp(-0.5 * jnp.square(taps[None] / jnp.asarray(sigma)[:, None]))
    density = density / jnp.sum(density, axis=1, keepdims=True)
    source = jnp.abs(jnp.arange(size)[:, None] + taps[None])  # reflected at the first pixel
    source = (size - 1) - jnp.abs((size - 1) - source)  # and at the last
    return jnp.einsum("bk,oki->boi", density, jax.nn.one_hot(source, size), precision="highest")
