"""Parity constraints of the reduction of Agarwal et al. (2018), written on cells of label and group.

A cell is a label (0 or 1) and a group. The error of a classifier, the violation of each constraint, and the
cost of each row's decision depend on the data only through the cells' masses and selection rates, so that a
classifier is a small table [2, groups].

Each constraint compares the mean of a utility in a group with the mean over all groups, given an event:
``|E[u | event, group] - E[u | event]| <= bound``. Two groups may therefore differ by up to twice the bound.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.types import Array

# name -> (events [events, labels], the utility of decision 0 by label, its increase under decision 1)
_FORMS = {
    "demographic_parity": (((1, 1),), (0, 0), (1, 1)),
    "equalized_odds": (((1, 0), (0, 1)), (0, 0), (1, 1)),
    "true_positive_rate_parity": (((0, 1),), (0, 0), (1, 1)),
    "false_positive_rate_parity": (((1, 0),), (0, 0), (1, 1)),
    "error_rate_parity": (((1, 1),), (0, 1), (1, -1)),
}
CONSTRAINTS = tuple(_FORMS)


class Parity(NamedTuple):
    """A constraint on a data set.

    mass: [2, groups], the share of the weight in each cell of label and group; sums to 1.
    event: [events, 2], 1 for the labels that belong to the event.
    base: [2], the utility of decision 0 by label. gain: [2], its increase under decision 1.
    """

    mass: Array
    event: Array
    base: Array
    gain: Array


def parity(constraint: str, mass: Array) -> Parity:
    """The constraint of a name in `CONSTRAINTS`, for the masses of cells [2, groups].

    Raises:
        InputError: the name is not known.
    """
    check.choice("constraint", constraint, CONSTRAINTS)
    event, base, gain = (np.asarray(value) for value in _FORMS[constraint])
    return Parity(mass, *(jnp.asarray(value, mass.dtype) for value in (event, base, gain)))


def cell_mass(y: Array, group: Array, weights: Array, groups: int) -> Array:
    """The share of the weight in each cell of label and group, [2, groups]."""
    return _cell_sums(weights, y, group, groups) / jnp.sum(weights)


def cell_rates(decision: Array, y: Array, group: Array, weights: Array, groups: int) -> Array:
    """The weighted mean decision of each cell, [2, groups]; 0 in an empty cell, where it never counts."""
    mass = _cell_sums(weights, y, group, groups)
    total = _cell_sums(weights * decision, y, group, groups)
    return jnp.where(mass == 0, 0, total / jnp.where(mass == 0, 1, mass))  # NaN stays


def error(given: Parity, rates: Array) -> Array:
    """The error of a classifier with selection rates [2, groups], in [0, 1]."""
    return jnp.sum(given.mass[0] * rates[0]) + jnp.sum(given.mass[1] * (1 - rates[1]))


def half_standard_error(error: Array, n: Array) -> Array:
    """Half the standard error of an error over n rows; rounding may put the error outside of [0, 1]."""
    error = jnp.clip(error, 0, 1)
    return 0.5 * jnp.sqrt(error * (1 - error) / jnp.maximum(n - 1, 1))


def violations(given: Parity, rates: Array) -> Array:
    """The group's mean utility minus the mean over all groups, and its negative: [2, events, groups].

    A group that never has the event has no constraint: its violation is 0. Masses of NaN give NaN.
    """
    by_group, overall = _event_masses(given)
    share = given.mass * (given.base[:, None] + given.gain[:, None] * rates)
    total = jnp.einsum("ey,yg->eg", given.event, share, precision="highest")
    mean = total / jnp.where(by_group == 0, 1, by_group)
    whole = jnp.sum(total, axis=1) / jnp.where(overall == 0, 1, overall)
    difference = jnp.where(by_group == 0, 0, mean - whole[:, None])  # masses of NaN stay
    return jnp.stack([difference, -difference])


def present(given: Parity) -> Array:
    """Whether a group has the event, hence a constraint: bools [2, events, groups]."""
    here = _event_masses(given)[0] > 0
    return jnp.stack([here, here])


def signed_weights(given: Parity, multipliers: Array) -> Array:
    """What decision 1 instead of 0 saves in a row of each cell, [2, groups]; 1 or -1 without multipliers.

    The best response to the multipliers decides 1 where the value is positive, so the value's sign is the
    new label and its size the new weight (section 3.2 of the paper).

    Args:
        given: the constraint.
        multipliers: one a constraint, [2, events, groups], 0 or more.
    """
    by_group, overall = _event_masses(given)
    net = multipliers[0] - multipliers[1]
    own = jnp.where(by_group > 0, net / jnp.where(by_group > 0, by_group, 1), 0)
    pull = own - (jnp.sum(net, axis=1) / overall)[:, None]
    pull = jnp.einsum("ey,eg->yg", given.event, pull, precision="highest")
    return jnp.array([[-1.0], [1.0]], pull.dtype) - given.gain[:, None] * pull


def relabeled(value: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """The labels and the weights of the fit that responds best, for what decision 1 saves in each row [n].

    The weights keep their sum. Where no decision saves anything every model responds best, and the fit takes
    the rows' own labels and weights.

    Args:
        value: `signed_weights` of each row's cell [n]. y: labels, 0 or 1 [n]. weights: weights of rows [n].
    """
    size = weights * jnp.abs(value)
    total = jnp.sum(size)
    idle = total == 0
    scale = jnp.sum(weights) / jnp.where(idle, 1, total)
    label = jnp.where(idle, y, value > 0).astype(weights.dtype)
    return label, jnp.where(idle, weights, size * scale)


def projected(given: Parity, multipliers: Array) -> Array:
    """Multipliers of the least sum that pull every classifier as ``multipliers`` do; [2, events, groups].

    Given the event the violations, weighted by the groups' shares, sum to 0. So the net multipliers may be
    shifted by any multiple of the shares, and a weighted median is the best multiple.
    """
    by_group, overall = _event_masses(given)
    share = by_group / overall[:, None]
    net = multipliers[0] - multipliers[1]
    shift = jnp.where(share > 0, net / jnp.where(share > 0, share, 1), 0)  # candidates [events, groups]
    moved = net[:, None] - shift[:, :, None] * share[:, None]  # [events, candidates, groups]
    best = jnp.argmin(jnp.where(share > 0, jnp.sum(jnp.abs(moved), axis=2), jnp.inf), axis=1)
    net = jnp.take_along_axis(moved, best[:, None, None], axis=1)[:, 0]
    return jnp.stack([jnp.maximum(net, 0), jnp.maximum(-net, 0)])


def _event_masses(given: Parity) -> tuple[Array, Array]:
    by_group = jnp.einsum("ey,yg->eg", given.event, given.mass, precision="highest")
    return by_group, jnp.sum(by_group, axis=1)


def _cell_sums(value: Array, y: Array, group: Array, groups: int) -> Array:
    cell = y.astype(jnp.int32) * groups + group
    return jax.ops.segment_sum(value, cell, 2 * groups).reshape(2, groups)
