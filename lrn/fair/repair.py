"""The disparate impact remover: features whose distribution is the same in all groups (Feldman et al. 2015).

A value keeps its rank within its group and moves to the median, over groups, of the values at this rank
(section 5 of the paper). The partial repair goes part of the way on the scale of the values ("geometric").
The group must be known for whoever is repaired.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.fair import arguments, comparable
from lrn.types import Array


class Repair(NamedTuple):
    """A fitted repair.

    quantiles: [groups, dim, levels], each group's values at equally spaced ranks in [0, 1].
    target: [dim, levels], the medians over groups.
    """

    quantiles: Array
    target: Array


def fit_repair(x: Any, group: Any, groups: int, *, weights: Any = None, levels: int = 1001) -> Repair:
    """Each group's quantiles and their medians over groups; jit and vmap safe.

    The quantiles of n rows of equal weight are those of ``numpy.quantile(..., method="hazen")``: a value has
    the rank in the middle of its weight, and between values the quantile is linear.

    Args:
        x: features [n, dim]. group: integers in 0..groups-1, [n]. groups: the number of groups.
        weights: weights [n], 0 or more; None: all 1.
        levels: the number of ranks. A group of n rows of equal weight is repaired exactly if ``levels - 1``
            is a multiple of 2n; else values move by linear interpolation between the ranks.

    Raises:
        InputError: an argument is wrong, or a group has no rows. (Under jit the repair is NaN.)
    """
    check.integer("levels", levels, 2)
    x = arguments.features("x", x)
    group = arguments.groups(group, x.shape[0], groups)
    weights = arguments.weights(weights, x.shape[0]).astype(x.dtype)
    comparable.no_empty_group(jax.ops.segment_sum(weights, group, groups)[None])
    ranks = jnp.linspace(0, 1, levels, dtype=x.dtype)

    def quantiles(g: Array, column: Array) -> Array:
        own = weights * (group == g)
        # Rows without weight stand at the end and repeat the largest value.
        value = jnp.where(own > 0, column, jnp.max(jnp.where(own > 0, column, -jnp.inf)))
        order = jnp.lexsort((own == 0, value))
        own, value = own[order], value[order]
        middle = (jnp.cumsum(own) - own / 2) / jnp.sum(own)
        return jnp.interp(ranks, jnp.where(own > 0, middle, 1), value)

    by_column = jax.vmap(quantiles, in_axes=(None, 1))
    found = jax.vmap(by_column, in_axes=(0, None))(jnp.arange(groups), x)
    valid = jnp.all((group >= 0) & (group < groups)) & arguments.proper(weights) & jnp.all(jnp.isfinite(x))
    found = jnp.where(valid, found, jnp.nan)
    return Repair(found, jnp.median(found, axis=0))


def repaired(fitted: Repair, x: Any, group: Any, amount: ArrayLike = 1.0) -> Array:
    """Features [n, dim] moved the share ``amount`` of the way to the target.

    A value that a group's training rows have several times gets the mean target of its ranks. Values outside
    of the group's range are moved as the range's end.

    Args:
        fitted: the result of `fit_repair`.
        x: features [n, dim]. group: integers [n]. amount: in [0, 1]; 0 changes nothing. May be swept.

    Raises:
        InputError: an argument is wrong. (Under jit the row of an unknown group is NaN.)
    """
    check.between("amount", amount, 0, 1)
    groups, dim, _ = fitted.quantiles.shape
    x = arguments.fitted("x", x, dim)
    group = arguments.groups(group, x.shape[0], groups)

    def one(table: Array, target: Array, column: Array) -> Array:
        low = jnp.searchsorted(table, column, side="left")
        high = jnp.searchsorted(table, column, side="right")
        # Where the table is flat at this value, the mean of the target over the flat stretch.
        running = jnp.concatenate([jnp.zeros(1, target.dtype), jnp.cumsum(target)])
        flat = (running[high] - running[low]) / jnp.maximum(high - low, 1)
        return jnp.where(high > low + 1, flat, jnp.interp(column, table, target))

    columns = jax.vmap(one, in_axes=(0, 0, 1), out_axes=1)
    every = jax.vmap(columns, in_axes=(0, None, None))(fitted.quantiles, fitted.target, x)
    goal = jnp.take_along_axis(every, group[None, :, None], axis=0)[0]
    known = (group >= 0) & (group < groups)
    return jnp.where(known[:, None], (1 - amount) * x + amount * goal, jnp.nan)
