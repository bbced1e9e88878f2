"""Whether masked prediction does better than interpolation, which needs no features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments.ssl._tasks import floats
from lrn.ssl.mae import patch_errors
from lrn.ssl.masking import as_mask, random_mask, take
from lrn.types import Array, Key, MaskedNet, Net

POWERS = (1.0, 2.0, 4.0, 8.0)


def errors(
    key: Key, encoder: MaskedNet, decoder: Net, hidden: int, own: Mapping[str, Any], data: Mapping[str, Any]
) -> Array:
    """The errors of MAE at hidden places of test rows, over that of interpolation, [masked].

    Args:
        key: draws the masks. encoder, decoder: the networks. hidden: the number of hidden places.
        own: parameters "masked" and "decoders", leaves [masked, ...], and the rows "test".
        data: that of a task.
    """
    x = floats(data["image" if "image" in data else "x"][own["test"]])
    patches = encoder.split(x)
    patches = patches.reshape(x.shape[0], -1, patches.shape[-1])
    kept, away = random_mask(key, x.shape[0], patches.shape[1], hidden)
    wanted = take(patches, away)
    guesses = interpolated(encoder.split, x, as_mask(away, patches.shape[1]))
    least = jnp.min(jnp.stack([jnp.mean(patch_errors(take(g, away), wanted, False)) for g in guesses]))

    def one(params: tuple[Any, Any]) -> Array:
        tokens, _ = encoder.tokens.apply(params[0], (), (x, kept))
        guess, _ = decoder.apply(params[1], (), (tokens, kept, away))
        return jnp.mean(patch_errors(guess, wanted, False)) / least

    return jax.lax.map(one, (own["masked"], own["decoders"]))


def interpolated(split: Callable[[Array], Array], x: Array, hidden: Array) -> list[Array]:
    """Values at all places from the visible ones, by inverse powers of the distance (Shepard 1968).

    Args:
        split: that of the encoder. x: inputs [n, ...] of one channel. hidden: bool [n, places].

    Returns:
        For each of `POWERS`, patches [n, places, values].
    """
    axes = jnp.meshgrid(*(jnp.arange(float(size)) for size in x.shape[1:-1]), indexing="ij")
    at = jnp.stack([split(axis[None, ..., None]).reshape(-1) for axis in axes], 1)
    apart = jnp.sqrt(jnp.sum(jnp.square(at[:, None] - at[None]), axis=2))
    patches = split(x).reshape(x.shape[0], hidden.shape[1], -1)
    seen = jnp.broadcast_to(~hidden[:, :, None], patches.shape).astype(jnp.float32).reshape(x.shape[0], -1)
    known = seen * patches.reshape(x.shape[0], -1)
    weights = [jnp.where(apart > 0, jnp.maximum(apart, 1.0) ** -power, 0.0) for power in POWERS]
    return [((known @ w) / (seen @ w)).reshape(patches.shape) for w in weights]
