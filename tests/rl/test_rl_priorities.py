"""Prioritized replay: the sum tree against plain sums, draws against chances, live rows against a list."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.rl import priorities, replay
from lrn.rl.replay import Transition

write, draw = jax.jit(priorities.write), jax.jit(priorities.draw)
follow = jax.jit(priorities.follow, static_argnums=(3, 4))


def leaves(tree: priorities.Priorities, capacity: int) -> np.ndarray:
    half = len(tree.tree) // 2
    return np.asarray(tree.tree)[half : half + capacity]


def test_every_node_is_the_sum_of_its_children():
    rng, known = np.random.default_rng(0), np.zeros(13)
    tree = priorities.start(13)
    assert len(tree.tree) == 32
    for _ in range(20):
        rows = rng.permutation(13)[:6]
        values = rng.random(6).astype(np.float32)
        known[rows] = values
        tree = write(tree, rows, values)
        nodes = np.asarray(tree.tree)
        np.testing.assert_array_equal(leaves(tree, 13), known.astype(np.float32))
        np.testing.assert_array_equal(nodes[1:16], nodes[2:32:2] + nodes[3:32:2])
        assert nodes[1] == pytest.approx(known.sum(), rel=1e-6)


def test_a_row_given_twice_takes_its_largest_value_and_negative_rows_are_none():
    tree = write(priorities.start(5), np.array([3, 3, -1, 0]), np.array([0.5, 2.0, 9.0, 0.25], np.float32))
    np.testing.assert_array_equal(leaves(tree, 5), [0.25, 0, 0, 2.0, 0])
    assert float(tree.largest) == 2.0
    tree = write(tree, np.array([3]), np.array([0.125], np.float32))  # lower than before
    np.testing.assert_array_equal(leaves(tree, 5), [0.25, 0, 0, 0.125, 0])
    assert float(tree.tree[1]) == 0.375


def test_rows_are_drawn_in_proportion():
    values = np.array([0, 1, 2, 0, 4, 0.5, 0], np.float32)
    tree = write(priorities.start(7), np.arange(7), values)
    uniform = np.random.default_rng(0).random((500, 40), np.float32)
    rows, chance = jax.jit(jax.vmap(lambda u: priorities.draw(tree, u)))(uniform)
    expected = values / values.sum()
    np.testing.assert_allclose(chance, expected[np.asarray(rows)], rtol=1e-6)
    # A draw from strata varies less than independent draws do.
    frequency = np.bincount(np.asarray(rows).reshape(-1), minlength=7) / rows.size
    assert (np.abs(frequency - expected) <= 3 * np.sqrt(expected * (1 - expected) / rows.size)).all()
    count = (np.asarray(rows) == 4).sum(1)
    assert set(count) <= {20, 21, 22, 23}  # 40 strata, of which 4 / 7.5 belong to row 4
    edges = draw(tree, np.full(40, np.float32(1) - np.float32(2) ** -24))[0]
    assert (values[np.asarray(edges)] > 0).all()


def test_importance_undoes_the_preference():
    """The weighted mean over draws is the mean over all rows when the exponent is 1."""
    values, worth = np.array([1, 3, 2, 10], np.float32), np.array([5.0, -1.0, 2.0, 8.0])
    tree = write(priorities.start(4), np.arange(4), values)
    rows, chance = draw(tree, np.random.default_rng(0).random(20_000, np.float32))
    weight = np.asarray(priorities.importance(chance, jnp.int32(4), 1.0))
    assert weight.max() == 1
    assert (weight * worth[np.asarray(rows)]).sum() / weight.sum() == pytest.approx(worth.mean(), abs=0.05)
    np.testing.assert_array_equal(priorities.importance(chance, jnp.int32(4), 0.0), 1)


@pytest.mark.parametrize(("n_step", "ends"), [(1, 0.1), (3, 0.1), (3, 0.9)])
def test_only_rows_that_can_be_drawn_have_a_priority(n_step, ends):
    """Beside a ring whose short episodes make it give rows up; planted: a window of one row less."""
    envs, steps, capacity = 2, 2, 2200  # above 1,024 rows, so that places run out before rows do
    rng = np.random.default_rng(1)
    first = jnp.zeros((envs, 1))
    ring = replay.start(first, jnp.int32(0), capacity, envs * steps)
    tree = priorities.start(capacity)
    record = jax.jit(replay.record)
    wrong_seen = False
    for t in range(1300):
        over = jnp.asarray(rng.random(envs * steps) < ends)
        zeros = jnp.zeros((envs * steps, 1))
        fresh = Transition(zeros, jnp.zeros(envs * steps, jnp.int32), zeros[:, 0], over, ~over & over, zeros)
        after = record(ring, fresh, first)
        tree = follow(tree, ring, after, envs * steps, (n_step - 1) * envs)
        ring = after
        if t % 100 and t > 3:
            continue
        oldest = int((ring.position - ring.filled) % capacity)
        count = max(int(ring.filled) - (n_step - 1) * envs, 0)
        expected = np.zeros(capacity)
        expected[(oldest + np.arange(count)) % capacity] = 1
        np.testing.assert_array_equal(leaves(tree, capacity), expected)
        wrong_seen |= count != int(ring.filled)
    assert wrong_seen == (n_step > 1)
    assert (int(ring.filled) < capacity) == (ends > 0.5)


def test_new_rows_get_the_largest_priority():
    ring = replay.start(jnp.zeros((1, 1)), jnp.int32(0), 40, 1)
    tree, zero, no = priorities.start(40), jnp.zeros((1, 1)), jnp.zeros(1, bool)
    fresh = Transition(zero, jnp.zeros(1, jnp.int32), jnp.zeros(1), no, no, zero)
    after = replay.record(ring, fresh, zero)
    tree = write(follow(tree, ring, after, 1, 0), np.array([0]), np.array([7.0], np.float32))
    tree = follow(tree, after, replay.record(after, fresh, zero), 1, 0)
    np.testing.assert_array_equal(leaves(tree, 3), [7, 7, 0])


@pytest.mark.parametrize("capacity", [0, 2.5, 2**29 + 1])
def test_a_wrong_capacity(capacity):
    with pytest.raises(InputError, match="capacity must be"):
        priorities.start(capacity)
