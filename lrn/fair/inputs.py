"""Checks of labels, predictions, groups and weights; arrays in, checked float arrays out.

Values that can be read are checked, and a wrong one raises one sentence. Under jit or vmap values cannot be
read; there a wrong value makes every result of the call NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import as_array, readable
from lrn.types import Array


class Rows(NamedTuple):
    """Checked rows; under jit the weights are NaN where any value of any row is out of range.

    y: labels 0 or 1, floats [n]. prediction: floats [n] in [0, 1]. group: int32 [n]. weight: floats [n].
    """

    y: Array
    prediction: Array
    group: Array
    weight: Array


def rows(y: Any, prediction: Any, group: Any, groups: int, weight: Any = None) -> Rows:
    """Labels, predictions, groups and weights of n rows after all checks; the weight is 1 by default.

    Raises:
        InputError: as `binary`, `shares`, `members` and `weights`.
    """
    y, fine_y = binary("y", y)
    prediction, fine_prediction = shares("prediction", prediction, len(y))
    group, fine_group = members(group, groups, len(y))
    weight, fine_weight = weights(weight, len(y), prediction.dtype)
    fine = fine_y & fine_prediction & fine_group & fine_weight
    return Rows(y.astype(prediction.dtype), prediction, group, jnp.where(fine, weight, jnp.nan))


def scored(y: Any, prediction: Any, weight: Any = None) -> tuple[Array, Array, Array]:
    """`rows` without groups: labels, predictions and weights [n] after all checks."""
    one = jnp.zeros(len(vector("y", y)), jnp.int32)
    y, prediction, _, weight = rows(y, prediction, one, 1, weight)
    return y, prediction, weight


def binary(name: str, y: Any) -> tuple[Array, Array]:
    """``y`` as floats [n] that are 0 or 1, and whether all of them are.

    Raises:
        InputError: not one-dimensional, empty, no numbers, or a value other than 0 and 1.
    """
    y = vector(name, y)
    fine = (y == 0) | (y == 1)
    if readable(fine) and not np.asarray(fine).all():
        bad = np.asarray(y)[~np.asarray(fine)]
        what = "are missing (NaN)" if np.isnan(bad).any() else f"are neither 0 nor 1, such as {bad[0]:g}"
        raise check.InputError(
            f"{name} must be 0 or 1 in every row, but {len(bad)} of {len(y)} rows {what}; "
            "leave out rows without a label, and code the favorable outcome as 1."
        )
    return y, fine.all()


def shares(name: str, value: Any, n: int) -> tuple[Array, Array]:
    """``value`` as floats [n] in [0, 1], and whether all of them are.

    Raises:
        InputError: the shape is not [n], or a value is outside of [0, 1].
    """
    value = vector(name, value, n)
    fine = (value >= 0) & (value <= 1)
    if readable(fine) and not np.asarray(fine).all():
        bad = np.asarray(value)[~np.asarray(fine)]
        raise check.InputError(
            f"{name} must be a decision 0 or 1 or a probability between them, got {bad[0]:g}; "
            "apply a threshold or a sigmoid to scores first."
        )
    return value, fine.all()


def members(group: Any, groups: int, n: int | None = None) -> tuple[Array, Array]:
    """``group`` as int32 [n] in 0..groups-1, and whether all of them are.

    Raises:
        InputError: ``groups`` is no whole number of 1 or more, or ``group`` has another form or range.
    """
    check.integer("groups", groups, 1)
    check.between("groups", groups, 1, 2**31 - 1)
    group = array(group)
    if group.dtype == jnp.bool_:
        group = group.astype(jnp.int32)
    if group.ndim != 1 or not jnp.issubdtype(group.dtype, jnp.integer) or group.shape[0] != (n or len(group)):
        raise check.InputError(
            f"group must be integers, one for each of the {'n' if n is None else n} rows, got shape "
            f"{group.shape} and dtype {group.dtype}; number the groups from 0 (numpy.unique with "
            "return_inverse does it), or give a data frame to lrn.fair.frames, which takes names."
        )
    group = group.astype(jnp.int32)
    fine = (group >= 0) & (group < groups)
    if readable(fine) and not np.asarray(fine).all():
        bad = np.asarray(group)[~np.asarray(fine)]
        raise check.InputError(
            f"group must lie between 0 and {groups - 1}, got {bad[0]}; raise groups, or number them from 0."
        )
    return group, fine.all()


def weights(weight: Any, n: int, dtype: Any = jnp.float32, name: str = "weight") -> tuple[Array, Array]:
    """``weight`` as finite floats [n], 0 or more, and whether all of them are; ones for None.

    Raises:
        InputError: the shape is not [n], or a weight is negative or not finite.
    """
    if weight is None:
        return jnp.ones(n, dtype), jnp.asarray(True)
    weight = vector(name, weight, n).astype(dtype)
    return weight, finite(name, weight, 0)


def finite(name: str, value: Array, low: float) -> Array:
    """Whether all of ``value`` are finite and ``low`` or more, a scalar bool.

    Raises:
        InputError: a value that can be read is not.
    """
    fine = (value >= low) & (value < jnp.inf)
    if readable(fine) and not np.asarray(fine).all():
        bad = np.asarray(value)[~np.asarray(fine)]
        raise check.InputError(
            f"{name} must be finite and {low:g} or more, got {bad[0]:g}; drop or mend those rows."
        )
    return fine.all()


def subgroups(member: Any, n: int) -> Array:
    """``member`` as bools [subgroups, n]: which rows belong to each subgroup; subgroups may overlap.

    Raises:
        InputError: ``member`` is not a boolean array of this shape.
    """
    member = as_array(member)
    if member.ndim != 2 or member.shape[1] != n or member.shape[0] == 0 or member.dtype != jnp.bool_:
        raise check.InputError(
            f"member must be bools [subgroups, {n}], got shape {member.shape} and dtype {member.dtype}; "
            "give one row of membership for each subgroup."
        )
    return member


def points(x: Any, n: int) -> tuple[Array, Array]:
    """``x`` as floats [n, dim], and whether all of them are finite.

    Raises:
        InputError: the shape is not [n, dim], or a value is not finite.
    """
    x = as_array(x)
    if x.ndim != 2 or x.shape[0] != n or x.shape[1] == 0 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise check.InputError(
            f"x must be floats [{n}, dim], got shape {x.shape} and dtype {x.dtype}; give one row of features "
            "for each prediction."
        )
    fine = jnp.isfinite(x)
    if readable(fine) and not np.asarray(fine).all():
        raise check.InputError("x holds values that are not finite; fill them in or leave those rows out.")
    return x.astype(jnp.promote_types(x.dtype, jnp.result_type(float))), fine.all()


def vector(name: str, value: Any, n: int | None = None) -> Array:
    """``value`` as floats [n] of the default float dtype or wider, n >= 1.

    Raises:
        InputError: not a one-dimensional array of numbers or bools, empty, or of another length than n.
    """
    value = array(value)
    kind = value.dtype
    real = kind == jnp.bool_ or jnp.issubdtype(kind, jnp.integer) or jnp.issubdtype(kind, jnp.floating)
    if value.ndim != 1 or len(value) == 0 or not real or (n is not None and len(value) != n):
        raise check.InputError(
            f"{name} must be numbers, one for each of the {'n' if n is None else n} rows, got shape "
            f"{value.shape} and dtype {kind}; give a flat array of numbers."
        )
    return jnp.asarray(value).astype(jnp.promote_types(kind, jnp.result_type(float)))


def array(value: Any) -> Any:
    """The value as an array of JAX; strings, objects and uneven lists, which JAX refuses, as NumPy's."""
    if not hasattr(value, "dtype"):
        try:
            read = np.asarray(value)
        except ValueError:
            read = np.asarray(value, dtype=object)
        except TypeError:  # a list with tracers
            return as_array(value)
        if read.dtype.kind not in "biufc":
            return read
    try:
        return as_array(value)
    except (TypeError, ValueError):
        return np.asarray(value)


def check_groups(y: Any, group: Any, groups: int, names: Sequence[str] | None = None) -> None:
    """Refuse, before an audit or a training, a group with fewer than two rows or with one class only.

    Group metrics of such a group are NaN or have no spread. The function reads values, so it is called on
    concrete data, outside of jit and vmap.

    Args:
        y: labels 0 or 1 [n]. group: int [n] in 0..groups-1. names: names of the groups, for the message.

    Raises:
        InputError: a group has fewer than two rows or one class, or the arrays are wrong or traced.
    """
    y, _ = binary("y", y)
    group, _ = members(group, groups, len(y))
    if not (readable(y) and readable(group)):
        raise check.InputError(
            "check_groups reads values, and these are traced; call it outside jit and vmap."
        )
    for g in range(groups):
        labels = np.asarray(y)[np.asarray(group) == g]
        name = f"group {g}" if names is None else f"group {names[g]!r}"
        if len(labels) < 2:
            raise check.InputError(
                f"{name} has {len(labels)} row(s), and a rate needs two or more; merge it with another group."
            )
        if labels.min() == labels.max():
            raise check.InputError(
                f"{name} has labels of class {labels[0]:g} only, so rates of the other class do not exist; "
                "merge it with another group, or use metrics that need no label."
            )
