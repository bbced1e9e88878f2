"""Multinomial logistic regression by Newton's method with conjugate gradients, under jit and vmap."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, cholesky
from jax.typing import ArrayLike

from lrn.types import Array

_LEAST = 1e-6  # the smallest penalty, which keeps separable problems finite
_SHARES = (1.0, 0.5, 0.25, 0.0625)  # of Newton's step; the first that does not climb is taken


def fit(
    x: Array,
    y: Array,
    most: int,
    penalty: ArrayLike,
    balanced: bool = False,
    steps: int = 40,
    inner: int = 12,
    tolerance: float = 3e-6,
) -> tuple[Array, Array]:
    """Weights [dim, most] and biases [most]: least mean cross-entropy ``+ penalty |weights|^2 / (2 n)``.

    That is scikit-learn's ``LogisticRegression`` with ``C = 1 / penalty``, or ``C = 2 / penalty`` for two
    values, for which scikit-learn has one weight vector in place of two.

    Args:
        x: inputs [n, dim], best with a mean near 0 and a scale near 1.
        y: int [n], the values, each below ``most``.
        most: the number of columns; a value that no row has gets the bias -inf.
        penalty: 0 or more.
        balanced: whether each value has the same total weight, as scikit-learn's "balanced".
        steps: the largest number of Newton's steps.
        inner: the largest number of conjugate gradients a step.
        tolerance: the fit ends when no entry of the gradient is larger.
    """
    n, dim = x.shape
    target = (y[:, None] == jnp.arange(most)[None]).astype(x.dtype)
    count = jnp.sum(target, axis=0)
    known = count > 0
    weight = jnp.ones(n, x.dtype)
    if balanced:
        each = jnp.where(known, n / (jnp.maximum(count, 1) * jnp.sum(known)), 0.0)
        weight = jnp.matmul(target, each)
    share = weight[:, None] / n
    z = jnp.concatenate([x, jnp.ones((n, 1), x.dtype)], axis=1)
    ridge = jnp.where(jnp.arange(dim + 1) < dim, jnp.maximum(penalty, _LEAST), _LEAST) / n
    # Preconditions only; the constant keeps it positive definite where inputs depend on each other.
    factor = cholesky(_product(z.T, z) / n + jnp.diag(ridge + 1e-4), lower=True)

    def masked(scores: Array) -> Array:
        return jnp.where(known[None], scores, -jnp.inf)

    def value(theta: Array, scores: Array) -> Array:
        log_p = jax.nn.log_softmax(masked(scores))
        loss = -jnp.sum(share * jnp.where(target > 0, target * log_p, 0.0))
        return loss + jnp.sum(ridge[:, None] * jnp.square(theta)) / 2

    def newton(theta: Array, scores: Array, gradient: Array, p: Array) -> Array:
        """Minus the inverse Hessian times the gradient, nearly."""
        spread = jnp.maximum(jnp.sum(share * p * (1 - p), axis=0), 1e-6)

        def curve(v: Array) -> Array:
            u = _product(z, v)
            u = p * (u - jnp.sum(p * u, axis=1, keepdims=True))
            return _product(z.T, share * u) + ridge[:, None] * v

        def easy(v: Array) -> Array:
            return cho_solve((factor, True), v) / spread[None]

        first = easy(-gradient)
        start = (jnp.zeros_like(theta), -gradient, first, jnp.sum(-gradient * first))

        def conjugate(_: Array, at: tuple[Array, Array, Array, Array]) -> tuple:
            d, r, q, norm = at
            bent = curve(q)
            along = jnp.sum(q * bent)
            # What is left is rounding, or a direction along which the loss is flat.
            going = (norm > 1e-7 * start[3]) & (along > 0)
            length = jnp.where(going, norm / jnp.where(going, along, 1), 0.0)
            d, r = d + length * q, r - length * bent
            after = easy(r)
            new = jnp.sum(r * after)
            return d, r, after + jnp.where(going, new / jnp.where(going, norm, 1), 0.0) * q, new

        return jax.lax.fori_loop(0, inner, conjugate, start)[0]

    def slopes(theta: Array, scores: Array) -> tuple[Array, Array]:
        p = jax.nn.softmax(masked(scores))
        return _product(z.T, share * (p - target)) + ridge[:, None] * theta, p

    def going(at: tuple) -> Array:
        _, _, _, largest, count = at
        return (count < steps) & (largest > tolerance)

    def step(at: tuple) -> tuple:
        theta, scores, now, _, count = at
        gradient, p = slopes(theta, scores)
        direction = newton(theta, scores, gradient, p)
        along = _product(z, direction)
        tried = jnp.stack([value(theta + s * direction, scores + s * along) for s in _SHARES])
        fine = tried <= now + 1e-6 * jnp.abs(now)
        pick = jnp.argmax(fine)
        length = jnp.where(jnp.any(fine), jnp.asarray(_SHARES, theta.dtype)[pick], 0.0)
        largest = jnp.where(length > 0, jnp.max(jnp.abs(gradient)), 0.0)
        theta, scores = theta + length * direction, scores + length * along
        return theta, scores, jnp.minimum(tried[pick], now), largest, count + 1

    theta = jnp.zeros((dim + 1, most), x.dtype)
    scores = jnp.zeros((n, most), x.dtype)
    begin = (theta, scores, value(theta, scores), jnp.asarray(jnp.inf, x.dtype), 0)
    theta = jax.lax.while_loop(going, step, begin)[0]
    return theta[:-1], jnp.where(known, theta[-1], -jnp.inf)


def logits(fitted: tuple[Array, Array], x: Array) -> Array:
    """Logits [n, values] of inputs [n, dim]; -inf for values that no training row had."""
    return _product(x, fitted[0]) + fitted[1][None]


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")
