"""Augmentation of image batches, as samplers that change the batches of another sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
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
