"""Counterfactually fair regression: the three levels of Kusner et al. (2017), section 4.

- Level 1 reads only what does not follow from the protected attributes: the variables that are not among
  `lrn.fair.scm.descendants`. `least_squares` on them, or the mean where there are none.
- Level 2 reads the posterior mean of a latent cause that does not follow from the protected attributes:
  `least_squares` on it. In the factual and in the counterfactual world the cause is the same.
- Level 3 assumes that the protected attributes shift each feature by a constant. `fit_additive` reads the
  residuals of the features, which are the same in both worlds under this assumption.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lrn.fair import arguments
from lrn.fair.decorrelate import Decorrelation, decorrelated, fit_decorrelation
from lrn.fair.logistic import Linear, logits
from lrn.types import Array


class Additive(NamedTuple):
    """A predictor of level 3. shift: the fit of features on attributes. regression: that on the residuals."""

    shift: Decorrelation
    regression: Linear


def least_squares(x: Any, y: Any, weights: Any = None) -> Linear:
    """The weighted least-squares fit of y on features and an intercept; jit, vmap and grad safe.

    With collinear features the fit of least norm in standardized features is taken.

    Args:
        x: features [n, dim]. y: numbers [n]. weights: weights [n], 0 or more; None: all 1.

    Raises:
        InputError: an argument is wrong. (Under jit the fit is NaN.)
    """
    x = arguments.features("x", x)
    y = arguments.floats("y", y, x.shape[0]).astype(x.dtype)
    weights = arguments.weights(weights, x.shape[0]).astype(x.dtype)
    share = jnp.where(arguments.proper(weights), weights / jnp.sum(weights), jnp.nan)
    center = jnp.dot(share, x, precision="highest")
    variance = jnp.dot(share, jnp.square(x - center[None]), precision="highest")
    # A constant feature has no scale: its variance is 0, or a rounding error.
    rounding = jnp.square(8 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x), axis=0))
    scale = jnp.sqrt(jnp.where(variance > rounding, variance, 1))
    standard = (x - center[None]) / scale[None]
    fitted = fit_decorrelation(y[:, None], standard, weights)
    coef = fitted.slope[:, 0] / scale
    return Linear(coef, jnp.sum(share * y) - jnp.dot(center, coef, precision="highest"))


def linear(model: Linear, x: Any) -> Array:
    """The predictions [n] of `least_squares` for features [n, dim].

    Raises:
        InputError: the features are wrong or of another number than those of the fit.
    """
    return logits(model, arguments.fitted("x", x, model.coef.shape[0]))


def fit_additive(x: Any, protected: Any, y: Any, weights: Any = None) -> Additive:
    """The predictor of level 3: y on the residuals of the features after the protected attributes.

    Args:
        x: features [n, dim]. protected: protected attributes [n, attributes]. y: numbers [n].
        weights: weights [n], 0 or more; None: all 1.

    Raises:
        InputError: an argument is wrong. (Under jit the fit is NaN.)
    """
    shift = fit_decorrelation(x, protected, weights)
    return Additive(shift, least_squares(decorrelated(shift, x, protected), y, weights))


def additive_prediction(model: Additive, x: Any, protected: Any) -> Array:
    """The predictions [n] of `fit_additive` for features [n, dim] and attributes [n, attributes].

    Raises:
        InputError: an argument is wrong, or has another number of columns than in the fit.
    """
    return linear(model.regression, decorrelated(model.shift, x, protected))
