"""A penalty on the dependence of predictions on the world, for counterfactually fair training by gradients.

A predictor is counterfactually fair if its prediction for an individual is the same in the factual and in
the counterfactual world (Kusner et al. 2017). The penalty is the mean difference of the two, over individuals
and over counterfactual worlds (Russell et al. 2017, there with a hinge). A causal model makes the
counterfactual rows beforehand: `lrn.fair.scm.counterfactual`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import readable
from lrn.fair import arguments
from lrn.types import Array

KINDS = ("squared", "absolute")


def counterfactual_penalty(
    factual: Any, counterfactual: Any, weights: Any = None, *, kind: str = "squared"
) -> Array:
    """The mean difference between factual and counterfactual predictions; a scalar, 0 where none differs.

    Train with ``loss + strength * counterfactual_penalty(predict(x), predict(x_counterfactual))``.

    Args:
        factual: predictions [n]; chances or logits.
        counterfactual: predictions of the same individuals in another world [n], or in several [worlds, n].
        weights: weights of individuals [n], 0 or more; None: all 1.
        kind: "squared", the square of the difference; or "absolute", its absolute value, in the unit of the
            predictions, with a gradient of 0 where the two are equal.

    Raises:
        InputError: an argument is wrong. (Under jit the penalty and its gradient are NaN.)
    """
    check.choice("kind", kind, KINDS)
    factual = arguments.scores("factual", factual)
    n = factual.shape[0]
    counterfactual = _worlds(counterfactual, n).astype(factual.dtype)
    weights = arguments.weights(weights, n).astype(factual.dtype)
    finite = jnp.all(jnp.isfinite(factual)) & jnp.all(jnp.isfinite(counterfactual))
    valid = arguments.proper(weights) & jnp.any(weights > 0) & finite
    share = jnp.where(valid, weights / jnp.sum(weights), jnp.nan)
    difference = counterfactual - factual[None]
    # The slope of jnp.abs at 0 is 1; that of x * sign(x) is 0.
    size = difference * (difference if kind == "squared" else jnp.sign(difference))
    return jnp.sum(share * jnp.mean(size, axis=0))


def _worlds(counterfactual: Any, n: int) -> Array:
    """Counterfactual predictions as floats [worlds, n]."""
    value = arguments.numbers("counterfactual", counterfactual)
    if value.ndim not in (1, 2) or value.shape[-1] != n or value.size == 0:
        raise check.InputError(
            f"counterfactual must have shape [{n}] or [worlds, {n}], got {value.shape}; give one prediction "
            "an individual."
        )
    if readable(value) and not np.isfinite(np.asarray(value)).all():
        raise check.InputError("counterfactual holds values that are not finite; leave those rows out.")
    return value.reshape(-1, n)
