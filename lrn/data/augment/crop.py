"""Crops of images, resized or not, and mirror images."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import readable
from lrn.data.augment import arguments, resample
from lrn.data.augment.combine import Augmentation
from lrn.types import Array, Key

TRIES = 10


def random_resized_crop(
    size: int | tuple[int, int] | None = None,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.0,
) -> Augmentation:
    """Crops of random area and shape, resized to one size: torchvision's ``RandomResizedCrop``.

    Args:
        size: the side of the result in pixels, or (height, width); None keeps the size of the images.
        scale: the range of the crop's share of the area, between 0 and 1; its ends may be traced.
        ratio: the range of the width divided by the height, log-uniform, above 0; its ends may be traced.
        flip: the probability that the result is mirrored, which costs nothing here; may be traced.

    Raises:
        InputError: a setting is out of range; from the augmentation: ``x`` is no batch of float images.
    """
    _sides(size)
    _crop_range(scale, ratio)
    flip = arguments.probability(flip)

    def augment(key: Key, x: Array) -> Array:
        x = arguments.images(x, flip)
        box_key, flip_key = jax.random.split(key)
        boxes = crop_boxes(box_key, x.shape[0], (x.shape[1], x.shape[2]), scale, ratio)
        return resized_crop(x, boxes, size, mirrored=arguments.chosen(flip_key, flip, x.shape[0]))

    return augment


def crop_boxes(
    key: Key,
    count: int,
    size: tuple[int, int],
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Array:
    """The random boxes of torchvision's ``RandomResizedCrop``, whole numbers as floats [count, 4].

    A box has a random share of the area and a random shape; the first of ten draws that fits into the image
    counts. If none fits, the box is the largest in the middle of the image whose shape is allowed.

    Args:
        key: the key.
        count: the number of boxes.
        size: height and width of the images, in pixels.
        scale, ratio: as for `random_resized_crop`.

    Returns:
        top, left, height and width of each box, in pixels.

    Raises:
        InputError: a setting is out of range.
    """
    (small, large), (thin, broad) = _crop_range(scale, ratio)
    rows, columns = size
    area_key, ratio_key, top_key, left_key = jax.random.split(key, 4)
    area = rows * columns * (small + (large - small) * jax.random.uniform(area_key, (count, TRIES)))
    low, high = jnp.log(thin), jnp.log(broad)
    shape = jnp.exp(low + (high - low) * jax.random.uniform(ratio_key, (count, TRIES)))
    widths, heights = jnp.round(jnp.sqrt(area * shape)), jnp.round(jnp.sqrt(area / shape))
    fits = (widths > 0) & (widths <= columns) & (heights > 0) & (heights <= rows)
    first = fits & (jnp.cumsum(fits, axis=1) == 1)
    height, width = (jnp.sum(jnp.where(first, v, 0), axis=1) for v in (heights, widths))
    top, left = arguments.whole(top_key, rows - height + 1), arguments.whole(left_key, columns - width + 1)
    # No draw fits: the image itself, made shorter or narrower until its shape is allowed.
    rest_width = jnp.where(columns / rows > broad, jnp.round(rows * broad), float(columns))
    rest_height = jnp.where(columns / rows < thin, jnp.round(columns / thin), float(rows))
    rest = [(rows - rest_height) // 2, (columns - rest_width) // 2, rest_height, rest_width]
    drawn = jnp.stack([top, left, height, width], axis=1)
    boxes = jnp.where(jnp.any(fits, axis=1)[:, None], drawn, jnp.stack(rest)[None])
    return jnp.where(jnp.isnan(small + large + thin + broad), jnp.nan, boxes)


def resized_crop(
    x: Array,
    boxes: ArrayLike,
    size: int | tuple[int, int] | None = None,
    *,
    mirrored: ArrayLike = False,
    beyond: bool = False,
) -> Array:
    """Boxes of images, resized to one size by linear interpolation with antialiasing.

    Args:
        x: images [batch, height, width, channels].
        boxes: top, left, height and width in pixels [batch, 4], fractions allowed; a box that is not inside
            of its image is refused, or where it cannot be read gives NaN.
        size: the side of the result in pixels, or (height, width); None keeps the size of the images.
        mirrored: whether left and right of the result are swapped, one bool or [batch].
        beyond: True lets pixels around the box take part as in Pillow's ``resize(box=)``; False crops first
            and then resizes, as torchvision does.

    Returns:
        [batch, *size, channels].

    Raises:
        InputError: an argument is out of range.
    """
    x = arguments.images(x)
    check.boolean("beyond", beyond)
    batch, rows, columns = x.shape[:3]
    height, width = _sides(size) or (rows, columns)
    boxes = jnp.asarray(boxes, jnp.promote_types(x.dtype, jnp.float32))
    if boxes.shape != (batch, 4):
        raise check.InputError(
            f"boxes must be [{batch}, 4], one for each image, got shape {boxes.shape}; give top, left, "
            "height and width."
        )
    top, left, tall, wide = boxes.T
    inside = (top >= 0) & (left >= 0) & (tall > 0) & (wide > 0)
    inside = inside & (top + tall <= rows) & (left + wide <= columns)
    if readable(inside) and not np.asarray(inside).all():
        bad = np.asarray(boxes)[int(np.argmin(np.asarray(inside)))]
        raise check.InputError(
            f"a crop must lie inside of the image of {rows}x{columns} pixels, got top, left, height, width "
            f"{bad.tolist()}; choose a smaller crop."
        )
    tall = jnp.where(inside, tall, jnp.nan)
    vertical = resample.resizing(top, tall, rows, height, beyond=beyond)
    horizontal = resample.resizing(left, wide, columns, width, beyond=beyond)
    swapped = arguments.over(mirrored, batch, 3)
    return resample.along_both(x, vertical, jnp.where(swapped, horizontal[:, ::-1], horizontal))


def random_crop(size: int | tuple[int, int], pad: int = 0) -> Augmentation:
    """Windows of a size at random places, without resizing, of images padded with zeros on every side.

    Args:
        size: the side of the window in pixels, or (height, width).
        pad: the width of the padding, in pixels.

    Raises:
        InputError: a setting is out of range; from the augmentation: ``x`` is no batch of float images, or
            the window is larger than the padded image.
    """
    height, width = _sides(size) or (0, 0)
    check.integer("height and width", min(height, width), 1)
    check.integer("pad", pad)

    def augment(key: Key, x: Array) -> Array:
        x = arguments.images(x)
        padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        down, right = padded.shape[1] - height + 1, padded.shape[2] - width + 1
        if min(down, right) < 1:
            raise check.InputError(
                f"a crop of {height}x{width} is larger than the image of {padded.shape[1]}x{padded.shape[2]} "
                "pixels, padding included; choose a smaller crop."
            )
        top_key, left_key = jax.random.split(key)
        top = jax.random.randint(top_key, (x.shape[0],), 0, down)
        left = jax.random.randint(left_key, (x.shape[0],), 0, right)
        shape = (height, width, x.shape[3])
        return jax.vmap(lambda one, *at: jax.lax.dynamic_slice(one, (*at, 0), shape))(padded, top, left)

    return augment


def horizontal_flip(p: float = 0.5) -> Augmentation:
    """Swap left and right of each image with probability p, which may be traced.

    Raises:
        InputError: p is no probability; from the augmentation: ``x`` is no batch of float images.
    """
    p = arguments.probability(p)

    def augment(key: Key, x: Array) -> Array:
        x = arguments.images(x, p)
        mirrored = arguments.over(arguments.chosen(key, p, x.shape[0]), x.shape[0], 4)
        return jnp.where(mirrored, x[:, :, ::-1], x)

    return augment


def _sides(size: Any) -> tuple[int, int] | None:
    """(height, width) of a side or a pair; None for None."""
    if size is None:
        return None
    sides = size if isinstance(size, tuple) else (size, size)
    if len(sides) != 2:
        raise check.InputError(f"size must be a side or (height, width), got {size!r}; give two numbers.")
    for side in sides:
        check.integer("height and width", side, 1)
    return sides


def _crop_range(scale: Any, ratio: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    scale = arguments.interval("scale, the crop's share of the image,", scale, 0, 1)
    ratio = arguments.interval("ratio", ratio, 0, float("inf"))
    for name, end in (("scale", scale[1]), ("ratio", ratio[0])):
        check.positive(f"an end of {name}", end)
    return scale, ratio
