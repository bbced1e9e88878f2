"""Inputs and targets of batches, and soft targets: one-hot labels, label smoothing, mixup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import readable
from lrn.types import Array, Key

INPUTS, TARGETS = ("image", "x"), ("label", "y")


def read(batch: Any) -> tuple[Array, Array]:
    """Inputs and targets of a batch ``{"image" or "x": [batch, ...], "label" or "y": [batch, ...]}``.

    Raises:
        InputError: the batch lacks inputs or targets or has two of them, the two differ in number or are
            empty, the targets are neither integers nor floats, or integer labels have more than one axis.
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
            f"inputs and targets must have one batch size above 0, got shapes {x.shape} and {y.shape}; give "
            "one target for each input."
        )
    if not is_labels(y) and not jnp.issubdtype(y.dtype, jnp.floating):
        raise check.InputError(
            f"targets must be integer labels or floats, got dtype {y.dtype}; convert the targets."
        )
    if is_labels(y) and y.ndim != 1:
        raise check.InputError(
            f"integer labels must be of shape [batch], got {y.shape}; pass class indices, or floats."
        )
    return x, y


def is_labels(y: Array) -> bool:
    """Whether targets are class indices rather than numbers to be predicted."""
    return jnp.issubdtype(y.dtype, jnp.integer)


def check_range(name: str, y: Array, classes: int, remedy: str) -> None:
    """Raise InputError if labels can be read and one of them is below 0, or ``classes`` or above.

    Args:
        name: the name of the labels, which begins the message.
        y: integer labels [n].
        classes: the number of classes.
        remedy: the end of the message: what to do if the labels are right.
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

    Under jit a label outside of the classes cannot be refused, and its row is NaN; a row of zeros would
    have a loss of 0.

    Raises:
        InputError: a label that can be read is outside of the classes.
    """
    check_range("labels", y, classes, "give the network more outputs")
    wide = y.astype(jnp.int32) if y.dtype.itemsize < 4 else y
    known = (wide >= 0) & (wide < classes)
    return jnp.where(known[:, None], jax.nn.one_hot(wide, classes), jnp.nan)


def smooth(target: Array, smoothing: Array | float) -> Array:
    """``(1 - smoothing) target + smoothing / classes`` for targets [batch, classes] (Szegedy et al. 2016)."""
    return (1.0 - smoothing) * target + smoothing / target.shape[1]


def mixup_share(key: Key, alpha: ArrayLike) -> Array:
    """The share of an example in its mixture, a scalar drawn from Beta(alpha, alpha) (Zhang et al. 2018)."""
    return jax.random.beta(key, alpha, alpha)


def mix(x: Array, share: ArrayLike) -> Array:
    """Mixtures ``share * x + (1 - share) * partner`` of rows with partners, [batch, ...].

    The partner of row i is row i from the end. In a batch that was drawn at random this partner is as
    good as a random one, and inputs and targets have the same partners.

    Args:
        x: floats [batch, ...].
        share: the share of the row itself, scalar in [0, 1].

    Raises:
        InputError: the rows hold no floats.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise check.InputError(
            f"mixup needs inputs of floats, got dtype {x.dtype}; convert the inputs, or turn mixup off."
        )
    share = jnp.asarray(share, x.dtype)
    return share * x + (1 - share) * x[::-1]


def _only(batch: Mapping[str, Any], names: tuple[str, ...]) -> Array:
    present = [name for name in names if name in batch]
    if len(present) != 1:
        raise check.InputError(
            f"a batch must have either {names[0]!r} or {names[1]!r}, got {sorted(batch)}; rename its entries."
        )
    value = batch[present[0]]
    if isinstance(value, Tracer):
        return value
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError):
        kind = getattr(value, "dtype", type(value).__name__)
        raise check.InputError(
            f"{present[0]!r} of a batch must hold numbers, got {kind}; encode it as numbers."
        ) from None
