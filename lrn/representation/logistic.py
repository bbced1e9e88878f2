"""Multinomial logistic regression by L-BFGS, with the objective of scikit-learn, under jit and vmap."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn.supervised import lbfgs
from lrn.types import Array


def fit(
    x: Array,
    y: Array,
    most: int,
    penalty: ArrayLike,
    balanced: bool = False,
    steps: int = 100,
    tolerance: float = 1e-4,
) -> tuple[Array, Array]:
    """Weights [dim, most] and biases [most]: least mean cross-entropy ``+ penalty |weights|^2 / (2 n)``.

    That is scikit-learn's ``LogisticRegression`` with ``C = 1 / penalty``. Where there are two values, for
    which scikit-learn has one weight vector in place of two, the penalty counts twice. Steps and tolerance
    are its defaults.

    Args:
        x: inputs [n, dim], best with a mean near 0 and a scale near 1.
        y: int [n], the values, each below ``most``.
        most: the number of columns; a value that no row has gets the bias -inf.
        penalty: 0 or more; may be traced.
        balanced: whether each value has the same total weight, as scikit-learn's "balanced".
        steps: the largest number of steps.
        tolerance: the fit ends when no entry of the gradient is larger.
    """
    n = x.shape[0]
    target = (y[:, None] == jnp.arange(most)[None]).astype(x.dtype)
    count = jnp.sum(target, axis=0)
    known = count > 0
    weight = jnp.full(n, 1 / n, x.dtype)
    if balanced:
        each = jnp.where(known, 1 / (jnp.maximum(count, 1) * jnp.sum(known)), 0.0)
        weight = jnp.matmul(target, each, precision="highest")

    def objective(theta: tuple[Array, Array]) -> Array:
        scores = jnp.where(known[None], logits(theta, x), -jnp.inf)
        right = jnp.sum(jnp.where(target > 0, scores, 0.0), axis=1)
        loss = jnp.sum(weight * (jax.nn.logsumexp(scores, axis=1) - right))
        return loss + jnp.where(jnp.sum(known) == 2, 2, 1) * penalty / n * jnp.sum(jnp.square(theta[0])) / 2

    theta = jnp.zeros((x.shape[1], most), x.dtype), jnp.zeros(most, x.dtype)
    weights, bias = lbfgs.minimize(objective, theta, steps, tolerance).params
    return weights, jnp.where(known, bias, -jnp.inf)


def logits(fitted: tuple[Array, Array], x: Array) -> Array:
    """Logits [n, values] of inputs [n, dim]; -inf for values that no training row had."""
    return jnp.matmul(x, fitted[0], precision="highest") + fitted[1][None]
