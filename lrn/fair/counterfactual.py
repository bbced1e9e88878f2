"""Counterfactual effects of a protected attribute on predictions, and how often a prediction flips.

The inputs are predictions for the same individuals in different worlds; a causal model makes these worlds.
``a`` is the factual value of the attribute, ``b`` another one, and mediators M are what lies between the
attribute and the prediction (Pearl 2001; Zhang & Bareinboim 2018).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lrn.fair import inputs
from lrn.fair.rates import divide
from lrn.types import Array


class Effects(NamedTuple):
    """Average effects of changing the attribute from a to b on the predictions, scalars.

    total: ``E[f(b, M_b)] - E[f(a, M_a)]``. direct: ``E[f(b, M_a)] - E[f(a, M_a)]`` (natural direct effect,
    the mediators held). indirect: ``E[f(a, M_b)] - E[f(a, M_a)]`` (natural indirect effect, through the
    mediators only). interaction: total - direct - indirect, 0 where the effects add.
    """

    total: Array
    direct: Array
    indirect: Array
    interaction: Array


def effects(factual: Any, counterfactual: Any, direct: Any, indirect: Any, weight: Any = None) -> Effects:
    """The total, direct and indirect effect of the attribute.

    Args:
        factual: predictions ``f(a, M_a)`` in [0, 1], [n].
        counterfactual: predictions ``f(b, M_b)`` of the same individuals, the attribute and all that follows
            from it changed, [n].
        direct: predictions ``f(b, M_a)``, the attribute changed and the mediators kept, [n].
        indirect: predictions ``f(a, M_b)``, the attribute kept and the mediators changed, [n].
        weight: weights of rows [n]; 1 by default. A mask gives the effects in one group, such as those
            whose factual value is a.

    Raises:
        InputError: a shape, dtype or value is wrong. (Under jit wrong values give NaN.)
    """
    worlds, weight = _worlds(
        {"factual": factual, "counterfactual": counterfactual, "direct": direct, "indirect": indirect}, weight
    )
    total, straight, through = (
        divide((weight * (world - worlds[0])).sum(), weight.sum()) for world in worlds[1:]
    )
    return Effects(total, straight, through, total - straight - through)


def flip_rate(factual: Any, counterfactual: Any, weight: Any = None) -> Array:
    """The chance that a decision differs between the two worlds, a scalar in [0, 1].

    For decisions 0 or 1 it is the share of individuals whose decision flips; for probabilities the mean
    absolute difference, the smallest chance of a flip that any joint draw of both decisions has. Individuals
    may flip both ways while the total effect is 0.

    Args:
        factual, counterfactual: decisions 0 or 1, or their probabilities, of the same individuals [n].
        weight: weights of rows [n]; 1 by default.

    Raises:
        InputError: a shape, dtype or value is wrong. (Under jit wrong values give NaN.)
    """
    (a, b), weight = _worlds({"factual": factual, "counterfactual": counterfactual}, weight)
    return divide((weight * jnp.abs(a - b)).sum(), weight.sum())


def _worlds(given: dict[str, Any], weight: Any) -> tuple[list[Array], Array]:
    """Predictions as floats, and weights that are NaN if any value is wrong."""
    n = len(inputs.vector("factual", given["factual"]))
    read = [inputs.shares(name, value, n) for name, value in given.items()]
    weight, fine = inputs.weights(weight, n, read[0][0].dtype)
    for _, known in read:
        fine = fine & known
    return [value for value, _ in read], jnp.where(fine, weight, jnp.nan)
