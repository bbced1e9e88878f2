"""Colored MNIST: a color that predicts the label in training and misleads at test (Arjovsky et al. 2019).

A label says whether the digit is below 5, and is flipped with chance .25. A color is the label, flipped with
a chance that is the environment's own: .2 and .1 in training, .9 at test. In training the color predicts
better (.85) than the digit can (.75); at test it predicts .1. Images have half of the resolution and two
channels, of which the color's holds the image.

As published, labels and colors are drawn once (`painted`). A large network then memorizes the flipped labels
of few images; `redrawn` draws labels and colors anew in every batch, so that nothing can be memorized.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.data.dataset import as_float
from lrn.types import Array, Batch, Key, Sampler

FLIPS, TEST_FLIP, NOISE = (0.2, 0.1), 0.9, 0.25
TRAINING = 50_000  # the first images of MNIST's training split; the published test takes the others


def halved(images: Any) -> np.ndarray:
    """Every second row and column of images, uint8 [n, height / 2, width / 2], as published.

    Args:
        images: uint8 [n, height, width] or [n, height, width, 1].

    Raises:
        InputError: the images have another shape or dtype.
    """
    x = np.asarray(images)
    if x.ndim == 4 and x.shape[-1] == 1:
        x = x[..., 0]
    if x.ndim != 3 or x.dtype != np.uint8:
        raise check.InputError(
            f"images must be uint8 [n, height, width] or [n, height, width, 1], got {x.dtype} of shape "
            f"{list(np.shape(images))}; give MNIST's images."
        )
    return np.ascontiguousarray(x[:, ::2, ::2])


def labels_and_colors(
    key: Key, digit: Array, flip: ArrayLike, noise: ArrayLike = NOISE
) -> tuple[Array, Array]:
    """Noisy labels and flipped colors, each int32 of the digits' shape, 0 or 1.

    Args:
        key: the key.
        digit: whole numbers [...].
        flip: the chance that the color is not the label; broadcasts to the digits.
        noise: the chance that the label is not "below 5".

    Raises:
        InputError: a chance is not between 0 and 1.
    """
    check.between("flip", flip, 0, 1)
    check.between("noise", noise, 0, 1)
    label_key, color_key = jax.random.split(key)
    y = (digit < 5) ^ jax.random.bernoulli(label_key, noise, digit.shape)
    color = y ^ jax.random.bernoulli(color_key, flip, digit.shape)
    return y.astype(jnp.int32), color.astype(jnp.int32)


def assign(
    key: Key, digit: Any, flips: Sequence[float] = FLIPS, noise: ArrayLike = NOISE
) -> dict[str, Array]:
    """Images dealt to environments, with labels and colors.

    Args:
        key: the key. digit: whole numbers [n].
        flips: the chance that a color is not the label in each environment.
        noise: the chance that a label is not "below 5".

    Returns:
        {"rows": int32 [environments, n // environments], the images of each environment in random order;
        "y": labels 0 or 1, int32, and "color": 0 or 1, int32, of these rows; "flip": the flips, floats
        [environments]}.

    Raises:
        InputError: a chance is not between 0 and 1, or there are fewer images than environments.
    """
    digit = _digits(digit)
    count = len(flips)
    for flip in flips:
        check.between("every entry of flips", flip, 0, 1)
    each = digit.shape[0] // max(count, 1)
    if count == 0 or each == 0:
        raise check.InputError(
            f"every environment needs an image, got {digit.shape[0]} images for {count} environments; give "
            "more images, and one flip or more."
        )
    order_key, color_key = jax.random.split(key)
    order = jax.random.permutation(order_key, digit.shape[0])[: each * count]
    rows = order.reshape(each, count).T.astype(jnp.int32)
    flip = jnp.array(flips, jnp.float32)
    y, color = labels_and_colors(color_key, digit[rows], flip[:, None], noise)
    return {"rows": rows, "y": y, "color": color, "flip": flip}


def painted(batch_size: int | None = None) -> Sampler:
    """A sampler of batches whose labels and colors were drawn once, by `assign`.

    Args:
        batch_size: the number of rows of an environment in a batch, drawn with repeats; None for all.

    Returns:
        A sampler. Its data is ``{"image": uint8 or float [n, height, width], **assign(...)}``; its batches
        are {"x": [environments, batch, height, width, 2], "y": int32 [environments, batch]}.
    """
    _check_size(batch_size)

    def draw(key: Key, data: Mapping[str, Any]) -> Batch:
        rows, y, color = (jnp.asarray(data[name]) for name in ("rows", "y", "color"))
        if batch_size is not None:
            place = jax.random.randint(key, (rows.shape[0], batch_size), 0, rows.shape[1])
            rows, y, color = (jnp.take_along_axis(a, place, axis=1) for a in (rows, y, color))
        return {"x": paint(jnp.asarray(data["image"])[rows], color), "y": y}

    return Sampler(draw, check=lambda data: _check_data(data, y="rows", color="rows"))


def redrawn(batch_size: int | None = None, noise: ArrayLike = NOISE) -> Sampler:
    """A sampler that draws labels and colors anew in every batch.

    Args:
        batch_size: the number of rows of an environment in a batch, drawn with repeats; None for all.
        noise: the chance that a label is not "below 5".

    Returns:
        A sampler like `painted`, whose data has "digit", int [n], too; it reads "rows" and "flip" of
        `assign`, and not "y" and "color".
    """
    _check_size(batch_size)

    def draw(key: Key, data: Mapping[str, Any]) -> Batch:
        rows, flip = jnp.asarray(data["rows"]), jnp.asarray(data["flip"])
        place_key, color_key = jax.random.split(key)
        if batch_size is not None:
            place = jax.random.randint(place_key, (rows.shape[0], batch_size), 0, rows.shape[1])
            rows = jnp.take_along_axis(rows, place, axis=1)
        digit = jnp.asarray(data["digit"])[rows]
        y, color = labels_and_colors(color_key, digit, flip[:, None], noise)
        return {"x": paint(jnp.asarray(data["image"])[rows], color), "y": y}

    return Sampler(draw, check=lambda data: _check_data(data, digit="images", flip="environments"))


def published(key: Key, images: Any, digits: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Training and test environments as published, from MNIST's training split.

    Args:
        key: the key.
        images: uint8 [60000, 28, 28, 1]. digits: whole numbers [60000].

    Returns:
        Data for `painted`: two training environments (flips .2 and .1) of 25,000 images each, and one test
        environment (flip .9) of the last 10,000 images. Both have "digit" too.

    Raises:
        InputError: the images have another shape or dtype, or there are not more than 50,000.
    """
    small, digit = halved(images), np.asarray(digits)
    if len(small) <= TRAINING or len(small) != len(digit):
        raise check.InputError(
            f"the published sets need more than {TRAINING} images, each with its digit, got {len(small)} "
            f"and {len(digit)}; give MNIST's training split."
        )
    train_key, test_key = jax.random.split(key)
    parts = []
    for own_key, part, flips in (
        (train_key, slice(None, TRAINING), FLIPS),
        (test_key, slice(TRAINING, None), (TEST_FLIP,)),
    ):
        dealt = assign(own_key, digit[part], flips)
        parts.append({"image": small[part], "digit": digit[part].astype(np.int32), **dealt})
    return parts[0], parts[1]


def paint(images: Array, color: Array) -> Array:
    """Images in the channel of their color, floats [..., height, width, 2].

    Args:
        images: uint8 in 0..255, or floats, [..., height, width].
        color: 0 or 1, int [...]; another number gives an image of NaN.

    Raises:
        InputError: the images are neither uint8 nor floats.
    """
    if images.dtype != jnp.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise check.InputError(f"images must be uint8 or floats, got {images.dtype}; convert them.")
    x = as_float(images) if images.dtype == jnp.uint8 else images
    known = ((color == 0) | (color == 1))[..., None]
    channel = jnp.where(known, jax.nn.one_hot(color, 2, dtype=x.dtype), jnp.nan)
    return x[..., None] * channel[..., None, None, :]


def grey(x: Array) -> Array:
    """Painted images without their color, the sum over the channels, [..., height, width, 1]."""
    return jnp.sum(x, axis=-1, keepdims=True)


def _digits(digit: Any) -> Array:
    digit = jnp.asarray(digit)
    if digit.ndim != 1 or not jnp.issubdtype(digit.dtype, jnp.integer):
        raise check.InputError(
            f"digits must be whole numbers [n], got {digit.dtype} of shape {list(digit.shape)}; give MNIST's "
            "labels."
        )
    return digit


def _check_size(batch_size: int | None) -> None:
    if batch_size is not None:
        check.integer("batch_size", batch_size, 1)


def _check_data(data: Mapping[str, Any], **others: str) -> None:
    """Raise InputError for missing entries, rows that are no images, and entries of another shape."""
    missing = sorted({"image", "rows", *others} - set(data))
    if missing:
        raise check.InputError(f"the data lack {missing}; give images, digits and the entries of assign.")
    rows, count = np.asarray(data["rows"]), np.shape(data["image"])[0]
    if rows.size and not 0 <= rows.min() <= rows.max() < count:
        raise check.InputError(
            f"rows must lie between 0 and {count - 1}, got {rows.min()} to {rows.max()}; deal the images "
            "that the data holds."
        )
    shapes = {"rows": rows.shape, "images": (count,), "environments": rows.shape[:1]}
    for name, of in others.items():
        if np.shape(data[name]) != shapes[of]:
            raise check.InputError(
                f"{name!r} must be {list(shapes[of])}, as the {of}, got shape {list(np.shape(data[name]))}."
            )
