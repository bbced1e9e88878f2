"""DCI by boosted trees in jax: gradient boosting on binned codes, under jit and vmap.

It is scikit-learn's gradient boosting, except that codes are cut into bins first: in each round one tree of
three levels for each value of each factor, whose splits decrease the squared error of the softmax's residuals
most. All trees of a round grow at once. The sums for all candidate splits are one product of residuals with
zeros and ones, which processors do at full speed; those of a right child are its parent's less its sibling's.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, nan_where
from lrn.representation import factors as given
from lrn.representation.dci import DCI, completeness, disentanglement
from lrn.representation.histogram import one_hot
from lrn.types import Array

LEVELS = 3  # as scikit-learn's default depth
RATE, BINS = 0.1, 64
_RIDGE = 1e-6  # keeps the step of a leaf finite where its rows are certain


class Trees(NamedTuple):
    """What boosting found.

    importance: [dim, factors], the decrease of squared error by splits on each code; a factor's sum is 1.
    scores, test_scores: logits [sum of sizes, n] of the training and test rows, factor after factor.
    """

    importance: Array
    scores: Array
    test_scores: Array


def dci_trees(
    codes: Any,
    factors: Any,
    test_codes: Any,
    test_factors: Any,
    *,
    rounds: int = 100,
    rate: ArrayLike = RATE,
    bins: int = BINS,
    sizes: Any = None,
) -> DCI:
    """DCI with boosted trees.

    Args:
        codes, test_codes: floats [n, dim] and [n_test, dim].
        factors, test_factors: whole numbers [n, factors] and [n_test, factors].
        rounds: the number of trees for each value of a factor.
        rate: the share of its step that a tree takes, above 0; may be traced.
        bins: the number of bins of equally many rows into which each code is cut.
        sizes: the number of values of each factor, needed where the factors are traced.

    Raises:
        InputError: codes, factors or settings are wrong.
    """
    check.integer("rounds", rounds, 1)
    check.integer("bins", bins, 2)
    check.positive("rate", rate)
    train, test, sizes = given.train_and_test(codes, factors, test_codes, test_factors, sizes)
    given.several("DCI", min(len(sizes), train.codes.shape[1]), "codes and factors")
    train = train._replace(bad=train.bad | jnp.isnan(above_zero(rate)))
    return dci(train, test, sizes, rounds, rate, bins)


@functools.partial(jax.jit, static_argnames=("sizes", "rounds", "bins"))
def dci(
    train: given.Rows,
    test: given.Rows,
    sizes: given.Sizes,
    rounds: int,
    rate: ArrayLike = RATE,
    bins: int = BINS,
) -> DCI:
    """`dci_trees` of checked rows."""
    found = boost(train, test.codes, sizes, rounds, rate, bins)
    right = [
        jnp.mean(guess == test.factors[:, j]) for j, guess in enumerate(guesses(found.test_scores, sizes))
    ]
    table = nan_where(train.bad, found.importance)
    accuracy = nan_where(train.bad, jnp.mean(jnp.stack(right)))
    return DCI(disentanglement(table), completeness(table), accuracy, table)


def guesses(scores: Array, sizes: given.Sizes) -> list[Array]:
    """The most likely value [n] of each factor, of logits [sum of sizes, n]."""
    return [jnp.argmax(block, axis=0) for block in given.blocks(scores, sizes)]


def boost(
    train: given.Rows, test_codes: Array, sizes: given.Sizes, rounds: int, rate: ArrayLike, bins: int
) -> Trees:
    """Boosted trees for all factors at once; see `dci_trees` for the arguments."""
    n = train.codes.shape[0]
    edges = _edges(train.codes, bins)
    binned, test = (_binned(x, edges) for x in (train.codes, test_codes))
    # Row (code, b) has a one where a row of data would go left by the split "bin of the code <= b".
    below = (binned[:, None] <= jnp.arange(bins - 1)[None, :, None]).reshape(-1, n).astype(jnp.bfloat16)
    target = one_hot(train.factors, sizes)
    prior = jnp.log(jnp.maximum(jnp.mean(target, axis=1), 1 / n))[:, None]
    shrink = rate * (1 - 1 / jnp.asarray(np.repeat(sizes, sizes), jnp.float32))

    def grow(_: Array, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        scores, test_scores, importance = state
        p = jnp.concatenate([jax.nn.softmax(block, axis=0) for block in given.blocks(scores, sizes)])
        residual = target - p
        leaf, test_leaf, gain = _trees(residual, below, binned, test)
        values = []
        for k in range(2**LEVELS):  # a step of Newton's method in each leaf
            inside = leaf == k
            bend = _total(jnp.where(inside, p * (1 - p), 0))
            values.append(shrink * _total(jnp.where(inside, residual, 0)) / (bend + _RIDGE))
        return scores + _pick(values, leaf), test_scores + _pick(values, test_leaf), importance + gain

    count = prior.shape[0]
    start = (jnp.broadcast_to(prior, (count, rows)) for rows in (n, test.shape[1]))
    none = jnp.zeros((count, binned.shape[0]), jnp.float32)
    scores, test_scores, importance = jax.lax.fori_loop(0, rounds, grow, (*start, none))
    table = jnp.stack([jnp.sum(block, axis=0) for block in given.blocks(importance, sizes)], axis=1)
    total = jnp.sum(table, axis=0, keepdims=True)
    return Trees(jnp.where(total > 0, table / jnp.where(total > 0, total, 1), 0.0), scores, test_scores)


def _trees(residual: Array, below: Array, binned: Array, test: Array) -> tuple[Array, Array, Array]:
    """One tree for each row of residuals [trees, n].

    Args:
        residual: [trees, n]. below: zeros and ones [dim * cuts, n]. binned, test: bins [dim, rows].

    Returns:
        The leaf of each row [trees, n] and test row [trees, n_test], and the gain [trees, dim] by code.
    """
    (trees, n), dim = residual.shape, binned.shape[0]
    cuts = below.shape[0] // dim
    leaf, test_leaf = jnp.zeros((trees, n), jnp.int8), jnp.zeros((trees, test.shape[1]), jnp.int8)
    gain = jnp.zeros((trees, dim), jnp.float32)
    # Node m has the sums of residuals and the counts left of each split, and those of all its rows.
    number = jnp.broadcast_to(_product(jnp.ones((1, n)), below), (trees, below.shape[0]))
    nodes = [_product(residual, below)[None], number[None]]
    whole = [_total(residual)[None], jnp.full((1, trees), float(n))]
    for level in range(LEVELS):
        best, place = _best(*nodes, *whole)
        code, cut = place // cuts, jnp.where(best > 0, place % cuts, cuts)
        of_code = jnp.where(code[:, :, None] == jnp.arange(dim)[None, None], best[:, :, None], 0)
        gain = gain + jnp.sum(of_code, axis=0)
        leaf, test_leaf = (_descend(*x, code, cut) for x in ((leaf, binned), (test_leaf, test)))
        if level + 1 < LEVELS:
            inside = [leaf == 2 * m for m in range(2**level)]  # left children
            parts = [
                jnp.stack([jnp.where(x, y, 0) for x in inside]) for y in (residual, jnp.ones_like(residual))
            ]
            left = [_product(part.reshape(-1, n), below).reshape(-1, trees, below.shape[0]) for part in parts]
            # The rows of a left child are those left of its parent's split.
            sums = [jnp.take_along_axis(x, place[:, :, None], axis=2)[:, :, 0] for x in nodes]
            split = best > 0
            sums = [jnp.where(split, x, y) for x, y in zip(sums, whole)]
            whole = [_with_siblings(x, y) for x, y in zip(whole, sums)]
            nodes = [_with_siblings(x, y) for x, y in zip(nodes, left)]
    return leaf, test_leaf, gain


def _with_siblings(parent: Array, left: Array) -> Array:
    """Left and right children in turn [2 nodes, ...], of parents and left children [nodes, ...]."""
    return jnp.stack([left, parent - left], axis=1).reshape(-1, *parent.shape[1:])


def _best(sums: Array, counts: Array, total: Array, number: Array) -> tuple[Array, Array]:
    """The gain [nodes, trees] of the best split of each node, and its place among the splits.

    Args:
        sums, counts: [nodes, trees, splits], of the rows left of each split. total, number: [nodes, trees].
    """
    right_sums, right_counts = total[:, :, None] - sums, number[:, :, None] - counts
    valid = (counts > 0.5) & (right_counts > 0.5)
    parts = jnp.square(sums) / jnp.maximum(counts, 1) + jnp.square(right_sums) / jnp.maximum(right_counts, 1)
    gain = jnp.where(valid, parts - (jnp.square(total) / jnp.maximum(number, 1))[:, :, None], 0.0)
    return jnp.maximum(jnp.max(gain, axis=2), 0.0), jnp.argmax(gain, axis=2)


def _descend(leaf: Array, binned: Array, code: Array, cut: Array) -> Array:
    """The node [trees, rows] of each row one level deeper; nodes without a split send all rows left."""
    chosen = jnp.zeros_like(leaf)
    for m in range(code.shape[0]):
        right = jnp.take(binned, code[m], axis=0) > cut[m][:, None].astype(binned.dtype)
        chosen = jnp.where(leaf == m, right.astype(leaf.dtype), chosen)
    return 2 * leaf + chosen


def _pick(values: list[Array], leaf: Array) -> Array:
    """The value [trees, rows] of each row's leaf, of values [trees] for each leaf."""
    found = jnp.broadcast_to(values[0][:, None], leaf.shape)
    for k, value in enumerate(values[1:], 1):
        found = jnp.where(leaf == k, value[:, None], found)
    return found


