"""Labeled rows of people, as one pytree that methods of fair training pass around."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lrn.fair import arguments
from lrn.types import Array


class People(NamedTuple):
    """Features, labels, groups and weights of n rows.

    x: floats [n, dim]. y: labels 0 or 1, [n]. group: int32 [n]. weights: [n], 0 or more.
    """

    x: Array
    y: Array
    group: Array
    weights: Array

    def take(self, rows: Any) -> People:
        """The rows with these indices."""
        return People(*(jnp.asarray(leaf)[rows] for leaf in self))


def people(x: Any, y: Any, group: Any, groups: int, weights: Any = None) -> People:
    """Checked rows; the weights are 1 by default.

    Raises:
        InputError: a shape, a dtype, or a value that can be read is wrong. (Under jit the weights are NaN.)
    """
    x = arguments.features("x", x)
    y = arguments.labels("y", y, x.shape[0]).astype(x.dtype)
    group = arguments.groups(group, x.shape[0], groups)
    weights = arguments.weights(weights, x.shape[0]).astype(x.dtype)
    return People(x, y, group, arguments.nan_unless_valid(weights, y, group, groups))
