"""The inputs of a batch without its labels, for learners that read no labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from lrn import check
from lrn.supervised.targets import INPUTS
from lrn.types import Array


def inputs(batch: Any, least: int = 2, tokens: bool = False) -> Array:
    """The inputs [batch, ...] of a batch ``{"image" or "x": [batch, ...], ...}``. Labels are not read.

    Args:
        batch: a dict of arrays.
        least: the smallest batch that the method can use.
        tokens: whether the inputs may be integers.

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
    known = jnp.floating, *([jnp.integer] if tokens else [])
    if getattr(x, "ndim", 0) < 2 or not any(jnp.issubdtype(x.dtype, kind) for kind in known):
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


def partnered(batch: Any, name: str = "partner", least: int = 2) -> tuple[Array, Array]:
    """The two sides of the pairs of a batch, each [batch, ...]: `inputs`, and the entry ``name``.

    Raises:
        InputError: as `inputs`, or the entry is not there or has another shape or dtype than the inputs.
    """
    x = inputs(batch, least)
    other = batch.get(name)
    other = other if other is None else jnp.asarray(other)
    if other is None or other.shape != x.shape or other.dtype != x.dtype:
        got = "none" if other is None else f"{other.dtype} {other.shape}"
        raise check.InputError(
            f"a batch of pairs needs the entry {name!r} of the form {x.dtype} {x.shape} of its inputs, got "
            f"{got}; give one row for each input."
        )
    return x, other
