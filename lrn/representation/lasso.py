"""Linear regression with an L1 penalty, from the correlations of standardized inputs alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn.types import Array


def lasso(gram: Array, cross: Array, penalty: ArrayLike, sweeps: int = 100) -> Array:
    """The coefficients [dim, targets] that minimize ``mean((y - x w)^2) / 2 + penalty |w|_1``.

    scikit-learn's ``Lasso`` has the same objective. Coordinate descent needs only the two tables, so its cost
    does not depend on the number of rows.

    Args:
        gram: ``x^T x / n`` [dim, dim] of centered inputs. An input whose diagonal is 0 gets coefficient 0.
        cross: ``x^T y / n`` [dim, targets] of centered targets.
        penalty: 0 or more; may be traced.
        sweeps: the number of passes over the coefficients.
    """
    dim = gram.shape[0]
    diagonal = jnp.diagonal(gram)

    def one(k: Array, w: Array) -> Array:
        j = k % dim
        pull = cross[j] - jnp.matmul(gram[j], w, precision="highest") + diagonal[j] * w[j]
        shrunk = jnp.sign(pull) * jnp.maximum(jnp.abs(pull) - penalty, 0)
        known = diagonal[j] > 0
        return w.at[j].set(jnp.where(known, shrunk / jnp.where(known, diagonal[j], 1), 0.0))

    return jax.lax.fori_loop(0, sweeps * dim, one, jnp.zeros_like(cross))
