"""Inequality of benefits between individuals: generalized entropy and Theil index (Speicher et al. 2018).

The benefit of a row is ``b = prediction - y + 1``: 0 for a false negative, 1 for a right decision, 2 for a
false positive. The indices are 0 if all benefits are equal.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.fair import inputs
from lrn.fair.confusion import sum_by_group
from lrn.fair.rates import divide
from lrn.types import Array


def benefits(y: Any, prediction: Any) -> Array:
    """The benefit of each row, ``prediction - y + 1``, in [0, 2], [n].

    Args:
        y: labels 0 or 1 [n]. prediction: decisions 0 or 1, or their probabilities [n].

    Raises:
        InputError: a shape, dtype or value is wrong. (Under jit the benefits are NaN instead.)
    """
    y, prediction, weight = inputs.scored(y, prediction)
    return (prediction - y + 1) * weight


def generalized_entropy(benefit: Any, alpha: ArrayLike = 2.0, weight: Any = None) -> Array:
    """The generalized entropy index of benefits, a scalar, 0 or more.

    With u = b / mean(b): ``mean(u^alpha - 1) / (alpha (alpha - 1))``; alpha = 1 is Theil's index
    ``mean(u log u)`` and alpha = 0 the mean log deviation ``-mean(log u)``, infinite if a benefit is 0. The
    index at alpha = 2 is half the squared coefficient of variation. (AIF360's alpha = 0 divides by the mean
    benefit once more; here the definition of the paper stands.)

    Args:
        benefit: finite benefits, 0 or more [n].
        alpha: the weight of large benefits; may be traced.
        weight: weights of rows [n]; 1 by default.

    Raises:
        InputError: a shape or value is wrong. (Under jit the index is NaN instead.) All benefits 0 give NaN.
    """
    check.finite("alpha", alpha)
    benefit = inputs.vector("benefit", benefit)
    fine = inputs.finite("benefit", benefit, 0)
    weight, fine_weight = inputs.weights(weight, len(benefit), benefit.dtype)
    mean = divide((weight * benefit).sum(), weight.sum())
    terms = _terms(divide(benefit, mean), jnp.asarray(alpha, benefit.dtype))
    # A row of weight 0 may have an infinite term.
    index = divide(jnp.where(weight == 0, 0, weight * terms).sum(), weight.sum())
    return jnp.where(fine & fine_weight, index, jnp.nan)


def theil(benefit: Any, weight: Any = None) -> Array:
    """Theil's index of benefits, a scalar in [0, log n]: `generalized_entropy` with alpha = 1."""
    return generalized_entropy(benefit, 1.0, weight)


def between_group_entropy(
    benefit: Any, group: Any, groups: int, alpha: ArrayLike = 2.0, weight: Any = None
) -> Array:
    """The part of the generalized entropy that lies between groups, a scalar.

    It is the index after each benefit is replaced by its group's mean (Speicher et al. 2018); the rest
    is inequality within groups. An empty group adds nothing.

    Args:
        group: int [n] in 0..groups-1. The other arguments and errors are those of `generalized_entropy`.
    """
    benefit = inputs.vector("benefit", benefit)
    fine = inputs.finite("benefit", benefit, 0)
    weight, fine_weight = inputs.weights(weight, len(benefit), benefit.dtype)
    group, fine_group = inputs.members(group, groups, len(benefit))
    sums, sizes = sum_by_group(jnp.stack([weight * benefit, weight]), group, groups)
    means = jnp.where(sizes == 0, 0, divide(sums, sizes))
    found = generalized_entropy(means, alpha, sizes)
    return jnp.where(fine & fine_weight & fine_group, found, jnp.nan)


def _terms(u: Array, alpha: Array) -> Array:
    """The summand of each benefit ratio u, with the limits at alpha 0 and 1."""
    limit = (alpha == 0) | (alpha == 1)
    safe = jnp.where(limit, 2.0, alpha)
    logarithm = jnp.log(jnp.where(u > 0, u, 1))
    power = (u**safe - 1) / (safe * (safe - 1))
    theil = u * logarithm
    deviation = jnp.where(u == 0, jnp.inf, -logarithm)
    return jnp.where(alpha == 1, theil, jnp.where(alpha == 0, deviation, power))
