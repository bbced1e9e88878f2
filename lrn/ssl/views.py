"""Views: random copies of a batch, and the inputs of a batch without its labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.supervised.targets import INPUTS
from lrn.types import Array, Key

# view(key, x): a random copy of a batch. x is [batch, ...], floats; the copy is a float array [batch, ...].
View = Callable[[Key, Array], Array]


def inputs(batch: Any, least: int = 2) -> Array:
    """The inputs [batch, ...] of a batch ``{"image" or "x": [batch, ...], ...}``. Labels are not read.

    Args:
        batch: a dict of arrays.
        least: the smallest batch that the method can use.

    Raises:
        InputError: the batch has no inputs or two of them, the inputs are no floats [batch, ...], or the
            batch is too small.
    """
    if not isinstance(batch, Mapping):
        raise check.InputError(
            f"a batch must be a dict such as {{'image': ...}}, got {type(batch).__name__}; name its entries."
        )
    names = [name for name in INPUTS if name in batch]
    if len(names) != 1:
        raise check.InputError(
            f"a batch must have one entry 'image' or 'x', got {sorted(batch)}; rename the inputs."
        )
    x = batch[names[0]]
    if getattr(x, "ndim", 0) < 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise check.InputError(
            f"inputs must be floats [batch, ...], got shape {getattr(x, 'shape', None)} of "
            f"{getattr(x, 'dtype', type(x).__name__)}; convert them, images to [0, 1]."
        )
    if x.shape[0] < least:
        raise check.InputError(
            f"the batch has {x.shape[0]} examples and this objective compares at least {least}; enlarge the "
            "batch."
        )
    return jnp.asarray(x)


def draw(view: View, key: Key, x: Array, count: int = 2) -> tuple[Array, ...]:
    """``count`` independent views of a batch, each [batch, ...].

    Raises:
        InputError: at trace time, if a view has another number of examples.
    """
    drawn = tuple(view(each, x) for each in jax.random.split(key, count))
    for one in drawn:
        if one.ndim < 2 or one.shape[0] != x.shape[0]:
            raise check.InputError(
                f"a view of inputs {x.shape} must keep the {x.shape[0]} examples, got shape {one.shape}; let "
                "the view map [batch, ...] to [batch, ...]."
            )
    return drawn
