"""Disentanglement, completeness and informativeness of codes (Eastwood and Williams 2018).

A regressor predicts each factor from all codes, and says how important each code was. Disentanglement asks
whether each code is important for one factor only, completeness whether each factor needs one code only,
informativeness how well the factors are predicted. The three regressors here differ:

`dci_boosting`  scikit-learn's gradient boosting, as in disentanglement_lib: the definition; on the host, slow
`dci_trees`     boosted trees in jax, under jit and vmap
`dci_lasso`     linear regression with an L1 penalty, as in the paper: sees linear relations only, and is fast

Values of different regressors are not comparable: say which one a number is from.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import nan_where
from lrn.representation import factors as given
from lrn.types import Array

_TINY = 1e-11  # as in disentanglement_lib


class DCI(NamedTuple):
    """The three scores.

    disentanglement, completeness: scalars in [0, 1].
    informativeness: scalar; for classifiers the mean over factors of the accuracy on test rows, for the Lasso
        that of R^2 on test rows, which may be negative.
    importance: [dim, factors], not negative.
    """

    disentanglement: Array
    completeness: Array
    informativeness: Array
    importance: Array


@jax.jit
def disentanglement(importance: Array) -> Array:
    """The mean over codes of ``1 - H(importances of a code) / log(factors)``, weighted by importance, scalar.

    Args:
        importance: [dim, factors], not negative, else the score is NaN. Where it is 0 everywhere all codes
            count equally.

    Raises:
        InputError: the table has another form, or one factor.
    """
    return _certainty("disentanglement", importance, 1, "factors")


@jax.jit
def completeness(importance: Array) -> Array:
    """The mean over factors of ``1 - H(importances for a factor) / log(dim)``, weighted as above, scalar.

    Args:
        importance: [dim, factors], not negative, else the score is NaN. Where it is 0 everywhere all factors
            count equally.

    Raises:
        InputError: the table has another form, or one code.
    """
    return _certainty("completeness", importance, 0, "codes")


def _certainty(name: str, importance: Array, axis: int, what: str) -> Array:
    """One less the entropy along an axis, in units of its largest value; the weighted mean, scalar."""
    if importance.ndim != 2:
        raise check.InputError(f"importances must be [dim, factors], got shape {importance.shape}.")
    count = importance.shape[axis]
    given.several(name, count, what)
    share = importance + _TINY
    share = share / jnp.sum(share, axis=axis, keepdims=True)
    certain = 1 + jnp.sum(share * jnp.log(share), axis=axis) / jnp.log(float(count))
    total = jnp.sum(importance)
    weight = jnp.where(total > 0, importance, 1.0)
    value = jnp.sum(certain * jnp.sum(weight, axis=axis) / jnp.sum(weight))
    return nan_where(jnp.any(importance < 0), value)
