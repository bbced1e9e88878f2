"""Score matrices: checks, and the means over the joint distribution and over the product of the marginals."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from lrn import check
from lrn.ssl.similarity import wide
from lrn.types import Array


def checked(scores: Array) -> Array:
    """Scores [n, n] in float32; all are NaN, and so are all gradients, where one is not finite.

    Raises:
        InputError: the scores are no floats [n, n] with n of 2 or more.
    """
    shape = getattr(scores, "shape", ())
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2:
        raise check.InputError(
            f"scores must be [n, n] with n of 2 or more, got shape {shape}; score each x with each y."
        )
    if not jnp.issubdtype(scores.dtype, jnp.floating):
        raise check.InputError(f"scores must be floats, got {scores.dtype}; convert them.")
    return nan_unless_finite(wide(scores))


def nan_unless_finite(x: Array) -> Array:
    """``x``, or NaN in all values and gradients where an entry is not finite."""
    return x * jnp.where(jnp.all(jnp.isfinite(x)), 1.0, jnp.nan).astype(x.dtype)


def joint_mean(scores: Array) -> Array:
    """The mean of the diagonal, a scalar."""
    return jnp.mean(jnp.diagonal(scores))


def product_mean(values: Array) -> Array:
    """The mean of all entries outside of the diagonal, a scalar."""
    n = values.shape[0]
    return jnp.sum(jnp.where(jnp.eye(n, dtype=bool), 0.0, values)) / (n * (n - 1))


def log_mean_exp(scores: Array) -> Array:
    """The logarithm of the mean of ``exp(scores)`` outside of the diagonal, a scalar."""
    n = scores.shape[0]
    others = jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, scores)
    return jax.nn.logsumexp(others) - math.log(n * (n - 1))


def with_gradient_of(value: Array, objective: Array) -> Array:
    """``value``, whose gradient is that of ``objective``."""
    return jax.lax.stop_gradient(value) + (objective - jax.lax.stop_gradient(objective))
