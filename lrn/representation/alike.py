"""Draws of rows that share a factor's value, for the scores of FactorVAE and BetaVAE."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn.representation import factors as given
from lrn.types import Array, Key


class Alike(NamedTuple):
    """Rows in groups by each factor's values.

    order: int32 [factors, n], the rows, group after group.
    start, length: int32 [factors, n], the first place in `order` and the size of each row's group.
    """

    order: Array
    start: Array
    length: Array


def alike(index: Array, sizes: given.Sizes) -> Alike:
    """The groups of indices [n, factors]."""
    start, count = [], []
    for j, size in enumerate(sizes):
        number = given.counts(index[:, j], size).astype(jnp.int32)
        start.append((jnp.cumsum(number) - number)[index[:, j]])
        count.append(number[index[:, j]])
    order = jnp.argsort(index.T, axis=1).astype(jnp.int32)
    return Alike(order, jnp.stack(start), jnp.stack(count))


def draw(key: Key, groups: Alike, factor: Array, row: Array) -> Array:
    """For each row a row drawn, with replacement, from those with the same value of a factor.

    Args:
        key: the key of the draw.
        groups: of `alike`.
        factor: int, the factors. row: int, the rows; both of one shape.

    Returns:
        int32 of that shape.
    """
    start, count = groups.start[factor, row], groups.length[factor, row]
    share = jax.random.uniform(key, row.shape)
    step = jnp.minimum((share * count).astype(jnp.int32), count - 1)
    return groups.order[factor, start + step]
