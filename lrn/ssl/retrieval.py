"""Retrieval: how often the partner of a query is among the most similar candidates, in both directions.

Ties count as their expectation over random orders of equally similar candidates. A constant embedding thus
has chance level exactly, and not the perfect score that it gets where the order of the candidates decides.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import readable
from lrn.ssl.similarity import unit
from lrn.types import Array

TIE = 1e-6  # similarities that differ by less, as by the rounding of a product, are equal


class Hits(NamedTuple):
    """What queries find.

    recall: [ks], the share of queries with a relevant candidate among the k most similar ones, in [0, 1].
    chance: [ks], the recall of a constant embedding.
    reciprocal_rank: scalar, the mean of 1 / rank of a query's first relevant candidate, in [0, 1].
    """

    recall: Array
    chance: Array
    reciprocal_rank: Array


class Retrieval(NamedTuple):
    """Hits of the first embeddings as queries among the second ones, and the other way round."""

    forward: Hits
    backward: Hits


def retrieval(a: Any, b: Any, ks: Sequence[int] = (1, 5, 10), *, chunk: int = 256) -> Retrieval:
    """Instance retrieval: row i of ``a`` looks for row i of ``b`` by cosine similarity, and the reverse.

    Args:
        a, b: embeddings [n, dim], n of 2 or more, of two views or modalities of the same examples.
        ks: the numbers of candidates that a query may return, each at most n.
        chunk: the number of queries at once; the similarities [chunk, n] must fit into memory.

    Raises:
        InputError: embeddings or settings are wrong.
    """
    a, b = _embeddings(a, b)
    if a.shape != b.shape:
        raise check.InputError(
            f"instance retrieval needs pairs of rows, got embeddings {a.shape} and {b.shape}; give as many "
            "of one as of the other, or use class_retrieval."
        )
    index = jnp.arange(a.shape[0])
    return Retrieval(_hits(a, b, index, index, ks, chunk), _hits(b, a, index, index, ks, chunk))


def class_retrieval(
    a: Any, b: Any, y_a: Any, y_b: Any, ks: Sequence[int] = (1, 5, 10), *, chunk: int = 256
) -> Retrieval:
    """Class retrieval: any candidate of the query's class is a hit. It is no evidence of instance retrieval.

    A query whose class no candidate has counts as a miss with rank infinity.

    Args:
        a, b: embeddings [n, dim] and [m, dim].
        y_a, y_b: classes [n] and [m], whole numbers.
        ks, chunk: as for `retrieval`; each k is at most n and m.

    Raises:
        InputError: embeddings, classes or settings are wrong.
    """
    a, b = _embeddings(a, b)
    y_a, y_b = _classes("y_a", y_a, a.shape[0]), _classes("y_b", y_b, b.shape[0])
    return Retrieval(_hits(a, b, y_a, y_b, ks, chunk), _hits(b, a, y_b, y_a, ks, chunk))


def expected_hits(similarity: Array, relevant: Array, most: int) -> tuple[Array, Array]:
    """One query's hits, as expectations over random orders of equally similar candidates.

    Let g candidates be more similar than the most similar relevant one, and t be as similar, r of them
    relevant and w = t - r not. The rank of the first relevant candidate is g + j + 1 with probability
    ``prod_{i<j} (w - i) / (t - i) * r / (t - j)``.

    Args:
        similarity: [candidates]. relevant: bools [candidates].
        most: the largest k.

    Returns:
        The probabilities [most] that a relevant candidate is among the first 1 to ``most``, and the expected
        reciprocal rank, scalar; 0 where nothing is relevant, NaN where a similarity is not finite.
    """
    best = jnp.max(jnp.where(relevant, similarity, -jnp.inf))
    tied = jnp.abs(similarity - best) <= TIE
    before = jnp.sum(similarity > best + TIE)
    total, right = jnp.sum(tied), jnp.sum(tied & relevant)
    step = jnp.arange(similarity.shape[0])
    wrong = total - right
    # The probability that the first j of the tied candidates are all wrong.
    fails = jnp.where(step < wrong, (wrong - step) / jnp.maximum(total - step, 1), 0.0)
    missed = jnp.concatenate([jnp.ones(1), jnp.cumprod(fails)])
    first = missed[:-1] * jnp.where(step < total, right / jnp.maximum(total - step, 1), 0.0)
    found = jnp.where(
        jnp.arange(1, most + 1) <= before, 0.0, 1 - missed[jnp.maximum(jnp.arange(1, most + 1) - before, 0)]
    )
    valid = jnp.all(jnp.isfinite(similarity))
    found = jnp.where(jnp.any(relevant), found, 0.0)
    return jnp.where(valid, found, jnp.nan), jnp.where(valid, jnp.sum(first / (before + step + 1)), jnp.nan)


def _hits(
    queries: Array, candidates: Array, mine: Array, theirs: Array, ks: Sequence[int], chunk: int
) -> Hits:
    check.integer("chunk", chunk, 1)
    if len(ks) == 0:
        raise check.InputError("ks must hold at least one number of candidates, got none; give (1, 5).")
    for k in ks:
        check.integer("every k", k, 1)
        if k > candidates.shape[0]:
            raise check.InputError(
                f"k must be at most the {candidates.shape[0]} candidates, got {k}; choose a smaller k."
            )
    return _mean_hits(queries, candidates, mine, theirs, tuple(map(int, ks)), chunk)


@functools.partial(jax.jit, static_argnames=("ks", "chunk"))
def _mean_hits(
    queries: Array, candidates: Array, mine: Array, theirs: Array, ks: tuple[int, ...], chunk: int
) -> Hits:
    bank, most = unit(candidates), max(ks)
    places = jnp.asarray(ks) - 1

    def of(query: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        row, who = query
        similarity, relevant = jnp.dot(bank, row, precision="highest"), theirs == who
        found, reciprocal = expected_hits(similarity, relevant, most)
        chance, _ = expected_hits(jnp.zeros_like(similarity), relevant, most)
        return found[places], chance[places], reciprocal

    every = jax.lax.map(of, (unit(queries), mine), batch_size=min(chunk, queries.shape[0]))
    return Hits(*(jnp.mean(value, axis=0) for value in every))


def _embeddings(a: Any, b: Any) -> tuple[Array, Array]:
    a, b = jnp.asarray(a), jnp.asarray(b)
    for x in (a, b):
        if x.ndim != 2 or x.shape[0] < 2 or not jnp.issubdtype(x.dtype, jnp.floating):
            raise check.InputError(
                f"embeddings must be floats [n, dim] with n of 2 or more, got shape {x.shape} and dtype "
                f"{x.dtype}; flatten them."
            )
        if readable(x) and not np.isfinite(np.asarray(x, np.float64)).all():
            raise check.InputError("embeddings hold values that are not finite; leave those examples out.")
    if a.shape[1] != b.shape[1]:
        raise check.InputError(
            f"embeddings must agree in dim, got {a.shape[1]} and {b.shape[1]}; compare outputs of heads."
        )
    return a, b


def _classes(name: str, y: Any, n: int) -> Array:
    y = jnp.asarray(y)
    if y.shape != (n,) or not jnp.issubdtype(y.dtype, jnp.integer):
        raise check.InputError(
            f"{name} must be whole numbers of shape [{n}], got shape {y.shape} and dtype {y.dtype}; give one "
            "class an example."
        )
    return y
