"""Confusion counts by group: the four sums from which all group metrics of decisions follow.

One pass over the rows gives ``counts = confusion(y, prediction, group, groups)``; every metric in
`lrn.fair.rates` and `lrn.fair.gaps` is a function of these counts, so many metrics cost one pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn.arrays import nan_where
from lrn.fair import inputs
from lrn.types import Array


class Confusion(NamedTuple):
    """Weighted numbers of rows, each [..., groups]; the leading axes are free (thresholds, resamples, seeds).

    tp: label 1, predicted 1. fp: label 0, predicted 1. fn: label 1, predicted 0. tn: label 0, predicted 0.
    """

    tp: Array
    fp: Array
    fn: Array
    tn: Array


def confusion(y: Any, prediction: Any, group: Any, groups: int, weight: Any = None) -> Confusion:
    """Confusion counts of each group.

    A prediction between 0 and 1 is the probability of the decision 1, and the counts are their expectations:
    a randomized classifier is measured without a draw. Sums of whole numbers are exact up to 2^24 in float32.

    Args:
        y: labels 0 or 1 [n].
        prediction: decisions 0 or 1, or their probabilities [n].
        group: int [n], the group of each row, in 0..groups-1. A group may be empty.
        groups: the number of groups; static.
        weight: weights of rows, 0 or more [n]; 1 by default. A row of weight 2 counts as two equal rows.

    Returns:
        Counts [groups]; all NaN if values are wrong that cannot be read under jit.

    Raises:
        InputError: a shape, dtype or value is wrong.
    """
    y, prediction, group, weight = inputs.rows(y, prediction, group, groups, weight)
    counts = sum_by_group(cells(y, prediction, weight), group, groups)
    # A decision that became a float may hide a weight of NaN in the sums: see `nan_where`.
    return Confusion(*nan_where(jnp.isnan(weight).any(), counts))


def cells(y: Array, prediction: Array, weight: Array) -> Array:
    """What each row adds to the four counts, [4, n], from checked rows [n]."""
    hit, miss = weight * prediction, weight * (1 - prediction)
    return jnp.stack([y * hit, (1 - y) * hit, y * miss, (1 - y) * miss])


def sum_by_group(values: Array, group: Array, groups: int) -> Array:
    """Sums of the values [k, n] over the rows of each group, [k, groups]."""
    return jnp.dot(values, jax.nn.one_hot(group, groups, dtype=values.dtype), precision="highest")


def overall(counts: Confusion) -> Confusion:
    """The counts of all groups together, with a group axis of length one."""
    return Confusion(*(c.sum(axis=-1, keepdims=True) for c in counts))


def total(counts: Confusion) -> Array:
    """The number of rows of each group, [..., groups]."""
    return counts.tp + counts.fp + counts.fn + counts.tn
