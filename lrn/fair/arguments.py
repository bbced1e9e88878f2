"""Checks of the arguments of fair training: features, binary labels, groups and weights.

Values that a trace hides cannot be checked here; each function says which result is then NaN.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lrn import check
from lrn.arrays import readable
from lrn.types import Array


def features(name: str, x: Any) -> Array:
    """``x`` as floats [n, dim], float32 or wider.

    Raises:
        InputError: the shape is wrong, or a value that can be read is not finite.
    """
    x = _array(name, x)
    if x.ndim != 2 or x.size == 0:
        raise check.InputError(
            f"{name} must be numbers [n, dim], not empty, got shape {x.shape}; give a row a person."
        )
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if readable(x) and not np.isfinite(np.asarray(x)).all():
        raise check.InputError(f"{name} holds values that are not finite; fill the missing ones in first.")
    return x


def floats(name: str, value: Any, n: int, low: float = -np.inf, high: float = np.inf) -> Array:
    """``value`` as floats [n] between ``low`` and ``high``.

    Raises:
        InputError: the shape is wrong, or a value that can be read is not finite or out of range.
    """
    value = _array(name, value)
    if value.shape != (n,):
        raise check.InputError(
            f"{name} must have shape [{n}], one value a row, got {value.shape}; give one for each row."
        )
    value = value.astype(jnp.promote_types(value.dtype, jnp.float32))
    if readable(value):
        read = np.asarray(value)
        if not (np.isfinite(read) & (read >= low) & (read <= high)).all():
            wrong = read[~(np.isfinite(read) & (read >= low) & (read <= high))][0]
            raise check.InputError(
                f"{name} must be finite and between {low:g} and {high:g}, got {wrong:g}; leave such rows out."
            )
    return value


def labels(name: str, y: Any, n: int) -> Array:
    """``y`` as floats [n] of 0 and 1.

    Raises:
        InputError: the shape is wrong, or a value that can be read is neither 0 nor 1.
    """
    y = floats(name, y, n)
    if readable(y) and not np.isin(np.asarray(y), (0, 1)).all():
        wrong = np.asarray(y)[~np.isin(np.asarray(y), (0, 1))][0]
        raise check.InputError(
            f"{name} must be 0 or 1, got {wrong:g}; encode the favorable outcome as 1 and the other as 0."
        )
    return y


def weights(value: Any, n: int) -> Array:
    """Weights as floats [n], 0 or more; None gives ones.

    Raises:
        InputError: the shape is wrong, or a value that can be read is negative, or all are 0.
    """
    if value is None:
        return jnp.ones(n)
    value = floats("weights", value, n, low=0)
    if readable(value) and not np.asarray(value).any():
        raise check.InputError("weights are all 0; give at least one row a weight above 0.")
    return value


def groups(group: Any, n: int, count: int) -> Array:
    """``group`` as int32 [n] in 0..count-1.

    Raises:
        InputError: the shape or dtype is wrong, or a value that can be read is outside of the groups.
    """
    check.integer("groups", count, 1)
    group = _array("group", group)
    if group.shape != (n,) or not (jnp.issubdtype(group.dtype, jnp.integer) or group.dtype == bool):
        raise check.InputError(
            f"group must be integers of shape [{n}], got shape {group.shape} and dtype {group.dtype}; number "
            "the groups from 0."
        )
    group = group.astype(jnp.int32)
    if readable(group):
        read = np.asarray(group)
        if read.min() < 0 or read.max() >= count:
            raise check.InputError(
                f"group must lie in 0 to {count - 1}, got {read.min()} to {read.max()}; raise groups, or "
                "number the groups from 0."
            )
    return group


def _array(name: str, value: Any) -> Array:
    if isinstance(value, Tracer):
        return value
    read = np.asarray(value)
    if read.dtype.kind not in "biuf" and not hasattr(value, "aval"):
        raise check.InputError(f"{name} must hold numbers, got dtype {read.dtype}; encode it as numbers.")
    return jnp.asarray(value)


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
