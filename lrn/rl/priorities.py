"""Prioritized replay: rows drawn in proportion to a priority, from a sum tree (Schaul et al. 2016).

The tree is one array: node 1 is the root, the children of node k are 2k and 2k + 1, and the leaves hold the
priorities of the rows. `write` and `draw` cost O(log capacity) for each row. Every node is computed anew from
its children, so rounding does not add up over a training.

Only a row whose whole n-step window holds data has a priority above 0. `follow` keeps it so when the ring is
written to: new rows get the largest priority seen so far, and rows that the ring gave up get 0.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.rl.replay import Played
from lrn.types import Array


class Priorities(NamedTuple):
    """The priorities of the rows of a ring.

    tree: float32 [2 * leaves], with a leaf for each row; ``leaves`` is a power of two.
    largest: the largest priority that was written so far, at first 1.
    """

    tree: Array
    largest: Array


def start(capacity: int) -> Priorities:
    """Priorities of 0 for the rows of an empty ring.

    Raises:
        InputError: the capacity is no whole number from 1 to 2^29.
    """
    check.integer("capacity", capacity, 1)
    if capacity > 2**29:
        raise check.InputError(f"capacity must be at most 2^29, got {capacity}; keep fewer rows.")
    return Priorities(jnp.zeros(2 << (capacity - 1).bit_length()), jnp.float32(1))


def write(priorities: Priorities, rows: Array, values: Array) -> Priorities:
    """Set priorities.

    Args:
        priorities: the tree.
        rows: int [m]. A row may come more than once; the largest of its values counts. A negative row
            stands for none.
        values: [m], at least 0.
    """
    tree = priorities.tree
    leaves = len(tree) // 2
    node = jnp.where(rows < 0, 2 * leaves, leaves + rows)  # out of bounds, so dropped
    tree = tree.at[node].set(0.0, mode="drop").at[node].max(values, mode="drop")

    def up(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        tree, node = carry
        node = jnp.where(node < 2 * leaves, node // 2, node)
        both = tree.at[2 * node].get(mode="clip") + tree.at[2 * node + 1].get(mode="clip")
        return tree.at[node].set(both, mode="drop"), node

    tree, _ = jax.lax.fori_loop(0, leaves.bit_length() - 1, up, (tree, node))
    largest = jnp.maximum(priorities.largest, jnp.where(rows < 0, 0.0, values).max())
    return Priorities(tree, largest)


def draw(priorities: Priorities, uniform: Array) -> tuple[Array, Array]:
    """Rows drawn in proportion to their priorities, one from each of m equal strata (Schaul et al., B.2.1).

    Args:
        priorities: the tree. If all priorities are 0, the rows are meaningless; mask what depends on them.
        uniform: [m], numbers drawn uniformly from [0, 1).

    Returns:
        ``(rows, chance)``: int32 [m] and [m], the rows and their shares of the sum of all priorities.
    """
    tree = priorities.tree
    leaves = len(tree) // 2
    m = len(uniform)
    place = (jnp.arange(m) + uniform) / m * tree[1]

    def down(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        node, place = carry
        left, right = tree[2 * node], tree[2 * node + 1]
        # Rounding may leave a place beyond both children: a child without priority is never entered.
        go_right = (place >= left) & (right > 0)
        return 2 * node + go_right, jnp.where(go_right, place - left, place)

    first = (jnp.ones(m, jnp.int32), place)
    node, _ = jax.lax.fori_loop(0, leaves.bit_length() - 1, down, first)
    return node - leaves, tree[node] / tree[1]


def follow(priorities: Priorities, before: Played, after: Played, written: int, window: int) -> Priorities:
    """The priorities after the ring was written to.

    Args:
        priorities: those before.
        before: the ring before `lrn.rl.replay.record`.
        after: the ring after it.
        written: the number of rows written, at most a quarter of the ring.
        window: the number of rows, one environment's step after another's, that a row needs behind it before
            it can be drawn: ``(n_step - 1) * num_envs``.
    """
    capacity = after.capacity
    oldest_before = (before.position - before.filled) % capacity
    oldest = (after.position - after.filled) % capacity
    gone = (oldest - oldest_before) % capacity
    leaving = jnp.arange(3 * written)  # what is written over, and at most twice as many given up for places
    left = jnp.where(leaving < gone, (oldest_before + leaving) % capacity, -1)
    place = after.filled - window - written + jnp.arange(written)  # counted from the oldest row
    complete = jnp.where(place >= 0, (oldest + place) % capacity, -1)
    rows = jnp.concatenate([left, complete])
    values = jnp.concatenate([jnp.zeros(3 * written), jnp.broadcast_to(priorities.largest, written)])
    return write(priorities, rows, values)


def importance(chance: Array, filled: Array, exponent: Array | float) -> Array:
    """Weights [m] that undo the preference for rows of high priority (Schaul et al. 2016, section 3.4).

    Args:
        chance: [m], the chance of each drawn row.
        filled: the number of rows that can be drawn.
        exponent: 0 undoes nothing, 1 undoes all of it.

    Returns:
        ``(filled * chance) ** -exponent``, divided by the largest of the batch.
    """
    weight = (jnp.maximum(filled * chance, 1e-12)) ** -exponent
    return weight / weight.max()
