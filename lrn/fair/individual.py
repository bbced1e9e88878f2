"""Individual fairness: are similar people treated alike? Consistency and the Lipschitz condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import nan_where
from lrn.fair import inputs
from lrn.fair.rates import divide
from lrn.types import Array

Distance = Callable[[Array, Array], Array]  # (row [dim], x [n, dim]) -> distances [n]


class Lipschitz(NamedTuple):
    """How pairs of rows keep ``|f(a) - f(b)| <= bound * distance(a, b)``; scalars, over pairs of other rows.

    violations: the share of pairs that break the condition.
    excess: the mean over all pairs of ``max(|f(a) - f(b)| - bound * distance, 0)``, in the unit of f.
    constant: the smallest bound that all pairs keep; inf if equal rows are treated differently.
    """

    violations: Array
    excess: Array
    constant: Array


def euclidean(row: Array, x: Array) -> Array:
    """The Euclidean distance of one row [dim] from the rows of x [n, dim], [n]."""
    square = jnp.sum((x - row[None]) ** 2, axis=1)
    apart = square != 0  # the square root has no gradient at 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)


def consistency(
    x: Any,
    prediction: Any,
    k: int = 5,
    include_self: bool = True,
    weight: Any = None,
    distance: Distance = euclidean,
    chunk: int = 128,
) -> Array:
    """One minus the mean distance of a prediction from those of its k nearest rows, a scalar in [0, 1].

    ``1 - mean_i |d_i - mean over the neighbors j of i of d_j|`` (Zemel et al. 2013, in the
    reading of AIF360). Among equally near rows the first ones are neighbors. The time grows with
    n^2, the memory with chunk * n.

    Args:
        x: features [n, dim], scaled so that the distance means something.
        prediction: decisions 0 or 1, or their probabilities [n].
        k: the number of neighbors.
        include_self: whether a row is one of its own neighbors, as in AIF360.
        weight: weights of rows in the outer mean [n]; neighbors count equally.
        distance: the distance of a row from all rows.
        chunk: the number of rows whose distances are held at once.

    Raises:
        InputError: a shape, dtype or value is wrong, or k exceeds the neighbors. (Under jit wrong values
            give NaN.)
    """
    check.integer("k", k, 1)
    check.integer("chunk", chunk, 1)
    check.boolean("include_self", include_self)
    x, prediction, weight, fine = _points(x, prediction, weight)
    n = len(prediction)
    most = n if include_self else n - 1
    if k > most:
        raise check.InputError(f"k must be at most the {most} neighbors, got {k}; choose a smaller k.")

    def gap(row: tuple[Array, Array]) -> Array:
        i, point = row
        far = distance(point, x)
        far = far if include_self else far.at[i].set(jnp.inf)
        nearest = jax.lax.top_k(-far, k)[1]
        return jnp.abs(prediction[i] - prediction[nearest].mean())

    gaps = jax.lax.map(gap, (jnp.arange(n), x), batch_size=min(chunk, n))
    return nan_where(~fine, 1 - divide((weight * gaps).sum(), weight.sum()))


def lipschitz(
    x: Any,
    prediction: Any,
    bound: ArrayLike = 1.0,
    weight: Any = None,
    distance: Distance = euclidean,
    chunk: int = 128,
) -> Lipschitz:
    """How far predictions are from the Lipschitz condition of Dwork et al. (2012), over all pairs of rows.

    A violation is counted beyond rounding: a pair with ``|f(a) - f(b)|`` above the allowed value by over 16
    units of the last place of 1. The time grows with n^2, the memory with chunk * n.

    Args:
        x: features [n, dim], n of 2 or more. prediction: scores or decisions in [0, 1] [n].
        bound: the allowed change of a prediction for a change of one unit of distance; may be traced.
        weight: weights of rows [n]; a pair has the product of both.
        distance: the metric of similarity. chunk: the number of rows whose distances are held at once.

    Raises:
        InputError: a shape, dtype or value is wrong. (Under jit wrong values give NaN.)
    """
    check.non_negative("bound", bound)
    check.integer("chunk", chunk, 1)
    x, prediction, weight, fine = _points(x, prediction, weight)
    n = len(prediction)
    if n < 2:
        raise check.InputError("lipschitz compares pairs of rows, got one row; give at least two.")
    bound = jnp.asarray(bound, prediction.dtype)
    slack = 16 * jnp.finfo(prediction.dtype).eps

    def one(row: tuple[Array, Array]) -> tuple[Array, Array, Array, Array]:
        i, point = row
        far, apart = distance(point, x), jnp.abs(prediction - prediction[i])
        pair = (weight * weight[i]).at[i].set(0)
        over = apart - bound * far
        # The distance of a row from itself must not make 0 / 0.
        slope = jnp.where(far > 0, apart / jnp.where(far > 0, far, 1), jnp.where(apart > 0, jnp.inf, 0))
        steepest = jnp.max(jnp.where(pair > 0, slope, 0))
        return (pair * (over > slack)).sum(), (pair * jnp.maximum(over, 0)).sum(), pair.sum(), steepest

    broken, excess, pairs, steepest = jax.lax.map(one, (jnp.arange(n), x), batch_size=min(chunk, n))
    values = divide(broken.sum(), pairs.sum()), divide(excess.sum(), pairs.sum()), steepest.max()
    return Lipschitz(*(nan_where(~fine, value) for value in values))


def _points(x: Any, prediction: Any, weight: Any) -> tuple[Array, Array, Array, Array]:
    prediction = inputs.vector("prediction", prediction)
    prediction, fine = inputs.shares("prediction", prediction, len(prediction))
    x, fine_x = inputs.points(x, len(prediction))
    weight, fine_weight = inputs.weights(weight, len(prediction), prediction.dtype)
    fine = fine & fine_x & fine_weight
    return x, nan_where(~fine, prediction), weight, fine
