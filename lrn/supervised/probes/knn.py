"""The k-nearest-neighbor probe by cosine similarity, in both published settings."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.supervised.probes import _input
from lrn.types import Array

WEIGHTS = ("exponential", "majority")
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
    """The share of the votes of the k most similar training examples for each class.

    The prediction is ``votes.argmax(1)``. "exponential" with k = 20 is the setting of Wu et al. (2018) with
    DINO's k (Caron et al. 2021): a neighbor votes with weight exp(similarity / temperature). "majority" gives
    each neighbor one vote, as is common with k = 200.

    Ties are decided by order: of equally similar training examples the first ones are neighbors, and of
    classes with equal votes ``argmax`` takes the lowest. The zero vector has similarity 0 to everything.

    Args:
        x_train: features [n_train, dim].
        y_train: labels [n_train].
        x: features to classify [n, dim].
        classes: number of classes.
        k: number of neighbors, at most n_train.
        weights: "exponential" or "majority".
        temperature: of "exponential", above 0; may be traced.
        chunk: rows of ``x`` at once; the memory is that of [chunk, n_train] similarities.

    Returns:
        Float [n, classes], each row of sum 1.

    Raises:
        InputError: features, labels or settings are not valid.
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
        # In full precision: TF32 and bfloat16 products reorder neighbors.
        similarity, nearest = jax.lax.top_k(jnp.dot(bank, row, precision="highest"), k)
        if weights == "majority":
            weight = jnp.ones_like(similarity)
        else:  # the largest exponent is 0, so that no temperature overflows
            weight = jnp.exp((similarity - similarity[0]) / temperature)
        # Divided at the end: sums of 1 are exact, so that equal counts are ties, and sums of 1 / k are not.
        votes = jnp.dot(weight, jax.nn.one_hot(y_train[nearest], classes), precision="highest")
        return votes / jnp.sum(weight)

    return jax.lax.map(of, _unit(x), batch_size=min(chunk, x.shape[0]))


def _unit(x: Array) -> Array:
    # By the largest entry first, so that squares neither overflow nor vanish.
    x = x / jnp.maximum(jnp.max(jnp.abs(x), axis=1, keepdims=True), _TINY)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), _TINY)
