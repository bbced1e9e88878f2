"""Any metric by group, or by the intersections of several attributes, with intervals for rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.fair import inputs
from lrn.fair.confusion import Confusion, confusion
from lrn.fair.rate_sample import critical_value, rate_sample, wilson
from lrn.fair.rates import RATES, balanced_accuracy, error_ratio, rate
from lrn.fair.simultaneous import simultaneous_rates
from lrn.fair.subgroups import intersect
from lrn.types import Array

Metric = Callable[[Array, Array, Array], Array]  # (y, prediction, weight) -> scalar
COMPOSED: dict[str, Callable[[Confusion], Array]] = {
    "balanced_accuracy": balanced_accuracy,
    "error_ratio": error_ratio,
}


class GroupRates(NamedTuple):
    """A rate in every cell of a table of groups; arrays of the table's shape.

    rate: the rate, NaN without trials. trials: the effective number of trials. low, high: Wilson's interval
    of each cell by itself. joint_low, joint_high: the interval that holds in all cells at once.
    """

    rate: Array
    trials: Array
    low: Array
    high: Array
    joint_low: Array
    joint_high: Array


def by_group(
    metric: str | Metric,
    y: Any,
    prediction: Any,
    group: Any,
    groups: int | Sequence[int],
    weight: Any = None,
) -> Array:
    """A metric in each group, [groups], or in each intersection of several attributes, [sizes...].

    ``by_group("accuracy", y, d, (sex, race), (2, 5))`` is [2, 5]. An empty cell is NaN, never 0.

    Args:
        metric: a rate of `lrn.fair.rates.RATES`, "balanced_accuracy" or "error_ratio"; or a function
            ``metric(y, prediction, weight) -> scalar`` of all rows, in which a weight of 0 removes a row.
        y: labels 0 or 1 [n]; a function as metric may take any numbers.
        prediction: decisions 0 or 1, or their probabilities [n]; a function may take any numbers.
        group: int [n] in 0..groups-1; or a tuple of such arrays, one an attribute.
        groups: the number of groups; or a tuple, the number of values of each attribute. Static.
        weight: weights of rows, 0 or more [n]; 1 by default.

    Raises:
        InputError: a name, shape, dtype or value is wrong. (Under jit wrong values give NaN.)
    """
    cell, shape = cells(group, groups)
    count = math.prod(shape)
    if isinstance(metric, str):
        check.choice("metric", metric, [*RATES, *COMPOSED])
        counts = confusion(y, prediction, cell, count, weight)
        found = rate(counts, metric) if metric in RATES else COMPOSED[metric](counts)
        return found.reshape(shape)
    y = inputs.vector("y", y)
    prediction = inputs.vector("prediction", prediction, len(y))
    cell, fine = inputs.members(cell, count, len(y))
    weight, fine_weight = inputs.weights(weight, len(y), prediction.dtype)

    def one(index: Array) -> Array:
        inside = jnp.where(cell == index, weight, 0)
        return jnp.where(inside.sum() > 0, metric(y, prediction, inside), jnp.nan)

    found = jax.lax.map(one, jnp.arange(count))
    return jnp.where(fine & fine_weight, found, jnp.nan).reshape(shape)


def rates_by_group(
    name: str,
    y: Any,
    prediction: Any,
    group: Any,
    groups: int | Sequence[int],
    weight: Any = None,
    level: ArrayLike = 0.95,
) -> GroupRates:
    """A rate in each group or intersection, with single and with simultaneous intervals.

    The arguments that are not listed are those of `by_group`.

    Args:
        name: a rate of `lrn.fair.rates.RATES`.
        level: the chance of each interval, and of all joint intervals together; in (0, 1).

    Raises:
        InputError: a name, shape, dtype or value is wrong. (Under jit wrong values give NaN.)
    """
    cell, shape = cells(group, groups)
    sample = rate_sample(name, y, prediction, cell, math.prod(shape), weight)
    single, joint = wilson(sample, critical_value(level)), simultaneous_rates(sample, level)
    found = GroupRates(*sample, single.low, single.high, joint.low, joint.high)
    return GroupRates(*(value.reshape(shape) for value in found))


def cells(group: Any, groups: int | Sequence[int]) -> tuple[Array, tuple[int, ...]]:
    """The cell of each row, int [n], and the shape of the table of cells.

    Args:
        group, groups: one attribute and its number of values, or a tuple of each.

    Raises:
        InputError: one is a tuple and the other is not, or `lrn.fair.subgroups.intersect` refuses them.
    """
    if isinstance(groups, Sequence) != isinstance(group, (tuple, list)) or isinstance(groups, str):
        raise check.InputError(
            "group and groups must both be single (an array and a number) or both be tuples, one entry an "
            "attribute; give the number of values of each attribute."
        )
    if isinstance(groups, Sequence):
        return intersect(group, groups), tuple(groups)
    return inputs.array(group), (groups,)