def _edges(x: Array, bins: int) -> Array:
    """Edges [bins - 1, dim] between bins of equally many rows: midpoints of neighbors, as trees have them."""
    n, ordered = x.shape[0], jnp.sort(x, axis=0)
    cuts = np.clip(np.round(np.arange(1, bins) * n / bins).astype(int), 1, n - 1)
    return (ordered[cuts - 1] + ordered[cuts]) / 2


def _binned(x: Array, edges: Array) -> Array:
    """The number of edges below each entry of x [n, dim], as [dim, n] of few bits."""
    found = jnp.sum(x[:, None] > edges[None], axis=1, dtype=jnp.int32).T
    return found.astype(jnp.int8 if edges.shape[0] < 127 else jnp.int32)


def _total(x: Array) -> Array:
    """The sum over the last axis; in lanes of 16, which a processor adds side by side."""
    lanes = jnp.pad(x, ((0, 0), (0, -x.shape[1] % 16))).reshape(x.shape[0], -1, 16)
    return jnp.sum(jnp.sum(lanes, axis=1), axis=1)


def _product(a: Array, ones: Array) -> Array:
    """Sums float32 of a [rows, n] over each row of zeros and ones [splits, n].

    Counts are exact in bfloat16, and rounding residuals to it moves sums of many rows by far less than 1%.
    """
    last = (((1,), (1,)), ((), ()))
    return jax.lax.dot_general(a.astype(jnp.bfloat16), ones, last, preferred_element_type=jnp.float32)
