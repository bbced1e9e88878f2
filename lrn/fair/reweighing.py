"""Reweighing: weights that make label and group independent in the training data (Kamiran & Calders 2012)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from lrn.fair import arguments, comparable, inputs
from lrn.fair.constraints import cell_mass
from lrn.types import Array


def reweighed(y: Any, group: Any, groups: int, weights: Any = None) -> Array:
    """The weight of each row times P(label) P(group) / P(label, group), [n]; the sum stays the same.

    Under the new weights every group has the same share of label 1, and the shares of labels and of groups
    are those of the data. jit and vmap safe.

    Args:
        y: labels, 0 or 1 [n]. group: integers in 0..groups-1, [n]. groups: the number of groups.
        weights: weights [n], 0 or more; None: all 1.

    Raises:
        InputError: an argument is wrong, or a group with rows lacks one of the labels: then no weights make
            label and group independent. (Under jit the weights are NaN.)
    """
    n = len(inputs.vector("y", y))
    y = arguments.labels("y", y, n)
    group = arguments.groups(group, n, groups)
    weights = arguments.nan_unless_valid(arguments.weights(weights, n), y, group, groups)
    mass = cell_mass(y, group, weights, groups)
    comparable.both_labels(mass)
    possible = jnp.all((mass > 0) | (jnp.sum(mass, axis=0) == 0)[None])
    product = jnp.sum(mass, axis=1)[:, None] * jnp.sum(mass, axis=0)[None]
    factor = jnp.where(mass > 0, product / jnp.where(mass > 0, mass, 1), 0)
    factor = jnp.where(possible, factor, jnp.nan)
    return weights * factor[y.astype(jnp.int32), group].astype(weights.dtype)
