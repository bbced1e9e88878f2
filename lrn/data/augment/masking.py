"""Cutout: squares of images that are filled (DeVries & Taylor, "Improved regularization ...", 2017)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.data.augment import arguments
from lrn.data.augment.combine import Augmentation
from lrn.types import Array, Key


def cutout(size: int, p: float = 1.0, fill: float = 0.0) -> Augmentation:
    """Fill a square around a random pixel of each image with probability p.

    The center is uniform over all pixels, so that a part of the square may lie outside, as in the paper. A
    square of an even side reaches one pixel further up and left of its center.

    Args:
        size: the side of the square, in pixels.
        p: the probability; may be traced.
        fill: the value of the filled pixels; may be traced.

    Raises:
        InputError: a setting is out of range; from the augmentation: ``x`` is no batch of float images, or
            the square is larger than the image.
    """
    check.integer("size", size, 1)
    p = arguments.probability(p)
    check.finite("fill", fill)

    def augment(key: Key, x: Array) -> Array:
        x = arguments.images(x, p)
        count, rows, columns = x.shape[:3]
        if size > min(rows, columns):
            raise check.InputError(
                f"a square of {size} pixels is larger than the image of {rows}x{columns} pixels; choose a "
                "smaller size."
            )
        choose_key, row_key, column_key = jax.random.split(key, 3)

        def within(key: Key, side: int) -> Array:
            first = jax.random.randint(key, (count, 1), 0, side) - size // 2
            places = jnp.arange(side)[None]
            return (places >= first) & (places < first + size)

        square = within(row_key, rows)[:, :, None] & within(column_key, columns)[:, None]
        square = square & arguments.over(arguments.chosen(choose_key, p, count), count, 3)
        return jnp.where(square[..., None], jnp.asarray(fill, x.dtype), x)

    return augment
