"""Codes in order, among all rows and within the groups of rows that share a factor's value.

SAP, IRS and InfoMEC need order statistics of each code within each group. One sort for each code and one of
whole numbers for each code and factor give all groups; binary searches then replace passes over the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.representation import factors as given
from lrn.types import Array


class Groups(NamedTuple):
    """Codes sorted within the groups of rows that share a value of one factor.

    place: int32 [dim, n], for each place of the groups, one group after the other, the place in `ordered`.
    start: int32 [size], the first place of each group.
    length: int32 [size], the number of rows of each group.
    """

    place: Array
    start: Array
    length: Array


def ordered(codes: Array) -> tuple[Array, Array]:
    """The values [dim, n] of each code in order, and the rows int32 [dim, n] that they are from."""
    rows = jnp.broadcast_to(jnp.arange(codes.shape[0], dtype=jnp.int32)[None], codes.T.shape)
    values, rows = jax.lax.sort((codes.T, rows), dimension=1, num_keys=1)
    return values, rows


def groups(rows: Array, index: Array, size: int) -> Groups:
    """Groups of one factor.

    Args:
        rows: int32 [dim, n], of `ordered`.
        index: int32 [n], the factor's value of each row.
        size: the number of values.

    Raises:
        InputError: rows times values exceed the whole numbers of 32 bits.
    """
    n = index.shape[0]
    if n * size >= 2**31:
        raise check.InputError(f"{n} rows of a factor of {size} values are too many; take fewer rows.")
    # Sorting value * n + place keeps the order of places within each value.
    key = jnp.sort(index[rows] * n + jnp.arange(n, dtype=jnp.int32)[None], axis=1)
    count = given.counts(index, size).astype(jnp.int32)
    return Groups(key % n, jnp.cumsum(count) - count, count)


def first_true(holds: Callable[[Array], Array], low: Array, high: Array, most: int) -> Array:
    """The least whole number in [low, high] from which on a monotone condition holds; ``high`` if none.

    Args:
        holds: maps numbers, of the shape of ``low``, to bools; it is asked for numbers in [low, high) only,
            and for ``high`` where the two are equal, without consequence.
        low, high: int32 of one shape.
        most: no difference of the two is larger; static.
    """

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) // 2
        yes = holds(middle) | (low >= high)
        return jnp.where(yes, low, middle + 1), jnp.where(yes, jnp.minimum(middle, high), high)

    return jax.lax.fori_loop(0, int(most).bit_length(), halve, (low, high))[0]


def take(values: Array, places: Array) -> Array:
    """Entries [dim, ...] of values [dim, n] at places int [dim, ...], which are cut to [0, n)."""
    flat = jnp.clip(places, 0, values.shape[1] - 1).reshape(places.shape[0], -1)
    return jnp.take_along_axis(values, flat, axis=1).reshape(places.shape)


def mean_ranks(values: Array) -> Array:
    """The rank from 1, float32 [rows, n], of values in order along the last axis; equals share the mean."""
    n = values.shape[1]
    place = jnp.arange(n)[None]
    differs = values[:, 1:] != values[:, :-1]
    begins = jnp.pad(differs, ((0, 0), (1, 0)), constant_values=True)
    ends = jnp.pad(differs, ((0, 0), (0, 1)), constant_values=True)
    first = jax.lax.cummax(jnp.where(begins, place, 0), axis=1)
    last = jax.lax.cummin(jnp.where(ends, place, n), axis=1, reverse=True)
    return (first + last).astype(jnp.float32) / 2 + 1
