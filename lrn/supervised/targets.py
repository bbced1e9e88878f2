"""Batches as inputs and targets, and what makes targets soft: label smoothing and mixup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array, Key

INPUTS, TARGETS = ("image", "x"), ("label", "y")


def read(batch: Any) -> tuple[Array, Array]:
    """Inputs and targets of a batch ``{"image" or "x": [batch, ...], "label" or "y": [batch, ...]}``.

    Raises:
        InputError: the batch has not exactly one of each, the two differ in size or are empty, targets
            are neither integers nor floats, or integer labels have more than one axis.
    """
    if not isinstance(batch, Mapping):
        raise check.InputError(
            f"a batch must be a dict such as {{'image': ..., 'label': ...}}, got {type(batch).__name__}; "
            "name its entries."
        )
    x, y = (_only(batch, names) for names in (INPUTS, TARGETS))
    if x.ndim < 2:
        raise check.InputError(f"inputs must be [batch, ...], got shape {x.shape}; add the missing axis.")
    if y.ndim < 1 or x.shape[0] != y.shape[0] or x.size == 0:
        raise check.InputError(
            f"inputs and targets must have one batch size above 0, got shapes {x.shape} and {y.shape}; pair "
            "them up."
        )
    if not is_labels(y) and not jnp.issubdtype(y.dtype, jnp.floating):
        raise check.InputError(
            f"targets must be integer labels or floats, got dtype {y.dtype}; convert them to one of the two."
        )
    if is_labels(y) and y.ndim != 1:
        raise check.InputError(
            f"integer labels must be of shape [batch], got {y.shape}; pass class indices, or floats."
        )
    return x, y


def is_labels(y: Array) -> bool:
    """Whether targets are class indices, not numbers to be predicted."""
    return jnp.issubdtype(y.dtype, jnp.integer)


def readable(x: Array) -> bool:
    """Whether the values of an array can be looked at: it is not traced, and all of it is in this process."""
    return not isinstance(x, Tracer) and getattr(x, "is_fully_addressable", True)


def check_range(name: str, y: Array, classes: int, remedy: str) -> None:
    """Raise InputError where labels can be read and one of them is none of the classes.

    Args:
        name: of the labels, as they begin the sentence. y: integers [n]. classes: their number.
        remedy: the end of the sentence: what to do besides relabeling.
    """
    if not readable(y):
        return
    values = np.asarray(y)  # not y.min(), which jit would trace
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= classes:
        raise check.InputError(
            f"{name} must lie between 0 and {classes - 1}, got {low} to {high}; relabel them, or {remedy}."
        )


def one_hot(y: Array, classes: int) -> Array:
    """Labels [batch] as probabilities [batch, classes], float32.

    The row of a label that is none of the classes is NaN where it cannot be read, under jit: a row of zeros
    would have a loss of 0.

    Raises:
        InputError: a label that can be read is none of the classes.
    """
    check_range("labels", y, classes, "give the network more outputs")
    wide = y.astype(jnp.int32) if y.dtype.itemsize < 4 else y
    known = (wide >= 0) & (wide < classes)
    return jnp.where(known[:, None], jax.nn.one_hot(wide, classes), jnp.nan)


def smooth(target: Array, smoothing: Array | float) -> Array:
    """``(1 - smoothing) target + smoothing / classes`` (Szegedy et al. 2016), of [batch, classes]."""
    return (1.0 - smoothing) * target + smoothing / target.shape[1]


def mixup_share(key: Key, alpha: ArrayLike) -> Array:
    """The share of an example itself in its mixture, from Beta(alpha, alpha); scalar (Zhang et al. 2018)."""
    return jax.random.beta(key, alpha, alpha)


def mix(x: Array, share: ArrayLike) -> Array:
    """Each row times ``share`` plus its partner times the rest; [batch, ...] of floats.

    The partner is the row at the same place from the end. In a batch that was drawn at random that is as
    good as a random one, and the same for inputs and targets.

    Raises:
        InputError: the rows hold no floats.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise check.InputError(
            f"mixup needs inputs of floats, got dtype {x.dtype}; convert them, or do without."
        )
    share = jnp.asarray(share, x.dtype)
    return share * x + (1 - share) * x[::-1]


def _only(batch: Mapping[str, Any], names: tuple[str, ...]) -> Array:
    there = [name for name in names if name in batch]
    if len(there) != 1:
        raise check.InputError(
            f"a batch must have either {names[0]!r} or {names[1]!r}, got {sorted(batch)}; rename its entries."
        )
    value = batch[there[0]]
    return value if isinstance(value, Tracer) else jnp.asarray(value)
