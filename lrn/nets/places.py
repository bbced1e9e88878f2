"""Sequences as places, lookup by index, and checks, which the transformers over places share."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.nets.inputs import floating
from lrn.nets.layers import check_network
from lrn.types import Array


def segments(x: Array, segment: int) -> Array:
    """Segments [batch, time / segment, segment * channels] of sequences [batch, time, channels].

    Raises:
        ValueError: ``x`` is no float [batch, time, channels], or the segment does not divide the time.
    """
    floating("x", x)
    if x.ndim != 3:
        raise check.InputError(
            f"x must be sequences [batch, time, channels], got shape {x.shape}; add or drop an axis."
        )
    if x.shape[1] % segment:
        raise check.InputError(
            f"sequences of {x.shape[1]} steps do not divide into segments of {segment}; choose a segment "
            "that divides the time, or crop the sequences."
        )
    return x.reshape(x.shape[0], -1, segment * x.shape[2])


def rows_of(table: Array, index: Array) -> Array:
    """Rows [..., width] of a table [n, width] by index [...]; NaN for an index outside of the table.

    The product with one-hot rows has a matrix product as its derivative too; the derivative of indexing
    would add rows one after the other on CPU.
    """
    inside = (index >= 0) & (index < table.shape[0])
    rows = jax.nn.one_hot(index, table.shape[0], dtype=table.dtype) @ table
    return jnp.where(inside[..., None], rows, jnp.nan)


def check_places(name: str, places: Array, batch: int) -> None:
    """Raise InputError unless ``places`` are integers [batch, k] with k of 1 or more."""
    shape, dtype = jnp.shape(places), jnp.result_type(places)
    if len(shape) != 2 or shape[0] != batch or shape[1] < 1 or not jnp.issubdtype(dtype, jnp.integer):
        raise check.InputError(
            f"{name} must list places as integers [{batch}, k] with k of 1 or more, got {dtype} of shape "
            f"{shape}; draw them by lrn.ssl.masking."
        )


def token_places(x: Array) -> Array:
    """Tokens, integers [batch, time], as [batch, time, 1].

    Raises:
        InputError: ``x`` is no integer [batch, time].
    """
    if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.integer):
        raise check.InputError(
            f"x must be tokens, integers [batch, time], got {x.dtype} of shape {x.shape}; for real values "
            "use sequence_transformer."
        )
    return x[:, :, None]


def check_blocks(width: int, depth: int, heads: int, hidden: int | None, rate: float) -> int:
    """The hidden width, once all sizes are checked."""
    hidden = 4 * width if hidden is None else hidden
    check_network(1, rate, width=(width,), hidden=(hidden,))
    check.integer("depth", depth, 1)
    check.integer("heads", heads, 1)
    if width % heads:
        raise check.InputError(
            f"{heads} heads do not divide the width {width}; choose a width that is a multiple of heads."
        )
    return hidden
