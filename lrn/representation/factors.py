"""Codes and factors as the metrics take them: checked, factors as indices of their values.

A metric takes codes [n, dim] and factors [n, factors] of the same rows. Factors are whole numbers, and any
whole numbers will do: where they can be read, the metric numbers their values. Under jit the factors'
values cannot be counted; then ``sizes`` says how many values each factor has, and values lie in [0, size).
A metric of codes that are constant, or not finite, and that cannot be read is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lrn import check
from lrn.arrays import array, readable
from lrn.types import Array


class Rows(NamedTuple):
    """Rows of codes and factors.

    codes: floats [n, dim].
    factors: int32 [n, factors], the index of the value of each factor.
    bad: bool scalar, whether the rows are such that no metric is defined.
    """

    codes: Array
    factors: Array
    bad: Array


LARGEST = 1e15  # the sum of squares of 10^8 such values is a float32
Sizes = tuple[int, ...]  # the number of values of each factor


def rows(codes: Any, factors: Any, sizes: Sequence[int] | None = None) -> tuple[Rows, Sizes]:
    """Codes and factors of the same rows, and the number of values of each factor.

    Args:
        codes: floats [n, dim], n of 2 or more.
        factors: whole numbers [n, factors].
        sizes: the number of values of each factor, whose values then lie in [0, size). None reads them.

    Raises:
        InputError: codes or factors have another form, are not of the same rows, cannot be read without
            ``sizes``, or, where they can be read: a factor has one value, all codes are constant, or a code
            is not finite.
    """
    x, bad = as_codes(codes)
    index, sizes, outside = indices([factors], [x.shape[0]], sizes)
    return Rows(x, index[0], bad | outside), sizes


def train_and_test(
    codes: Any,
    factors: Any,
    test_codes: Any,
    test_factors: Any,
    sizes: Sequence[int] | None = None,
) -> tuple[Rows, Rows, Sizes]:
    """As `rows`, for rows to fit and rows to judge on; both number the factors' values in the same way.

    Raises:
        InputError: as `rows`, or the two have different numbers of codes or factors.
    """
    x, bad = as_codes(codes)
    z, bad_test = as_codes(test_codes, "test codes", constant=True)
    if x.shape[1] != z.shape[1]:
        raise check.InputError(
            f"codes and test codes must have one number of dimensions, got {x.shape[1]} and {z.shape[1]}."
        )
    index, sizes, outside = indices([factors, test_factors], [x.shape[0], z.shape[0]], sizes)
    bad = bad | bad_test | outside
    return Rows(x, index[0], bad), Rows(z, index[1], bad), sizes


def indices(
    parts: list[Any], lengths: list[int], sizes: Sequence[int] | None
) -> tuple[list[Array], Sizes, Array]:
    """Indices int32 [n, factors] for each part of the factors, sizes, and whether a value is outside of them.

    Args:
        parts: whole numbers [n, factors] each, numbered in the same way.
        lengths: the number of rows that each must have.
        sizes: the number of values of each factor; None reads them.

    Raises:
        InputError: as `rows`.
    """
    parts = [array(y, "factors") for y in parts]
    for y, n in zip(parts, lengths):
        shape, dtype = y.shape, y.dtype
        if len(shape) != 2 or shape[0] != n or shape[1] < 1:
            raise check.InputError(
                f"factors must be whole numbers [{n}, factors], one row for each row of codes, got shape "
                f"{shape}."
            )
        if not jnp.issubdtype(dtype, jnp.integer):
            raise check.InputError(
                f"factors must be whole numbers here, got {dtype}; number their values, for example by "
                "np.unique(factor, return_inverse=True)[1], or cut continuous factors into bins."
            )
        if shape[1] != parts[0].shape[1]:
            raise check.InputError("factors and test factors must be the same factors, in one order.")
    known = all(readable(y) for y in parts)
    if sizes is None and not known:
        raise check.InputError(
            "under jit the values of factors cannot be counted; give sizes, the number of values of each "
            "factor, or leave the factors out of the arguments of the jitted function."
        )
    if readable(parts[0]):
        _vary(np.asarray(parts[0]), "factors")
    if sizes is None:
        return _numbered([np.asarray(y) for y in parts])
    given, sizes = tuple(sizes), tuple(int(size) for size in sizes)
    count = parts[0].shape[1]
    if given != sizes or len(sizes) != count or min(sizes) < 2:
        raise check.InputError(
            f"sizes must hold a whole number of 2 or more for each of the {count} factors, got {given}."
        )
    limit, outside = np.asarray(sizes)[None], jnp.asarray(False)
    for y in parts:
        if readable(y):
            values = np.asarray(y)
            if (values < 0).any() or (values >= limit).any():
                raise check.InputError(
                    f"factors must lie in [0, size) for the sizes {sizes}, got values up to "
                    f"{values.max(0).tolist()} and down to {values.min(0).tolist()}."
                )
        else:
            outside = outside | jnp.any((y < 0) | (y >= jnp.asarray(limit)))
    if not readable(parts[0]):
        outside = outside | _one_value(parts[0])
    return [jnp.asarray(y).astype(jnp.int32) for y in parts], sizes, outside


def as_codes(codes: Any, name: str = "codes", constant: bool = False) -> tuple[Array, Array]:
    """Codes [n, dim] in float32 or wider, and whether they are such that no metric is defined.

    Args:
        codes: floats [n, dim], n of 2 or more.
        name: the name in messages.
        constant: whether codes may be constant.

    Raises:
        InputError: they have another form, or can be read and are constant or not finite.
    """
    codes = array(codes, name)
    shape, dtype = codes.shape, codes.dtype
    if len(shape) != 2 or shape[0] < 2 or shape[1] < 1 or not jnp.issubdtype(dtype, jnp.floating):
        raise check.InputError(
            f"{name} must be floats [n, dim] with n of 2 or more, got shape {shape} and dtype {dtype}; give "
            "one row an example."
        )
    x = floats(codes, name)
    if readable(codes):
        values = np.asarray(x)
        if not constant and (values == values[:1]).all():
            raise check.InputError(
                f"{name} are constant: every dimension has one value in all {shape[0]} rows, as {x.dtype}, "
                "so no metric of them is defined; the representation has collapsed."
            )
        return x, jnp.asarray(False)
    bad = ~jnp.all(jnp.abs(x) <= LARGEST)
    return x, bad if constant else bad | jnp.all(x == x[:1])


def numbers(factors: Any, n: int, name: str = "factors") -> tuple[Array, Array]:
    """Factors as floats [n, factors], for metrics that take any numbers, and whether no metric is defined.

    Raises:
        InputError: they have another form, or can be read and are not finite, or a factor has one value.
    """
    factors = array(factors, name)
    shape = factors.shape
    if len(shape) != 2 or shape[0] != n or shape[1] < 1:
        raise check.InputError(
            f"{name} must be numbers [{n}, factors], one row for each row of codes, got shape {shape}."
        )
    y = floats(factors, name)
    if readable(factors):
        _vary(np.asarray(y), name)
        return y, jnp.asarray(False)
    return y, ~jnp.all(jnp.abs(y) <= LARGEST) | _one_value(y)


def floats(values: Any, name: str) -> Array:
    """Values of any shape in float32 or wider.

    Raises:
        InputError: they can be read, and one is not finite, or too large.
    """
    if isinstance(values, Tracer):
        return values.astype(jnp.promote_types(values.dtype, jnp.float32))
    # Constants stay readable under jit; what is too large for a float is refused below.
    with jax.ensure_compile_time_eval(), np.errstate(over="ignore"):
        x = jnp.asarray(values)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if readable(values) and not (np.abs(np.asarray(x)) <= LARGEST).all():
        raise check.InputError(
            f"{name} hold values that are not finite, or beyond {LARGEST:g}, where squares leave floats; "
            "leave those rows or models out, or scale the values."
        )
    return x


def several(name: str, count: int, what: str) -> None:
    """Raise InputError unless there are two or more of what a metric compares."""
    if count < 2:
        raise check.InputError(f"{name} needs 2 {what} or more, got {count}; it compares them.")


def counts(index: Array, size: int) -> Array:
    """The number of rows with each value of a factor, float32 [size], of indices [n]."""
    return jnp.sum(index[:, None] == jnp.arange(size)[None], axis=0).astype(jnp.float32)


def blocks(x: Array, sizes: Sizes, axis: int = 0) -> list[Array]:
    """The part of each factor, of an array with an entry for each value of each factor along an axis."""
    return jnp.split(x, list(np.cumsum(sizes)[:-1]), axis=axis)


def _numbered(parts: list[np.ndarray]) -> tuple[list[Array], Sizes, Array]:
    whole, sizes = np.concatenate(parts), []
    index = np.empty(whole.shape, np.int32)
    for j in range(whole.shape[1]):
        values, index[:, j] = np.unique(whole[:, j], return_inverse=True)
        sizes.append(len(values))
    cuts = np.cumsum([len(y) for y in parts])[:-1]
    return [jnp.asarray(part) for part in np.split(index, cuts)], tuple(sizes), jnp.asarray(False)


def _one_value(y: Array) -> Array:
    """Whether a factor of [n, factors] has one value in all rows."""
    return jnp.any(jnp.all(y == y[:1], axis=0))


def _vary(values: np.ndarray, name: str) -> None:
    same = (values == values[:1]).all(0)
    if same.any():
        j = int(np.argmax(same))
        raise check.InputError(
            f"factor {j} of the {name} has one value, {values[0, j]}, in all {len(values)} rows; leave the "
            "factor out, or take rows in which it varies."
        )
