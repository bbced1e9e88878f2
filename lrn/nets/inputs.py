"""Checks of a network's input, and its normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from lrn.types import Array

# None, one number for all channels, or one number for each channel, in the unit of the pixels.
PerChannel = Sequence[float] | float | None


def images(name: str, x: Array, least: int = 1) -> None:
    """Raise ValueError unless ``x`` is a batch of float images with sides of ``least`` pixels or more."""
    floating(name, x)
    if x.ndim != 4:
        raise ValueError(
            f"{name} must be images [batch, height, width, channels], got shape {tuple(x.shape)}; "
            "add or drop an axis."
        )
    if min(x.shape[1:3]) < least:
        raise ValueError(
            f"{name} holds images of {x.shape[1]}x{x.shape[2]}, which are too small; "
            f"this network needs at least {least}x{least} pixels."
        )


def filtered(x: Array, kernel: Array) -> tuple[Array, Array]:
    """Images [batch, height, width, in] and a kernel [rows, columns, in, out], in one dtype.

    Raises:
        ValueError: a rank, a dtype or the number of channels is wrong.
    """
    images("x", x)
    if kernel.ndim != 4 or kernel.shape[2] != x.shape[3]:
        raise ValueError(
            f"kernel must have shape [rows, columns, {x.shape[3]}, out] for x of shape {tuple(x.shape)}, "
            f"got {tuple(kernel.shape)}; make its third axis the channels of x."
        )
    dtype = jnp.result_type(x, kernel)
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


def floating(name: str, x: Array) -> None:
    """Raise ValueError unless ``x`` is a float array with no empty axis."""
    if not hasattr(x, "dtype"):
        raise ValueError(f"{name} must be an array, got {type(x).__name__}; convert it with jnp.asarray.")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"{name} must hold floats, got dtype {x.dtype}; convert first, for images to [0, 1] by x / 255."
        )
    if 0 in x.shape:
        raise ValueError(f"{name} is empty, of shape {tuple(x.shape)}; give at least one example.")


def normalize(x: Array, mean: PerChannel, std: PerChannel) -> Array:
    """(x - mean) / std over the last axis. Networks normalize inside, so that attacks and users use pixels.

    Args:
        x: [..., channels].
        mean, std: None, one number, or one number for each channel.

    Raises:
        ValueError: the number of means or standard deviations is neither 1 nor the channels of ``x``.
    """

    def per_channel(name: str, value: Any) -> Array:
        value = jnp.asarray(value, x.dtype).reshape(-1)
        if value.size not in (1, x.shape[-1]):
            raise ValueError(
                f"{name} has {value.size} values for {x.shape[-1]} channels; give one, or one for each."
            )
        return value.reshape((1,) * (x.ndim - 1) + (-1,))

    if mean is not None:
        x = x - per_channel("mean", mean)
    return x if std is None else x / per_channel("std", std)
