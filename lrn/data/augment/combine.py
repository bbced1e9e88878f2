"""Augmentations put together: one after the other, sometimes, and as several crops."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lrn import check
from lrn.data.augment import arguments
from lrn.types import Array, Key

Augmentation = Callable[[Key, Array], Array]  # augment(key, x) -> x, on a batch [batch, ...]
Augmentations = Callable[[Key, Array], tuple[Array, ...]]  # several augmented copies of a batch


def compose(*augmentations: Augmentation) -> Augmentation:
    """Augmentations one after the other, each with a key of its own.

    Raises:
        InputError: there is none.
    """
    if not augmentations:
        raise check.InputError("compose needs at least one augmentation, got none; name one.")

    def augment(key: Key, x: Array) -> Array:
        for each, augmentation in zip(jax.random.split(key, len(augmentations)), augmentations):
            # Without the barrier XLA computes one augmentation again inside of the next: 10 times as long.
            x = jax.lax.optimization_barrier(augmentation(each, x))
        return x

    return augment


def sometimes(p: float, augmentation: Augmentation) -> Augmentation:
    """Augment each example with probability p, which may be traced, and leave it as it is otherwise.

    The augmentation is computed for all examples. (`color_jitter` and others take a ``p`` of their own.)

    Raises:
        InputError: p is no probability; from the augmentation: it changes the shape of its input.
    """
    p = arguments.probability(p)

    def augment(key: Key, x: Array) -> Array:
        choose_key, key = jax.random.split(key)
        changed, x = augmentation(key, x), arguments.known(x, p)
        if changed.shape != x.shape:
            raise check.InputError(
                f"an augmentation that happens sometimes must keep the shape {x.shape}, got {changed.shape}; "
                "make it always happen."
            )
        mask = arguments.over(arguments.chosen(choose_key, p, x.shape[0]), x.shape[0], x.ndim)
        return jnp.where(mask, changed, x)

    return augment


def multi_crop(large: Augmentation, small: Augmentation, count: int = 6) -> Augmentations:
    """Two large and several small views of each example (SwAV, Caron et al. 2020, section 3.2).

    Args:
        large: the augmentation of the two first views, such as ``simclr_images(224, scale=(0.14, 1))``.
        small: the augmentation of the other views, such as ``simclr_images(96, scale=(0.05, 0.14))``.
        count: the number of small views.

    Returns:
        ``augment(key, x) -> views``, a tuple of 2 + count arrays [batch, ...], the large ones first.

    Raises:
        InputError: the count is negative.
    """
    check.integer("count", count)

    def augment(key: Key, x: Array) -> tuple[Array, ...]:
        keys = jax.random.split(key, 2 + count)
        return tuple((large if i < 2 else small)(keys[i], x) for i in range(2 + count))

    return augment
