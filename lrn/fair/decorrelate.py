"""The correlation remover: features without linear correlation with sensitive attributes (fairlearn 0.6 on).

Each feature loses its least-squares fit on the centered sensitive attributes. A dependence that is not linear
stays, and so a model that is not linear may still find the group.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.fair import arguments
from lrn.types import Array


class Decorrelation(NamedTuple):
    """A fitted remover. center: [attributes], the means. slope: [attributes, dim], the least-squares fit."""

    center: Array
    slope: Array


def fit_decorrelation(x: Any, sensitive: Any, weights: Any = None) -> Decorrelation:
    """The least-squares fit of features on sensitive attributes; jit, vmap and grad safe.

    With collinear attributes, such as one column for each group, the fit of least norm is taken.

    Args:
        x: features [n, dim], without the sensitive attributes.
        sensitive: sensitive attributes [n, attributes]; groups as one column of 0 and 1 for each.
        weights: weights [n], 0 or more; None: all 1.

    Raises:
        InputError: an argument is wrong.
    """
    x, sensitive = arguments.features("x", x), arguments.features("sensitive", sensitive)
    _same_rows(x, sensitive)
    weights = arguments.weights(weights, x.shape[0]).astype(x.dtype)
    share = weights / jnp.sum(weights)
    center = jnp.dot(share, sensitive, precision="highest")
    root = jnp.sqrt(share)[:, None]
    centered = root * (sensitive - center[None])
    x_center = jnp.dot(share, x, precision="highest")
    inverse = jnp.linalg.pinv(jnp.dot(centered.T, centered, precision="highest"), hermitian=True)
    moment = jnp.dot(centered.T, root * (x - x_center[None]), precision="highest")
    return Decorrelation(center, jnp.dot(inverse, moment, precision="highest"))


def decorrelated(fitted: Decorrelation, x: Any, sensitive: Any, amount: ArrayLike = 1.0) -> Array:
    """Features [n, dim] without the share ``amount`` of their fit on the sensitive attributes.

    Args:
        fitted: the result of `fit_decorrelation`.
        x: features [n, dim]. sensitive: sensitive attributes [n, attributes].
        amount: 0 changes nothing, 1 removes all correlation on the training data; may be swept.

    Raises:
        InputError: an argument is wrong.
    """
    check.between("amount", amount, 0, 1)
    x, sensitive = arguments.features("x", x), arguments.features("sensitive", sensitive)
    _same_rows(x, sensitive)
    wanted = fitted.slope.shape
    if (sensitive.shape[1], x.shape[1]) != wanted:
        raise check.InputError(
            f"the remover was fitted to {wanted[0]} attributes and {wanted[1]} features, got "
            f"{sensitive.shape[1]} and {x.shape[1]}; give the same columns."
        )
    linear = jnp.dot(sensitive - fitted.center[None], fitted.slope, precision="highest")
    return x - amount * linear


def _same_rows(x: Array, sensitive: Array) -> None:
    if x.shape[0] != sensitive.shape[0]:
        raise check.InputError(
            f"x has {x.shape[0]} rows and sensitive {sensitive.shape[0]}; give one row of each a person."
        )
