"""Two augmentations of training on images: a sampler that mirrors and crops, and random shifts."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import between, nan_where
from lrn.types import Array, Batch, Key, Sampler


def flip_and_crop(sampler: Sampler, pad: int = 4) -> Sampler:
    """A sampler that mirrors each image with probability 1/2, pads it, and cuts a random window of its size.

    This is the usual augmentation of CIFAR-10 (He et al. 2016, section 4.2).

    Args:
        sampler: a sampler of batches with an "image" [batch, height, width, channels].
        pad: the width of the padding with zeros on every side, in pixels.

    Raises:
        ValueError: ``pad`` is negative; from ``draw``, the images have another rank.
    """
    check.integer("pad", pad)

    def one(key: Key, image: Array) -> Array:
        flip, down, right = jax.random.split(key, 3)
        image = jnp.where(jax.random.bernoulli(flip), image[:, ::-1], image)
        padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
        offset = (
            jax.random.randint(down, (), 0, 2 * pad + 1),
            jax.random.randint(right, (), 0, 2 * pad + 1),
            0,
        )
        return jax.lax.dynamic_slice(padded, offset, image.shape)

    def draw(key: Key, data: Mapping[str, Any]) -> Batch:
        draw_key, augment_key = jax.random.split(key)
        batch = sampler.draw(draw_key, data)
        images = batch["image"]
        if images.ndim != 4:
            raise check.InputError(
                "flip_and_crop needs images [batch, height, width, channels], got shape "
                f"{list(images.shape)}; give each image three axes."
            )
        return {**batch, "image": jax.vmap(one)(jax.random.split(augment_key, images.shape[0]), images)}

    return Sampler(draw, sampler.needs_data)


def shifted(key: Key, images: Array, most: int = 1, share: Array | float = 1.0) -> Array:
    """Images moved by up to ``most`` pixels along each axis; what moves in is 0.

    Args:
        key: the key.
        images: [batch, height, width, channels].
        most: the largest shift, in pixels.
        share: the probability that an image is moved, in [0, 1]; may be traced, and gives NaN elsewhere.

    Raises:
        ValueError: ``most`` is negative, ``share`` is no probability, or the images have another rank.
    """
    check.integer("most", most)
    check.between("share", share, 0, 1)
    if images.ndim != 4:
        raise check.InputError(
            f"images must be [batch, height, width, channels], got shape {list(images.shape)}; give each "
            "image three axes."
        )
    share = between(share, 0, 1)
    images = images if isinstance(share, numbers.Real) else nan_where(jnp.isnan(share), images)
    by_key, moved_key = jax.random.split(key)
    corners = jax.random.randint(by_key, (images.shape[0], 2), 0, 2 * most + 1)
    corners = jnp.where(jax.random.bernoulli(moved_key, share, (images.shape[0], 1)), corners, most)
    padded = jnp.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    return jax.vmap(lambda x, at: jax.lax.dynamic_slice(x, (*at, 0), images.shape[1:]))(padded, corners)
