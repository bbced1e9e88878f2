"""Joint distributions of two discrete variables, most of them with a known information curve.

A joint is an array [inputs, outputs] of probabilities that sum to 1: entry (x, y) is p(x, y). Its information
curve is the largest I(T; Y) of all random functions T of X with I(X; T) at most a rate (Tishby et al. 1999).
The curve is known in closed form for the binary symmetric joint, the erasure joint and joints in which Y is a
function of X. All values are in nats.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import nan_where, readable
from lrn.types import Array, Key

_BISECTIONS = 64  # halve an interval below the last bit of a float64


def binary_symmetric(flip: ArrayLike) -> Array:
    """X is a fair bit, and Y is X flipped with a probability; [2, 2].

    Raises:
        InputError: the probability is not in [0, 1].
    """
    flip = _probability("flip", flip)
    same = (1 - flip) / 2
    return jnp.stack([jnp.stack([same, flip / 2]), jnp.stack([flip / 2, same])])


def erasure(symbols: int, erased: ArrayLike) -> Array:
    """X is uniform, and Y is X, or with probability ``erased`` an extra symbol; [symbols, symbols + 1].

    Raises:
        InputError: there are fewer than two symbols, or the probability is not in [0, 1].
    """
    check.integer("symbols", symbols, 2)
    erased = _probability("erased", erased)
    kept = (1 - erased) / symbols * jnp.eye(symbols)
    return jnp.concatenate([kept, jnp.full((symbols, 1), erased / symbols)], axis=1)


def deterministic(labels: Array, classes: int) -> Array:
    """X is uniform, and Y is the label of X; [inputs, classes].

    Args:
        labels: int [inputs], in [0, classes).
        classes: the number of outputs, at least 2.

    Raises:
        InputError: the labels are no vector of integers, or readable labels lie outside of the classes.
    """
    check.integer("classes", classes, 2)
    labels = jnp.asarray(labels)
    if labels.ndim != 1 or labels.size == 0 or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise check.InputError(f"labels must be integers [inputs], got {labels.dtype} {labels.shape}.")
    if readable(labels) and not 0 <= int(np.min(labels)) <= int(np.max(labels)) < classes:
        raise check.InputError(f"labels must lie between 0 and {classes - 1}; relabel them.")
    known = (labels >= 0) & (labels < classes)
    rows = jnp.where(known[:, None], jax.nn.one_hot(labels, classes), jnp.nan)
    return rows / labels.shape[0]


def random(key: Key, inputs: int, outputs: int, concentration: ArrayLike = 1.0) -> Array:
    """A random joint: X is uniform, and each row p(y | x) is from a Dirichlet; [inputs, outputs].

    Args:
        key: the key of the draw.
        inputs, outputs: the numbers of symbols, at least 2.
        concentration: of the symmetric Dirichlet, above 0; a small one gives outputs that are nearly certain.

    Raises:
        InputError: an argument is out of its range.
    """
    check.integer("inputs", inputs, 2)
    check.integer("outputs", outputs, 2)
    check.positive("concentration", concentration)
    alpha = jnp.full((outputs,), concentration, jnp.result_type(float))
    return jax.random.dirichlet(key, alpha, (inputs,)) / inputs


def gaussian(rho: ArrayLike, points: int = 65, span: float = 6.4) -> Array:
    """Two standard normal variables of correlation ``rho`` on a grid, [points, points].

    The grid is even from -span to span standard deviations. Sums over such a grid equal the integrals but for
    terms of the order of exp(-2 (pi s / h)^2), where h is the step and s the narrowest standard deviation,
    sqrt(1 - rho^2), so the information curve is that of the continuous pair (`gaussian_bottleneck`).

    Raises:
        InputError: rho is not between -1 and 1, the span is not positive, or there are fewer than 2 points.
    """
    check.between("rho", rho, -1 + 1e-6, 1 - 1e-6)
    check.integer("points", points, 2)
    check.positive("span", span)
    rho = jnp.asarray(rho, jnp.result_type(float))
    rho = nan_where(~(jnp.abs(rho) < 1), rho)
    grid = jnp.linspace(-span, span, points)
    x, y = grid[:, None], grid[None, :]
    weight = jnp.exp(-(x * x - 2 * rho * (x * y) + y * y) / (2 * (1 - jnp.square(rho))))
    return weight / jnp.sum(weight)


def checked(joint: Array) -> Array:
    """A joint of floats; where its values cannot be read, NaN unless they are probabilities that sum to 1.

    Raises:
        InputError: the joint is no array [inputs, outputs] of floats with two inputs and outputs or more; or
            its values can be read, and one is negative or they do not sum to 1.
    """
    if getattr(joint, "ndim", 0) != 2 or min(joint.shape) < 2:
        raise check.InputError(
            f"a joint must be [inputs, outputs] with two of each or more, got shape "
            f"{getattr(joint, 'shape', None)}; use jax.vmap for several joints."
        )
    if not jnp.issubdtype(joint.dtype, jnp.floating):
        raise check.InputError(f"a joint must hold floats, got {joint.dtype}; divide counts by their sum.")
    if readable(joint):
        values = np.asarray(joint, np.float64)
        if not (values >= 0).all() or not abs(values.sum() - 1) < 1e-4:
            raise check.InputError(
                f"a joint must hold probabilities that sum to 1, got a sum of {values.sum():.6g} and a least "
                f"value of {values.min():.3g}; divide it by its sum."
            )
        return jnp.asarray(joint)
    wrong = ~(jnp.all(joint >= 0) & (jnp.abs(jnp.sum(joint) - 1) < 1e-4))
    return nan_where(wrong, joint)


def entropy(p: Array) -> Array:
    """-sum p log p over the last axis, in nats; p of 0 adds 0."""
    return -jnp.sum(xlogy(p, p), axis=-1)


def mutual_information(joint: Array) -> Array:
    """I(X; Y) of a joint [inputs, outputs], a scalar in nats.

    Raises:
        InputError: as `checked`.
    """
    joint = checked(joint)
    product = jnp.sum(joint, axis=1)[:, None] * jnp.sum(joint, axis=0)[None]
    ratio = jnp.where(joint > 0, joint, 1) / jnp.where(joint > 0, product, 1)
    return jnp.sum(joint * jnp.log(ratio))


def sample(key: Key, joint: Array, n: int) -> tuple[Array, Array]:
    """Draws of x and of y, each int32 [n].

    Raises:
        InputError: n is below 1, or as `checked`.
    """
    check.integer("n", n, 1)
    joint = checked(joint)
    logits = jnp.log(joint).reshape(-1)
    flat = jax.random.categorical(key, logits, shape=(n,)).astype(jnp.int32)
    flat = jnp.where(jnp.isnan(joint).any(), -1, flat)
    x, y = jnp.divmod(flat, joint.shape[1])
    return x, jnp.where(x < 0, -1, y)


def binary_entropy(p: ArrayLike) -> Array:
    """The entropy of a bit that is 1 with probability p, in nats."""
    p = jnp.asarray(p, jnp.result_type(float))
    return -(xlogy(p, p) + xlogy(1 - p, 1 - p))


def binary_symmetric_curve(rate: ArrayLike, flip: ArrayLike) -> Array:
    """The information curve of `binary_symmetric` at rates [...], in nats (Wyner and Ziv 1973).

    The best T is X flipped with the probability a that gives ``rate = log 2 - h(a)``, and T differs from Y
    with probability ``a + flip - 2 a flip``. From a rate of log 2 on the curve stays at I(X; Y).

    Raises:
        InputError: a rate is negative, or the probability is not in [0, 1].
    """
    rate, flip = _rate(rate), _probability("flip", flip)
    wanted = math.log(2) - jnp.minimum(rate, math.log(2))
    low, high = jnp.zeros_like(wanted), jnp.full_like(wanted, 0.5)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        below = binary_entropy(middle) < wanted
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    low, high = jax.lax.fori_loop(0, _BISECTIONS, halve, (low, high))
    a = nan_where(jnp.isnan(wanted), (low + high) / 2)
    return math.log(2) - binary_entropy(a + flip - 2 * a * flip)


def erasure_curve(rate: ArrayLike, symbols: int, erased: ArrayLike) -> Array:
    """The information curve of `erasure` at rates [...], in nats: (1 - erased) min(rate, log symbols).

    Raises:
        InputError: a rate is negative, or another argument is out of its range.
    """
    check.integer("symbols", symbols, 2)
    return (1 - _probability("erased", erased)) * jnp.minimum(_rate(rate), math.log(symbols))


def deterministic_curve(rate: ArrayLike, joint: Array) -> Array:
    """The information curve of a joint in which Y is a function of X: min(rate, H(Y)), in nats.

    On the rising part every price between 0 and 1 has the same best T, so a sweep of the price finds the ends
    of this curve alone (Kolchinsky et al., "Caveats for information bottleneck", 2019).

    Raises:
        InputError: a rate is negative, or as `checked`.
    """
    return jnp.minimum(_rate(rate), entropy(jnp.sum(checked(joint), axis=0)))


def _rate(rate: ArrayLike) -> Array:
    check.non_negative("rate", rate)
    rate = jnp.asarray(rate, jnp.result_type(float))
    return nan_where(~(rate >= 0), rate)


def _probability(name: str, value: ArrayLike) -> Array:
    check.between(name, value, 0, 1)
    value = jnp.asarray(value, jnp.result_type(float))
    return nan_where(~((value >= 0) & (value <= 1)), value)
