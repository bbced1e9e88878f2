"""Masks: exact counts, uniform draws, blocks, BERT's corruption, and refusals."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.ssl.masking import as_mask, block_mask, count, places_of, random_mask, take, token_mask

N = 4000


def test_random_masks_split_the_places_evenly():
    kept, hidden = jax.jit(partial(random_mask, batch=N, places=8, hidden=3))(jax.random.key(0))
    assert kept.shape == (N, 5)
    assert hidden.shape == (N, 3)
    both = np.sort(np.concatenate([kept, hidden], axis=1), axis=1)
    np.testing.assert_array_equal(both, np.tile(np.arange(8), (N, 1)))
    # Each pair of places is hidden together with probability 3/8 * 2/7, a single place with 3/8.
    mask = np.asarray(as_mask(hidden, 8), float)
    together = mask.T @ mask / N
    wanted = np.full((8, 8), 3 / 8 * 2 / 7) + np.eye(8) * (3 / 8 - 3 / 8 * 2 / 7)
    assert np.abs(together - wanted).max() < 4.5 * math.sqrt(0.25 / N)


def test_blocks_lie_in_the_grid_and_the_context_outside_of_them():
    grid, size = (4, 5), (2, 3)
    kept, hidden = jax.jit(
        partial(block_mask, batch=N, grid=grid, blocks=2, size=size, visible=6)
    )(jax.random.key(0))  # fmt: skip
    assert kept.shape == (N, 6)
    assert hidden.shape == (N, 2, 6)
    hidden = np.asarray(hidden)
    corner = hidden[:, :, 0]
    rows, columns = corner // 5, corner % 5
    place = (rows[..., None, None] + np.arange(2)[:, None]) * 5 + columns[..., None, None] + np.arange(3)
    np.testing.assert_array_equal(hidden, place.reshape(N, 2, 6))
    assert rows.max() == 2
    assert columns.max() == 2
    counts = np.bincount(corner.ravel(), minlength=20).reshape(4, 5)[:3, :3] / (2 * N)
    assert np.abs(counts - 1 / 9).max() < 4.5 * math.sqrt(1 / 9 / (2 * N))
    inside = np.asarray(as_mask(jnp.asarray(hidden.reshape(N, -1)), 20))
    assert not np.take_along_axis(inside, np.asarray(kept), axis=1).any()
    assert all(len(set(row)) == 6 for row in np.asarray(kept).tolist())
    sequence = block_mask(jax.random.key(1), 3, (9,), 1, (4,), 5)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([sequence[0], sequence[1][:, 0]], 1)), [range(9)] * 3
    )


def test_tokens_are_corrupted_as_in_bert():
    tokens = jnp.tile(jnp.arange(20, dtype=jnp.int32) % 5, (N, 1))
    corrupt = jax.jit(partial(token_mask, tokens=tokens, hidden=4, vocabulary=5))
    given, hidden = (np.asarray(x) for x in corrupt(jax.random.key(0)))
    chosen = np.asarray(as_mask(jnp.asarray(hidden), 20))
    assert (chosen.sum(1) == 4).all()
    assert given.dtype == np.int32
    was = np.asarray(tokens)
    np.testing.assert_array_equal(given[~chosen], was[~chosen])
    now, was = given[chosen], was[chosen]
    # A uniform token equals the old one in one case of five: 10% / 5 look as if they had stayed.
    shares = {"mask": (now == 5).mean(), "same": (now == was).mean()}
    assert shares["mask"] == pytest.approx(0.8, abs=4.5 * math.sqrt(0.16 / now.size))
    assert shares["same"] == pytest.approx(0.12, abs=4.5 * math.sqrt(0.1056 / now.size))
    moved = now[(now != 5) & (now != was)] - was[(now != 5) & (now != was)]
    assert np.abs(np.bincount(moved % 5, minlength=5)[1:] / moved.size - 0.25).max() < 0.04
    pure, _ = corrupt(jax.random.key(1), replaced=1.0, random=0.0)
    assert ((np.asarray(pure) == 5).sum(1) == 4).all()


def test_traced_shares_that_are_no_probabilities_leave_no_token():
    tokens = jnp.zeros((2, 6), jnp.int32)
    drawn = jax.jit(jax.vmap(lambda share: token_mask(jax.random.key(0), tokens, 2, 5, share, 0.3)[0]))
    found = np.asarray(drawn(jnp.asarray([0.7, 0.8, -0.1, jnp.nan])))
    assert (found[0] >= 0).all()
    assert (found[1:] == -1).all()


def test_take_and_grid():
    x = jnp.arange(24.0).reshape(2, 4, 3)
    np.testing.assert_array_equal(take(x, jnp.asarray([[3, 1], [0, 0]])), [[x[0, 3], x[0, 1]], [x[1, 0]] * 2])
    np.testing.assert_array_equal(take(x[:, :, 0], jnp.asarray([[3], [2]])), [[9.0], [18.0]])
    astray = take(x, jnp.asarray([[-1, 1], [4, 0]]))
    np.testing.assert_array_equal(np.isnan(astray).all(2), [[True, False], [True, False]])
    assert places_of(lambda x: x.reshape(2, 2, 3, 2), x) == ((2, 3), 6)
    assert count(0.75, 16) == 12


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda key: random_mask(key, 2, 8, 8), "hide some of the 8 places"),
        (lambda key: random_mask(key, 2, 8, 0), "hide some of the 8 places"),
        (lambda key: count(0.01, 16), "hide some"),
        (lambda key: count(0.99, 16), "hide some"),
        (lambda key: token_mask(key, jnp.zeros((2, 4), int), 4, 5), "hide some"),
        (lambda key: token_mask(key, jnp.zeros((2, 4), int), 1, 5, 0.9, 0.2), "sum to at most 1"),
        (lambda key: token_mask(key, jnp.zeros((2, 4), int), 1, 5, -0.1), "replaced"),
        (lambda key: token_mask(key, jnp.zeros((2, 4), jnp.uint8), 1, 256), "cannot hold the mask"),
        (lambda key: block_mask(key, 2, (4, 4), 1, (5, 1), 2), "does not fit a grid"),
        (lambda key: block_mask(key, 2, (4, 4), 1, (2,), 2), "does not fit a grid"),
        (lambda key: block_mask(key, 2, (4, 4), 3, (2, 2), 5), "may leave 4, fewer than visible=5"),
        (lambda key: block_mask(key, 2, (4, 4), 4, (2, 2), 1), "may leave 0"),
        (lambda key: block_mask(key, 2, (4, 4), 1, (2, 2), 0), "visible"),
    ],
)
def test_wrong_masks_are_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(jax.random.key(0))
