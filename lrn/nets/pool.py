"""Max pooling as a maximum over an axis of windows, whose derivative is one broadcast."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.nets.inputs import images
from lrn.types import Array


def max_pool(x: Array, window: int = 2) -> Array:
    """The maximum over non-overlapping square windows; pixels that fill no window are dropped.

    The derivative goes to the first maximum of a window, as in `lax.reduce_window`.

    Args:
        x: images [batch, height, width, channels], float.
        window: the side of a window, in pixels.

    Returns:
        [batch, height // window, width // window, channels].

    Raises:
        ValueError: the rank or dtype is wrong, or the image is smaller than a window.
    """
    images("x", x)
    check.integer("window", window, 1)
    if min(x.shape[1:3]) < window:
        raise ValueError(
            f"images of {x.shape[1]}x{x.shape[2]} are too small to pool in windows of {window}x{window}; "
            "give larger images or pool less."
        )
    rows, columns = x.shape[1] // window, x.shape[2] // window
    x = x[:, : rows * window, : columns * window]
    return _pool(x.reshape(x.shape[0], rows, window, columns, window, x.shape[3]))


@jax.custom_jvp
def _pool(x: Array) -> Array:
    return _max_and_argmax(x)[0]


def _max_and_argmax(x: Array) -> tuple[Array, Array]:
    """The maximum and its first place over axes 2, 4 of [batch, rows, window, columns, window, channels]."""
    window = x.shape[2]
    best = x[:, :, 0, :, 0]
    argmax = jnp.zeros_like(best, jnp.int32)
    for n in range(1, window * window):
        value = x[:, :, n // window, :, n % window]
        argmax = jnp.where(value > best, n, argmax)
        best = jnp.maximum(best, value)  # jnp.maximum keeps a NaN, which a comparison would drop
    return best, argmax


@_pool.defjvp
def _pool_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # The transpose of a mask over positions is one broadcast; an index would give four scattered writes.
    (x,), (dx,) = primals, tangents
    best, argmax = _max_and_argmax(x)
    window = x.shape[2]
    position = jnp.arange(window * window, dtype=jnp.int32).reshape(1, 1, window, 1, window, 1)
    return best, jnp.where(jnp.expand_dims(argmax, (2, 4)) == position, dx, 0).sum((2, 4))
