"""Augmentations of sequences [batch, time, channels].

Um et al., "Data augmentation of wearable sensor data for Parkinson's disease monitoring", 2017.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import between, zero_or_more
from lrn.data.augment import arguments, resample
from lrn.data.augment.combine import Augmentation
from lrn.types import Array, Key


def crop_in_time(share: tuple[float, float] = (0.5, 1.0)) -> Augmentation:
    """Crop a window of random length at a random place, and resize the window to the length of the sequence.

    Args:
        share: the range of the window's share of the length, uniform, above 0 and at most 1; its ends may be
            traced. A window is at least one step long.

    Raises:
        InputError: the range is wrong; from the augmentation: ``x`` is no batch of float sequences.
    """
    low, high = arguments.interval("share, the crop's share of the sequence,", share, 0, 1)
    check.positive("the lower end of share", low)

    def augment(key: Key, x: Array) -> Array:
        x = arguments.sequences(x)
        count, time = x.shape[:2]
        length_key, start_key = jax.random.split(key)
        length = jnp.maximum(jnp.round(time * arguments.uniform(length_key, count, low, high)), 1)
        start = arguments.whole(start_key, time - length + 1)
        return resample.along_time(x, resample.resizing(start, length, time, time, beyond=False))

    return augment


def jitter(std: float = 0.05) -> Augmentation:
    """Add normal noise of this standard deviation, in the unit of the sequence; it may be traced.

    Raises:
        InputError: the deviation is negative; from the augmentation: ``x`` is no batch of float sequences.
    """
    check.non_negative("std", std)
    std = zero_or_more(std)

    def augment(key: Key, x: Array) -> Array:
        x = arguments.sequences(x)
        return x + jnp.asarray(std, x.dtype) * jax.random.normal(key, x.shape, x.dtype)

    return augment


def scale_channels(std: float = 0.1) -> Augmentation:
    """Multiply each channel of each sequence by a normal number of mean 1 and this standard deviation.

    Raises:
        InputError: the deviation is negative; from the augmentation: ``x`` is no batch of float sequences.
    """
    check.non_negative("std", std)
    std = zero_or_more(std)

    def augment(key: Key, x: Array) -> Array:
        x = arguments.sequences(x)
        noise = jax.random.normal(key, (x.shape[0], 1, x.shape[2]), x.dtype)
        return x * (1 + jnp.asarray(std, x.dtype) * noise)

    return augment


def mask_in_time(share: float = 0.2, p: float = 1.0, fill: float = 0.0) -> Augmentation:
    """Fill one window of each sequence with probability p.

    Args:
        share: the largest share of the sequence that is filled, in [0, 1]; may be traced. The length of the
            window is uniform over 0 to this share of the steps.
        p: the probability; may be traced.
        fill: the value of the filled steps; may be traced.

    Raises:
        InputError: a setting is out of range; from the augmentation: ``x`` is no batch of float sequences.
    """
    check.between("share", share, 0, 1)
    share = between(share, 0, 1)
    p = arguments.probability(p)
    check.finite("fill", fill)

    def augment(key: Key, x: Array) -> Array:
        x = arguments.sequences(x, share, p)
        count, time = x.shape[:2]
        length_key, start_key, choose_key = jax.random.split(key, 3)
        most = jnp.full((count,), jnp.floor(share * jnp.asarray(time, jnp.float32)))
        length = arguments.whole(length_key, most + 1)
        start = arguments.whole(start_key, time - length + 1)
        length = jnp.where(arguments.chosen(choose_key, p, count), length, 0)
        steps = jnp.arange(time)[None]
        window = (steps >= start[:, None]) & (steps < (start + length)[:, None])
        return jnp.where(window[..., None], jnp.asarray(fill, x.dtype), x)

    return augment


def permute_segments(segments: int = 4, p: float = 1.0) -> Augmentation:
    """Cut each sequence into segments of equal length, up to one step, and put them in random order.

    Args:
        segments: the number of segments, 2 or more.
        p: the probability; may be traced.

    Raises:
        InputError: a setting is out of range; from the augmentation: ``x`` is no batch of float sequences, or
            there are more segments than steps.
    """
    check.integer("segments", segments, 2)
    p = arguments.probability(p)

    def augment(key: Key, x: Array) -> Array:
        x = arguments.sequences(x, p)
        count, time = x.shape[:2]
        if segments > time:
            raise check.InputError(
                f"a sequence of {time} steps has no {segments} segments; choose at most {time}."
            )
        order_key, choose_key = jax.random.split(key)
        segment = jnp.arange(time) * segments // time
        rank = jnp.argsort(jax.random.uniform(order_key, (count, segments)), axis=1)
        rank = jnp.where(arguments.chosen(choose_key, p, count)[:, None], rank, jnp.arange(segments)[None])
        # The steps sorted by the new rank of their segment; the sort keeps the order within a segment.
        steps = jnp.argsort(rank[:, segment], axis=1, stable=True)
        return jnp.take_along_axis(x, steps[..., None], axis=1)

    return augment
