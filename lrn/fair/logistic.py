"""Weighted logistic regression with an L2 penalty, exact, for many weights, labels or penalties at once.

The minimum is that of scikit-learn's `LogisticRegression` with ``C = 1 / penalty``. BFGS (Nocedal & Wright
2006, chapter 6) finds it: each step needs two products with the features, which all lanes of a vmap share.
It starts from the inverse of a bound on the Hessian that does not depend on the lane. The line search needs
no product, since the logits are linear in the step. A fit may start from another one's parameters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import product
from lrn.config import config
from lrn.fair import arguments
from lrn.fair.model import Fit
from lrn.types import Array

_SEARCHES = 30  # of the line search; two suffice nearly always
_SLOPE = 0.1  # the line search ends where the slope has this share of its first size


@config
class LogisticConfig:
    """Settings of the regression.

    penalty: the objective is the weighted sum of losses, in nats, plus ``penalty / 2 * |coef|^2``; above 0.
        The intercept is not penalized.
    tolerance: the fit ends when the estimated error of every parameter is below this, or when the gradient
        is as small as its rounding errors.
    iterations: the largest number of steps.
    """

    penalty: float = 1.0
    tolerance: float = 1e-7
    iterations: int = 200

    def __post_init__(self) -> None:
        check.positive("penalty", self.penalty)
        check.positive("tolerance", self.tolerance)
        check.counts(self, "iterations")


class Linear(NamedTuple):
    """A linear classifier. coef: [dim]. intercept: a scalar."""

    coef: Array
    intercept: Array


def logistic(config: LogisticConfig = LogisticConfig()) -> Fit:  # noqa: B008
    """The model ``fit(x, y, weights) -> predict`` of logistic regression; ``predict(x)`` is the chance of 1.

    Arguments and errors of ``fit`` are those of `fit_logistic`.
    """

    def fit(x: Any, y: Any, weights: Any = None, start: Partial | None = None) -> Partial:
        return Partial(probability, fit_logistic(x, y, weights, config, start and start.args[0]))

    return fit


def probability(model: Linear, x: ArrayLike) -> Array:
    """The chance of label 1, [n], for features [n, dim]."""
    return jax.nn.sigmoid(logits(model, x))


def logits(model: Linear, x: ArrayLike) -> Array:
    """The log-odds of label 1, [n], for features [n, dim]."""
    return jnp.dot(jnp.asarray(x, model.coef.dtype), model.coef, precision="highest") + model.intercept


def fit_logistic(
    x: Any,
    y: Any,
    weights: Any = None,
    config: LogisticConfig = LogisticConfig(),  # noqa: B008
    start: Linear | None = None,
) -> Linear:
    """The parameters that minimize the penalized loss.

    The result is differentiable in all arguments, by the implicit function theorem. Labels of one class only
    send the intercept to infinity; the fit ends when the tolerance is reached, with that class predicted.

    Args:
        x: features [n, dim], best standardized; memory is of the order n * dim + dim^2.
        y: labels [n], 0 or 1, or the chance of label 1.
        weights: weights [n], 0 or more; a row of weight 2 counts as two rows. None: all 1.
        config: the settings; penalty and tolerance may be swept.
        start: parameters to start from; zeros by default. A start close to the minimum saves steps.

    Raises:
        InputError: an argument is wrong. (Under jit, where values cannot be read, the parameters are NaN.)
    """
    x = arguments.features("x", x)
    n = x.shape[0]
    y = arguments.floats("y", y, n, 0, 1).astype(x.dtype)
    weights = arguments.weights(weights, n).astype(x.dtype)
    return _fitted(x, y, weights, config, start)


@jax.jit  # so that a fit outside of jit is one program
def _fitted(x: Array, y: Array, weights: Array, config: LogisticConfig, start: Linear | None) -> Linear:
    n, dim = x.shape
    valid = arguments.proper(weights) & jnp.any(weights > 0) & jnp.all((y >= 0) & (y <= 1))
    x1 = jnp.concatenate([x, jnp.ones((n, 1), x.dtype)], axis=1)
    ridge = jnp.ones(dim + 1, x.dtype).at[-1].set(0) * config.penalty

    def gradient(theta: Array) -> Array:
        residual = weights * (jax.nn.sigmoid(product(x1, theta)) - y)
        return product(x1.T, residual) + ridge * theta

    def solve(_: Any, guess: Array) -> Array:
        return _minimize(x1, y, weights, ridge, guess, config)

    def tangent_solve(hessian: Any, right: Array) -> Array:
        return jnp.linalg.solve(jax.jacobian(hessian)(right), right)

    guess = jnp.zeros(dim + 1, x.dtype)
    if start is not None:
        guess = jnp.append(start.coef, start.intercept).astype(x.dtype)
    theta = jax.lax.custom_root(gradient, guess, solve, tangent_solve)
    theta = jnp.where(valid, theta, jnp.nan)
    return Linear(theta[:-1], theta[-1])


class _State(NamedTuple):
    theta: Array  # [p]
    logits: Array  # [n]
    gradient: Array  # [p]
    inverse: Array  # [p, p], BFGS's approximation of the inverse Hessian
    step: Array  # [p], minus the direction of the next step
    steps: Array


def _minimize(x: Array, y: Array, w: Array, ridge: Array, start: Array, config: LogisticConfig) -> Array:
    eps = jnp.finfo(x.dtype).eps
    rounding = eps * (product(jnp.abs(x).T, w) + ridge)

    def gradient(theta: Array, chance: Array) -> Array:
        return product(w * (chance - y), x) + ridge * theta

    def going(state: _State) -> Array:
        close = jnp.all(jnp.abs(state.step) <= config.tolerance)
        rounded = jnp.all(jnp.abs(state.gradient) <= rounding)
        return (state.steps < config.iterations) & ~close & ~rounded & jnp.all(jnp.isfinite(state.theta))

    def advance(state: _State) -> _State:
        moves = product(-state.step, x.T)
        size = _line_search(y, w, ridge, state, moves, jnp.sum(rounding * jnp.abs(state.step)))
        theta, z = state.theta - size * state.step, state.logits + size * moves
        after = gradient(theta, jax.nn.sigmoid(z))
        inverse = _updated(state.inverse, -size * state.step, after - state.gradient)
        return _State(theta, z, after, inverse, product(inverse, after), state.steps + 1)

    z = product(start, x.T)
    first, inverse = gradient(start, jax.nn.sigmoid(z)), _bound(x, w, config.penalty)
    begin = _State(start, z, first, inverse, product(inverse, first), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(going, advance, begin).theta


def _bound(x: Array, w: Array, penalty: ArrayLike) -> Array:
    """The inverse of a rough bound on the Hessian; the eigenvectors are the same in all lanes."""
    size, vectors = jnp.linalg.eigh(product(x.T, x) / 4)
    floor = 10 * x.shape[1] * jnp.finfo(x.dtype).eps * size[-1]
    size = jnp.maximum(size, 0) + jnp.maximum(penalty / jnp.mean(w), floor)
    return product(vectors / (size * jnp.mean(w))[None], vectors.T)


class _Search(NamedTuple):
    size: Array
    slope: Array  # at the size
    low: Array  # the bracket of the best size, and the slopes at its ends
    high: Array
    slope_low: Array
    slope_high: Array
    tries: Array


def _line_search(y: Array, w: Array, ridge: Array, state: _State, moves: Array, rounding: Array) -> Array:
    """The step size where the loss along the step is flat, nearly or up to rounding, by secants."""

    def slope(size: Array) -> Array:
        residual = w * (jax.nn.sigmoid(state.logits + size * moves) - y)
        return jnp.sum(residual * moves) - jnp.sum(ridge * (state.theta - size * state.step) * state.step)

    initial = -jnp.sum(state.gradient * state.step)
    enough = jnp.maximum(_SLOPE * jnp.abs(initial), rounding)

    def going(search: _Search) -> Array:
        return (jnp.abs(search.slope) > enough) & (search.tries < _SEARCHES)

    def advance(search: _Search) -> _Search:
        size, low, high, slope_low, slope_high = _narrowed(search)
        return _Search(size, slope(size), low, high, slope_low, slope_high, search.tries + 1)

    one = jnp.ones_like(initial)
    begin = _Search(one, slope(one), 0 * one, jnp.inf * one, initial, one, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(going, advance, begin).size


def _narrowed(search: _Search) -> tuple[Array, ...]:
    """The next size, and the bracket with the slopes at its ends."""
    size, slope, short = search.size, search.slope, search.slope < 0
    low, slope_low = jnp.where(short, size, search.low), jnp.where(short, slope, search.slope_low)
    high, slope_high = jnp.where(short, search.high, size), jnp.where(short, search.slope_high, slope)
    beyond = jnp.isinf(high)
    # The secant runs through the ends of the bracket, or through the two largest sizes so far.
    a, slope_a = jnp.where(beyond, search.low, low), jnp.where(beyond, search.slope_low, slope_low)
    b, slope_b = jnp.where(beyond, size, high), jnp.where(beyond, slope, slope_high)
    secant = b - slope_b * (b - a) / (slope_b - slope_a)
    fits = (secant > low) & (secant < jnp.minimum(high, 4 * size)) & (search.tries % 4 < 3)
    middle = jnp.where(beyond, 4 * size, (low + high) / 2)
    return jnp.where(fits, secant, middle), low, high, slope_low, slope_high


def _updated(inverse: Array, s: Array, change: Array) -> Array:
    """BFGS's update of the inverse Hessian, which needs positive curvature along the step s."""
    curvature, image = jnp.sum(s * change), product(inverse, change)
    rho = 1 / jnp.where(curvature > 0, curvature, 1)
    cross = rho * s[:, None] * image[None]
    square = rho * (1 + rho * jnp.sum(change * image)) * s[:, None] * s[None]
    return jnp.where(curvature > 0, inverse - cross - cross.T + square, inverse)
