"""The k-nearest-neighbor probe by cosine similarity, in both published settings."""

from __future__ import annotations

from typing import Any, TypedDict

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero
from lrn.supervised.probes import _input
from lrn.supervised.targets import one_hot
from lrn.types import Array

WEIGHTS = ("exponential", "majority")


class KNNSetting(TypedDict):
    """Arguments of `knn_votes`: the number of neighbors, their weights and the temperature."""

    k: int
    weights: str
    temperature: float


# The settings of the published tables of self-supervised methods: lightly's benchmarks have k = 200 and
# temperature .1, those of solo-learn and DINO (Caron et al. 2021) have k = 20 and temperature .07.
LIGHTLY = KNNSetting(k=200, weights="exponential", temperature=0.1)
SOLO_LEARN = KNNSetting(k=20, weights="exponential", temperature=0.07)

_TINY = 1e-30  # below the norm of any vector but 0


def knn_votes(
    x_train: Any,
    y_train: Any,
    x: Any,
    classes: int,
    *,
    k: int = 20,
    weights: str = "exponential",
    temperature: ArrayLike = 0.07,
    chunk: int = 256,
) -> Array:
    """Each class's share of the votes of the k most similar training examples, by cosine similarity.

    The prediction is ``votes.argmax(1)``. Under "exponential" a neighbor votes with weight exp(similarity /
    temperature) (Wu et al. 2018); under "majority" each neighbor has one vote. The two published settings are
    ``knn_votes(..., **LIGHTLY)`` and ``knn_votes(..., **SOLO_LEARN)``, of which the second is the default:
    say which one a number is from.

    Order decides ties: among equally similar training examples the first ones are neighbors, and among
    classes with equal votes ``argmax`` takes the lowest. The zero vector has similarity 0 to every vector.

    Args:
        x_train: features [n_train, dim].
        y_train: labels [n_train].
        x: features to classify [n, dim].
        classes: number of classes.
        k: number of neighbors, at most n_train.
        weights: "exponential" or "majority".
        temperature: the temperature of "exponential", above 0; may be traced.
        chunk: the number of rows of ``x`` at once; the similarities [chunk, n_train] must fit into memory.

    Returns:
        Floats [n, classes]; each row sums to 1. Under jit a wrong input cannot be refused, and gives NaN in
        a row whose features are not finite or that has a neighbor whose label is outside of the classes, and
        in all rows where training features are not finite or "exponential" has a temperature not above 0.

    Raises:
        InputError: features, labels or settings are wrong.
    """
    check.integer("classes", classes, 2)
    check.integer("k", k, 1)
    check.integer("chunk", chunk, 1)
    check.choice("weights", weights, WEIGHTS)
    check.positive("temperature", temperature)
    x_train = _input.features("x_train", x_train)
    y_train = _input.labels("y_train", y_train, x_train.shape[0], classes)
    x = _input.features("x", x, x_train.shape[1])
    if k > x_train.shape[0]:
        raise check.InputError(
            f"k must be at most the {x_train.shape[0]} training examples, got {k}; choose fewer neighbors."
        )
    bank = _unit(x_train)

    def of(row: Array) -> Array:
        # The highest precision is needed, because products in TF32 or bfloat16 reorder neighbors.
        similarity, nearest = jax.lax.top_k(jnp.dot(bank, row, precision="highest"), k)
        if weights == "majority":
            weight = jnp.where(jnp.isnan(similarity[0]), jnp.nan, jnp.ones_like(similarity))
        else:  # the largest exponent is 0, so that no temperature makes exp overflow
            weight = jnp.exp((similarity - similarity[0]) / above_zero(temperature))
        # The division comes last: sums of 1 are exact, so equal counts are ties; sums of 1 / k are not exact.
        votes = jnp.dot(weight, one_hot(y_train[nearest], classes), precision="highest")
        return votes / jnp.sum(weight)

    return jax.lax.map(of, _unit(x), batch_size=min(chunk, x.shape[0]))


def _unit(x: Array) -> Array:
    # The division by the largest entry keeps the squares from overflow and underflow.
    x = x / jnp.maximum(jnp.max(jnp.abs(x), axis=1, keepdims=True), _TINY)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), _TINY)
