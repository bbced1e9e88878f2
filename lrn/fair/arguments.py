"""Checks of the arguments of fair training: features, binary labels, groups and weights.

Values that a trace hides cannot be checked here; each function says which result is then NaN.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import as_array, readable
from lrn.fair import inputs
from lrn.types import Array


def features(name: str, x: Any) -> Array:
    """``x`` as floats [n, dim], float32 or wider.

    Raises:
        InputError: the shape is wrong, or a value that can be read is not finite.
    """
    x = _numbers(name, x)
    if x.ndim != 2 or x.size == 0:
        raise check.InputError(
            f"{name} must be numbers [n, dim], not empty, got shape {x.shape}; give a row a person."
        )
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if readable(x) and not np.isfinite(np.asarray(x)).all():
        raise check.InputError(f"{name} holds values that are not finite; fill the missing ones in first.")
    return x


def floats(name: str, value: Any, n: int, low: float = -np.inf, high: float = np.inf) -> Array:
    """``value`` as finite floats [n] between ``low`` and ``high``.

    Raises:
        InputError: the shape is wrong, or a value that can be read is not finite or out of range.
    """
    value = inputs.vector(name, _numbers(name, value), n)
    if readable(value):
        read = np.asarray(value)
        fine = np.isfinite(read) & (read >= low) & (read <= high)
        if not fine.all():
            raise check.InputError(
                f"{name} must be finite and between {low:g} and {high:g}, got {read[~fine][0]:g}; leave such "
                "rows out."
            )
    return value


def labels(name: str, y: Any, n: int) -> Array:
    """``y`` as floats [n] of 0 and 1.

    Raises:
        InputError: the shape is wrong, or a value that can be read is neither 0 nor 1.
    """
    return inputs.binary(name, inputs.vector(name, _numbers(name, y), n))[0]


def weights(value: Any, n: int) -> Array:
    """Weights as floats [n], 0 or more; None gives ones.

    Raises:
        InputError: the shape is wrong, or a value that can be read is negative, or all are 0.
    """
    value, _ = inputs.weights(value, n, jnp.result_type(float), "weights")
    if readable(value) and not np.asarray(value).any():
        raise check.InputError("weights are all 0; give at least one row a weight above 0.")
    return value


def groups(group: Any, n: int, count: int) -> Array:
    """``group`` as int32 [n] in 0..count-1.

    Raises:
        InputError: the shape or dtype is wrong, or a value that can be read is outside of the groups.
    """
    return inputs.members(group, count, n)[0]


def _numbers(name: str, value: Any) -> Array:
    """An array of numbers, whose values stay readable where a jitted function closes over them."""
    if not hasattr(value, "aval") and np.asarray(value).dtype.kind not in "biuf":
        kind = np.asarray(value).dtype
        raise check.InputError(f"{name} must hold numbers, got dtype {kind}; encode it as numbers.")
    return as_array(value)


def nan_unless_valid(weights: Array, y: Array, group: Array, groups: int) -> Array:
    """The weights; NaN where a trace hid labels, groups or weights that are wrong."""
    right = jnp.all((y == 0) | (y == 1)) & jnp.all((group >= 0) & (group < groups)) & jnp.all(weights >= 0)
    return jnp.where(right, weights, jnp.nan)


def two_groups(present: Array) -> None:
    """Raise InputError where fewer than two groups [groups] have rows that a constraint compares."""
    if readable(present) and int(np.asarray(present).any(axis=0).sum()) < 2:
        raise check.InputError(
            "fewer than two groups have rows that the constraint compares; give rows of two groups or more."
        )


def both_labels(mass: Array) -> None:
    """Raise InputError where a group with rows lacks one of the labels, for masses [2, groups]."""
    if not readable(mass):
        return
    read = np.asarray(mass)
    lacking = np.argwhere((read == 0) & (read.sum(axis=0) > 0)[None])
    if len(lacking):
        label, group = lacking[0]
        raise check.InputError(
            f"group {group} has no row with label {label}; each group needs both labels, so merge groups or "
            "leave the group out."
        )


def no_empty_group(mass: Array) -> None:
    """Raise InputError where a group has no rows, for masses [2, groups]."""
    if readable(mass) and not np.asarray(mass).sum(axis=0).all():
        group = int(np.argmin(np.asarray(mass).sum(axis=0)))
        raise check.InputError(
            f"group {group} has no rows; number the groups of the data without gaps from 0."
        )
