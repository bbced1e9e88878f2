"""Training with one penalty on unequal treatment of similar people and one on unequal groups.

Two people are similar if their features are, whatever their group: the distance is the root of the mean
square difference of the features, in standard deviations. Decisions are drawn from the model's chances, so
that every measure is one of the chances.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.fair._people import Sample
from lrn import nets
from lrn.fair.confusion import confusion
from lrn.fair.front import overall_balanced_accuracy
from lrn.fair.gaps import demographic_parity_difference
from lrn.fair.individual import euclidean
from lrn.fair.lipschitz import draw_pairs, lipschitz_pairs_penalty, pair_distances, similar_treatment
from lrn.fair.penalized import PenalizedConfig, Penalty, fit_penalized, on_scores
from lrn.fair.penalties import covariance_penalty
from lrn.fair.training import People
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Key

BALANCED, EXCESS, PARITY = "balanced accuracy", "excess", "parity gap"
NET = nets.mlp(1, ())
_PARITY = on_scores(covariance_penalty, 2)


def strengths(individual: Any, parity: Any) -> np.ndarray:
    """All pairs of a strength of each penalty, [pairs, 2]; the first pair is that of the first strengths."""
    return np.stack(np.meshgrid(individual, parity, indexing="ij"), axis=-1).reshape(-1, 2)


def penalty(strength: Array, bound: float, pairs: int, dim: int) -> Penalty:
    """Both penalties, by their strengths [2]; the distance reads the first ``dim`` features."""
    similar = similar_treatment(bound, pairs, lambda row, x: euclidean(row[:dim], x[:, :dim]) / dim**0.5)

    def value(key: Key, logit: Array, people: People) -> Array:
        alike = people._replace(weights=jnp.ones_like(people.weights))  # the loss alone balances the classes
        return strength[0] * similar(key, logit, alike) + strength[1] * _PARITY(key, logit, alike)

    return value


def measured(
    key: Key, sample: Sample, grid: Any, train: int, bound: float, pairs: int, steps: int
) -> dict[str, Array]:
    """The measures of every pair of strengths on validation and on test rows, [2, grid] each.

    Args:
        key: draws the pairs of people. sample: rows in random order; the first ``train`` train, and half of
            the others each validate and test. grid: the strengths, [grid, 2].
        bound: the allowed change of a chance for a unit of distance.
        pairs: the pairs drawn at each step, and ten times as many to measure. steps: of the training.
    """
    dim = sample.x.shape[1]
    x, y, group = jnp.asarray(sample.x), jnp.asarray(sample.y), jnp.asarray(sample.group)
    side = (2.0 * group - 1)[:, None]
    seen = jnp.concatenate([x, side, x * side], axis=1)
    first = slice(0, train)
    rate = jnp.mean(y[first])
    weights = jnp.where(y[first] == 1, 0.5 / rate, 0.5 / (1 - rate))
    config = PenalizedConfig(OptimizerConfig(name="adam", learning_rate=0.05), strength=1.0)
    train_key, measure_key = jax.random.split(key)

    def chances(strength: Array) -> Array:
        own = penalty(strength, bound, pairs, dim)
        fit = fit_penalized(
            train_key, NET, own, seen[first], y[first], group[first], 2, config, weights, steps=steps
        )
        return fit(seen)

    found = jax.vmap(chances)(jnp.asarray(grid, x.dtype))
    middle = (train + len(y)) // 2
    parts = slice(train, middle), slice(middle, len(y))

    def of_part(part: slice, chance: Array) -> dict[str, Array]:
        rows = draw_pairs(measure_key, middle - train, 10 * pairs)
        far = pair_distances(x[part], rows) / dim**0.5
        counts = confusion(y[part], chance[part], group[part], 2)
        return {
            BALANCED: overall_balanced_accuracy(counts),
            PARITY: demographic_parity_difference(counts),
            EXCESS: lipschitz_pairs_penalty(chance[part], rows, far, bound),
        }

    each = [jax.vmap(lambda chance, part=part: of_part(part, chance))(found) for part in parts]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
