"""Checks of the arguments of fair training: features, binary labels, groups and weights.

Values that a trace hides cannot be checked here; each function says which result is then NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import as_array, readable
from lrn.fair import comparable, inputs
from lrn.types import Array, PyTree


def features(name: str, x: Any) -> Array:
    """``x`` as floats [n, dim], float32 or wider.

    Raises:
        InputError: the shape is wrong, or a value that can be read is not finite.
    """
    x = numbers(name, x)
    if x.ndim != 2 or x.size == 0:
        raise check.InputError(
            f"{name} must be numbers [n, dim], not empty, got shape {x.shape}; give a row a person."
        )
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if readable(x) and not np.isfinite(np.asarray(x)).all():
        raise check.InputError(f"{name} holds values that are not finite; fill the missing ones in first.")
    return x


def fitted(name: str, x: Any, dim: int) -> Array:
    """``x`` as floats [n, dim], the features of rows for a result that was fitted to ``dim`` features.

    Raises:
        InputError: as `features`, or the number of features is another one.
    """
    x = features(name, x)
    if x.shape[1] != dim:
        raise check.InputError(
            f"what you apply was fitted to {dim} features, got {x.shape[1]} in {name}; give the same columns."
        )
    return x


def floats(name: str, value: Any, n: int, low: float = -np.inf, high: float = np.inf) -> Array:
    """``value`` as finite floats [n] between ``low`` and ``high``.

    Raises:
        InputError: the shape is wrong, or a value that can be read is not finite or out of range.
    """
    value = inputs.vector(name, numbers(name, value), n)
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
    return inputs.binary(name, inputs.vector(name, numbers(name, y), n))[0]


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


def numbers(name: str, value: Any) -> Array:
    """An array of real numbers, whose values stay readable where a jitted function closes over them.

    Raises:
        InputError: the value holds strings, objects, complex numbers, or lists of different lengths.
    """
    value = inputs.array(value)
    if isinstance(value, np.ndarray) or jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise check.InputError(f"{name} must hold numbers, got dtype {value.dtype}; encode it as numbers.")
    return value


def individuals(rows: PyTree) -> tuple[PyTree, int]:
    """What was observed of individuals, as arrays of finite numbers [n, ...], and n.

    Raises:
        InputError: there is no array, the arrays differ in length or are empty, or a value that can be read
            is not finite.
    """
    rows = jax.tree.map(lambda leaf: numbers("rows", leaf), rows)
    leaves = jax.tree.leaves(rows)
    shapes = [leaf.shape for leaf in leaves]
    lengths = {shape[:1] for shape in shapes}
    if len(lengths) != 1 or lengths == {()} or lengths == {(0,)}:
        raise check.InputError(
            f"rows must be arrays with one entry for each individual, got shapes {shapes}; give all arrays "
            "one length of 1 or more."
        )
    if any(readable(leaf) and not np.isfinite(np.asarray(leaf)).all() for leaf in leaves):
        raise check.InputError("rows hold values that are not finite; leave those individuals out.")
    return rows, shapes[0][0]


def nan_unless_valid(weights: Array, y: Array, group: Array, groups: int) -> Array:
    """The weights; NaN where a trace hid labels, groups or weights that are wrong."""
    right = jnp.all((y == 0) | (y == 1)) & jnp.all((group >= 0) & (group < groups)) & proper(weights)
    return jnp.where(right, weights, jnp.nan)


def proper(weights: Array) -> Array:
    """Whether all weights are 0 or more and finite, a scalar bool."""
    return jnp.all((weights >= 0) & (weights < jnp.inf))


class Scored(NamedTuple):
    """Checked rows; the weights are NaN where a trace hid a wrong value.

    score, y, weights: floats [n]. group: int32 [n].
    """

    score: Array
    y: Array
    group: Array
    weights: Array


def scores(name: str, value: Any, low: float = -np.inf, high: float = np.inf) -> Array:
    """``value`` as finite floats [n] between ``low`` and ``high``, n at least 1.

    Raises:
        InputError: the shape is wrong, or a value that can be read is not finite or out of range.
    """
    value = numbers(name, value)
    if value.ndim != 1 or value.size == 0:
        raise check.InputError(
            f"{name} must have shape [n], n at least 1, got {value.shape}; give one number a row."
        )
    return floats(name, value, value.shape[0], low, high)


def scored(
    score: Any, y: Any, group: Any, groups: int, weights: Any, low: float = -np.inf, high: float = np.inf
) -> Scored:
    """Scores between ``low`` and ``high``, labels, groups and weights of n rows; no group is empty.

    Raises:
        InputError: a shape, dtype or value is wrong, or a group has no row or one.
    """
    score = scores("score", score, low, high)
    n = score.shape[0]
    y = labels("y", y, n).astype(score.dtype)
    group, _ = inputs.members(group, groups, n)
    weights = inputs.weights(weights, n, score.dtype, "weights")[0]
    comparable.two_rows(group, weights, groups)
    mass = jax.ops.segment_sum(weights, group, groups)
    comparable.no_empty_group(mass[None])
    fine = jnp.all(jnp.isfinite(score) & (score >= low) & (score <= high)) & jnp.all(mass > 0)
    weights = nan_unless_valid(jnp.where(fine, weights, jnp.nan), y, group, groups)
    return Scored(score, y, group, weights)


class Grouped(NamedTuple):
    """Checked rows without labels; weights and mass are NaN where a trace hid a wrong value.

    x: floats [n, dim]. group: int32 [n]. weights: [n]. mass: the weight of each group, [groups].
    """

    x: Array
    group: Array
    weights: Array
    mass: Array


def grouped(x: Any, group: Any, groups: int, weights: Any) -> Grouped:
    """Features, groups and weights of n rows; no group is empty.

    Raises:
        InputError: a shape, dtype or value is wrong, or a group has no rows.
    """
    x = features("x", x)
    group, _ = inputs.members(group, groups, x.shape[0])
    rows, _ = inputs.weights(weights, x.shape[0], x.dtype, "weights")
    mass = jax.ops.segment_sum(rows, group, groups)
    comparable.no_empty_group(mass[None])
    rows = jnp.where(jnp.all(mass > 0) & jnp.all(jnp.isfinite(x)), rows, jnp.nan)
    rows = nan_unless_valid(rows, jnp.zeros_like(rows), group, groups)
    return Grouped(x, group, rows, jax.ops.segment_sum(rows, group, groups))


def mask(name: str, value: Any, n: int) -> Array:
    """``value`` as bools [n].

    Raises:
        InputError: the shape or dtype is wrong.
    """
    value = as_array(value)
    if value.shape != (n,) or value.dtype != jnp.bool_:
        raise check.InputError(
            f"{name} must be bools [{n}], got shape {value.shape} and dtype {value.dtype}; mark each row."
        )
    return value


def split(name: str, value: Any, n: int) -> Array:
    """``value`` as bools [n], true for some rows and false for some.

    Raises:
        InputError: the shape or dtype is wrong, or one of the two parts has no rows.
    """
    value = mask(name, value, n)
    if readable(value) and np.asarray(value).all() == np.asarray(value).any():
        raise check.InputError(
            f"{name} must be true for some rows and false for some, got {bool(value[0])} for all {n}; mark "
            "a part."
        )
    return value
