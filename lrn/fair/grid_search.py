"""Grid search over the multipliers of the reduction (Agarwal et al. 2018, section 3.4): one fit a point.

Each model of the grid decides without chance, unlike the mixture of `exponentiated_gradient`. With two groups
and one event the grid is a line, along which the models run from one group's favor to the other's.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.fair import arguments, comparable, constraints
from lrn.fair.model import Fit, decide
from lrn.types import Array, PyTree


class GridModels(NamedTuple):
    """The models of a grid and their training results.

    models: the ``predict`` of each model, a pytree whose leaves have a leading axis [models].
    multipliers: [models, 2, events, groups]. error: [models], in [0, 1].
    violation: [models], the largest violation of each model, in [0, 1].
    """

    models: PyTree
    multipliers: Array
    error: Array
    violation: Array

    def best(self, constraint_weight: float = 0.5) -> Array:
        """The index of the least ``(1 - c) * error + c * violation``, where c is ``constraint_weight``."""
        check.between("constraint_weight", constraint_weight, 0, 1)
        return jnp.argmin((1 - constraint_weight) * self.error + constraint_weight * self.violation)


def multiplier_grid(constraint: str, groups: int, size: int, limit: float = 2.0) -> np.ndarray:
    """A regular grid of multipliers whose net sizes sum to at most ``limit``, [points, 2, events, groups].

    The last group has no multipliers, since its constraints follow from the others'. The grid has at least
    ``size`` points, and for two groups and one event exactly ``size`` where ``size`` is odd.

    Raises:
        InputError: an argument is out of range, or the grid would exceed a million points.
    """
    check.integer("groups", groups, 2)
    check.integer("size", size, 2)
    check.positive("limit", limit)
    events = constraints.parity(constraint, jnp.ones((2, groups))).event.shape[0]
    axes = events * (groups - 1)
    units, points = 1, np.zeros((0, axes))
    while len(points) < size:
        if (2 * units + 1) ** axes > 1_000_000:
            raise check.InputError(
                f"a grid of {size} points on {axes} axes is too large; use exponentiated_gradient instead."
            )
        every = np.array(list(itertools.product(range(-units, units + 1), repeat=axes)))
        points = every[np.abs(every).sum(axis=1) <= units] * (limit / units)
        units += 1
    net = np.zeros((len(points), events, groups))
    net[:, :, :-1] = points.reshape(-1, events, groups - 1)
    return np.stack([np.maximum(net, 0), np.maximum(-net, 0)], axis=1)


def grid_search(
    fit: Fit,
    x: Any,
    y: Any,
    group: Any,
    groups: int,
    constraint: str,
    multipliers: Any,
    weights: Any = None,
) -> GridModels:
    """Fit a pure model to the labels and weights of all multipliers at once; jit and vmap safe.

    Args:
        fit: a pure model, such as ``logistic(LogisticConfig())``.
        x: features [n, dim]. y: labels, 0 or 1 [n]. group: integers in 0..groups-1, [n].
        groups: the number of groups. constraint: a name in `lrn.fair.constraints.CONSTRAINTS`.
        multipliers: [models, 2, events, groups], such as `multiplier_grid` gives.
        weights: [n], 0 or more; None: all 1. The weights of each fit have the sum of these.

    Raises:
        InputError: an argument is wrong.
    """
    x = arguments.features("x", x)
    n = x.shape[0]
    y = arguments.labels("y", y, n).astype(x.dtype)
    group = arguments.groups(group, n, groups)
    weights = arguments.nan_unless_valid(arguments.weights(weights, n).astype(x.dtype), y, group, groups)
    mass = constraints.cell_mass(y, group, weights, groups)
    given = constraints.parity(constraint, mass)
    comparable.compared(constraints.present(given)[0], group, weights)
    multipliers = arguments.numbers("multipliers", multipliers).astype(x.dtype)
    wanted = constraints.present(given).shape
    if multipliers.ndim != 4 or multipliers.shape[1:] != wanted:
        raise check.InputError(
            f"multipliers must have shape [models, {', '.join(map(str, wanted))}], got {multipliers.shape}; "
            "make them with multiplier_grid."
        )

    def one(multiplier: Array) -> tuple[PyTree, Array, Array]:
        value = constraints.signed_weights(given, multiplier)[y.astype(jnp.int32), group]
        predict = fit(x, *constraints.relabeled(value, y, weights))
        rates = constraints.cell_rates(decide(predict(x)), y, group, weights, groups)
        return predict, constraints.error(given, rates), jnp.max(constraints.violations(given, rates))

    models, error, violation = jax.vmap(one)(multipliers)
    return GridModels(models, multipliers, error, violation)
