"""The penalty of individual fairness: similar people get similar chances (Dwork et al. 2012).

The condition is ``|f(a) - f(b)| <= bound * distance(a, b)``, and the penalty is the mean over pairs of what
exceeds it, ``max(|f(a) - f(b)| - bound * distance(a, b), 0)``. It is the excess of
`lrn.fair.individual.lipschitz`, with a gradient in the scores. A constant f has a penalty of 0, whatever its
accuracy.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import as_array, nan_where
from lrn.fair import arguments, individual, inputs
from lrn.fair.individual import Distance, euclidean
from lrn.fair.penalized import Penalty
from lrn.fair.rates import divide
from lrn.fair.training import People
from lrn.types import Array, Key


def lipschitz_penalty(
    x: Any, score: Any, bound: ArrayLike = 1.0, weights: Any = None, distance: Distance = euclidean
) -> Array:
    """The mean excess over all pairs of rows, a scalar in the unit of the score.

    The time grows with n^2, and so does the memory of the gradient; for many rows draw pairs by `draw_pairs`.

    Args:
        x: features [n, dim], n of 2 or more. score: chances in [0, 1], [n].
        bound: the allowed change of a score for a change of one unit of distance; may be swept.
        weights: weights [n], 0 or more; a pair has the product of both. None: all 1.
        distance: the metric, ``distance(row [dim], x [n, dim]) -> [n]``.

    Raises:
        InputError: an argument is wrong. (Under jit wrong values give NaN.)
    """
    return individual.lipschitz(x, score, bound, weights, distance).excess


def lipschitz_pairs_penalty(
    score: Any, pairs: Any, distances: Any, bound: ArrayLike = 1.0, weights: Any = None
) -> Array:
    """The mean excess over given pairs of rows, a scalar in the unit of the score.

    Args:
        score: scores [n], chances or not.
        pairs: the rows of each pair, integers in 0..n-1, [pairs, 2].
        distances: the fair distance of each pair, 0 or more, [pairs]: judged by people, or `pair_distances`.
        bound: the allowed change of a score for a change of one unit of distance; may be swept.
        weights: weights [n], 0 or more; a pair has the product of both. None: all 1.

    Raises:
        InputError: an argument is wrong. (Under jit wrong values give NaN.)
    """
    check.non_negative("bound", bound)
    score = arguments.floats("score", score, len(inputs.vector("score", score)))
    n, pairs = score.shape[0], _pairs(pairs)
    first, fine_first = inputs.members(pairs[:, 0], n)
    second, fine_second = inputs.members(pairs[:, 1], n)
    far = arguments.floats("distances", distances, pairs.shape[0], 0).astype(score.dtype)
    weights, fine = inputs.weights(weights, n, score.dtype, "weights")
    fine = fine & fine_first & fine_second & jnp.all(far >= 0) & jnp.all(jnp.asarray(bound) >= 0)
    mass = weights[first] * weights[second]
    score = nan_where(~(fine & jnp.all(jnp.isfinite(score))), score)
    excess = jnp.maximum(jnp.abs(score[first] - score[second]) - bound * far, 0)
    return divide(jnp.sum(mass * excess), jnp.where(fine, jnp.sum(mass), jnp.nan))


def draw_pairs(key: Key, n: int, count: int) -> Array:
    """Pairs of different rows, drawn uniformly with repeats: int32 [count, 2] in 0..n-1.

    Raises:
        InputError: there are fewer than two rows, or ``count`` is below 1.
    """
    check.integer("n", n, 2)
    check.integer("count", count, 1)
    first_key, step_key = jax.random.split(key)
    first = jax.random.randint(first_key, (count,), 0, n)
    second = (first + jax.random.randint(step_key, (count,), 1, n)) % n
    return jnp.stack([first, second], axis=1)


def pair_distances(x: Any, pairs: Any, distance: Distance = euclidean) -> Array:
    """The distance of the rows of each pair, [pairs].

    Args:
        x: features [n, dim]. pairs: integers in 0..n-1, [pairs, 2]. distance: as for `lipschitz_penalty`.

    Raises:
        InputError: an argument is wrong. (Under jit a pair of no row has the distance NaN.)
    """
    x, pairs = arguments.features("x", x), _pairs(pairs)
    (first, fine_first), (second, fine_second) = (inputs.members(pairs[:, i], x.shape[0]) for i in range(2))
    far = jax.vmap(lambda a, b: distance(a, b[None])[0])(x[first], x[second])
    return jnp.where(fine_first & fine_second, far, jnp.nan)


def similar_treatment(
    bound: ArrayLike = 1.0, pairs: int | None = None, distance: Distance = euclidean
) -> Penalty:
    """The penalty for `lrn.fair.penalized.penalized`, on the chances of the rows of a batch.

    Args:
        bound: as for `lipschitz_penalty`.
        pairs: how many pairs of rows are drawn at each step; None: all pairs of the batch.
        distance: the metric on the rows' inputs [n, dim].

    A batch without a pair of weight, such as a minibatch may be, has the penalty 0.

    Raises:
        InputError: ``bound`` is negative, or ``pairs`` is no whole number of 1 or more.
    """
    check.non_negative("bound", bound)
    if pairs is not None:
        check.integer("pairs", pairs, 1)

    def value(key: Key, logit: Array, people: People) -> Array:
        chance, weights = jax.nn.sigmoid(logit), people.weights
        if pairs is None:
            penalty = lipschitz_penalty(people.x, chance, bound, weights, distance)
            return jnp.where(jnp.sum(weights != 0) < 2, 0, penalty)
        chosen = draw_pairs(key, logit.shape[0], pairs)
        far = pair_distances(people.x, chosen, distance)
        penalty = lipschitz_pairs_penalty(chance, chosen, far, bound, weights)
        return jnp.where(jnp.all(jnp.prod(weights[chosen], axis=1) == 0), 0, penalty)

    return value


def _pairs(pairs: Any) -> Array:
    pairs = as_array(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not jnp.issubdtype(pairs.dtype, jnp.integer):
        raise check.InputError(
            f"pairs must be integers [pairs, 2], got shape {pairs.shape} and dtype {pairs.dtype}; give the "
            "numbers of the two rows of each pair."
        )
    return pairs
