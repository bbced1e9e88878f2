"""Codings of observations: tables, grids, tiles, hashes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check
from lrn.rl.exploration import grid, one_hot, simhash, tiles


def encode(coding, observation, seed=0):
    observation = jnp.asarray(observation, jnp.float32)
    return np.asarray(coding.encode(coding.init(jax.random.key(seed), observation), observation))


def test_one_hot_and_the_empty_observation():
    coding = one_hot(6)
    rows = jnp.concatenate([jnp.eye(6), jnp.zeros((1, 6))]).reshape(7, 2, 3)
    assert encode(coding, rows)[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert coding.size == 7
    assert coding.active == 1


def test_a_grid_is_numpys_digitize():
    rng = np.random.default_rng(0)
    x = rng.uniform([-1.5, -0.1], [0.9, 0.1], (500, 2))
    coding = grid([-1.2, -0.07], [0.6, 0.07], [7, 5])
    column = [
        np.clip(np.digitize(x[:, i], np.linspace(low, high, n + 1)) - 1, 0, n - 1)
        for i, (low, high, n) in enumerate([(-1.2, 0.6, 7), (-0.07, 0.07, 5)])
    ]
    assert encode(coding, x)[:, 0].tolist() == (column[0] * 5 + column[1]).tolist()
    assert coding.size == 35
    assert encode(coding, [[0.6, 0.07], [-1.2, -0.07], [9.0, 9.0]])[:, 0].tolist() == [34, 0, 34]


def test_tiles_are_shifted_grids():
    coding = tiles([0.0, 0.0], [1.0, 1.0], [4, 4], tilings=8)
    assert coding.size == 8 * 25
    x = np.random.default_rng(1).uniform(0, 1, (2000, 2))
    active = encode(coding, x)
    assert active.shape == (2000, 8)
    assert (active // 25 == np.arange(8)).all()  # each tiling has its own features
    # The share of common tiles falls with the distance of two points and is zero at the width of a tile.
    shared = lambda d: np.mean(encode(coding, x * 0.7) == encode(coding, x * 0.7 + d), axis=1)  # noqa: E731
    near, far, apart = (shared(d).mean() for d in (0.01, 0.1, 0.251))
    assert near > 0.9 > far > 0.2
    assert apart == 0
    # The tilings differ, in both dimensions.
    assert len(np.unique(encode(coding, np.linspace([0, 0.5], [0.999, 0.5], 400)), axis=0)) > 25
    assert len(np.unique(encode(coding, np.linspace([0.5, 0], [0.5, 0.999], 400)), axis=0)) > 25


def test_tiles_by_their_definition():
    """Tiling k is shifted by k (2 i + 1) / tilings of a tile, modulo one tile, along dimension i."""
    least, most, bins, tilings = [-1.0, 2.0, 0.0], [1.0, 5.0, 0.5], [3, 2, 4], 4
    coding = tiles(least, most, bins, tilings)
    low, high = np.array(least), np.array(most)
    assert (coding.size, coding.active) == (4 * 4 * 3 * 5, 4)
    x = np.random.default_rng(3).uniform(low, high, (300, 3))
    indices = encode(coding, np.concatenate([x, [[9.0, 9.0, 9.0], [-9.0, -9.0, -9.0]]]))
    for k in range(tilings):
        shift = [k * (2 * i + 1) % tilings / tilings for i in range(3)]
        cells = np.floor((x - low) / (high - low) * bins + shift).astype(int)
        numbers = k * 60 + cells @ [15, 5, 1]
        np.testing.assert_array_equal(indices[:-2, k], numbers)
        # Observations outside of the range belong to the outermost tile.
        ends = [np.array(bins) - 1 + (np.array(shift) > 0), np.zeros(3, int)]
        np.testing.assert_array_equal(indices[-2:, k], [k * 60 + end @ [15, 5, 1] for end in ends])


def test_simhash_by_its_definition():
    """Bit i is the sign of the i-th projection of the flattened observation; params are normal draws."""
    x, center, scale = np.random.default_rng(4).normal(size=(50, 2, 3)), np.arange(6) / 5, np.arange(1, 7) / 3
    coding = simhash(7, center, scale)
    assert (coding.size, coding.active) == (2**7, 1)
    params = coding.init(jax.random.key(5), jnp.asarray(x, jnp.float32))
    np.testing.assert_array_equal(params, jax.random.normal(jax.random.key(5), (6, 7)))
    signs = (x.reshape(50, 6) - center) / scale @ np.asarray(params, np.float64) > 0
    np.testing.assert_array_equal(encode(coding, x, seed=5)[:, 0], signs @ 2 ** np.arange(7))


def test_one_tiling_is_a_grid():
    x = np.random.default_rng(2).uniform(0, 1, (100, 2))
    one, other = tiles([0.0, 0.0], [1.0, 1.0], [3, 4], tilings=1), grid([0.0, 0.0], [1.0, 1.0], [3, 4])
    assert (encode(one, x) == encode(other, x)).all()
    assert one.size == other.size == 12


def test_simhash_agrees_as_often_as_the_angle_says():
    """The bits of two vectors differ with probability angle / pi (Charikar 2002)."""
    angle = 0.7
    pair = jnp.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
    codes = np.array([encode(simhash(1), pair, seed)[:, 0] for seed in range(600)])
    assert (codes[:, 0] != codes[:, 1]).mean() == pytest.approx(angle / np.pi, abs=0.07)


def test_simhash_centers_and_scales():
    x = np.random.default_rng(0).normal(5.0, 0.01, (200, 3))
    assert len(np.unique(encode(simhash(8), x))) < 5
    assert len(np.unique(encode(simhash(8, center=5.0, scale=0.01), x))) > 30
    codes = encode(simhash(8, center=5.0), x)
    assert codes.min() >= 0
    assert codes.max() < 256


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: grid([0.0], [1.0, 2.0], [3]), "need one entry for each dimension"),
        (lambda: grid([1.0], [1.0], [3]), "low must be below high"),
        (lambda: grid([0.0], [1.0], [0]), "every entry of bins must be at least 1"),
        (lambda: tiles([0.0], [1.0], [2], tilings=0), "tilings must be at least 1"),
        (lambda: one_hot(0), "n must be at least 1"),
        (lambda: simhash(0), "bits must be at least 1"),
        (lambda: grid([-3.4e38], [3.4e38], [10]), "dimension 0 ranges from -3.4e.38 to 3.4e.38"),
        (lambda: tiles([0.0, -1.7e38], [1.0, 1.7e38], [2, 2]), "dimension 1 ranges from"),
        (lambda: grid([-np.inf], [np.inf], [10]), "all observations would share a cell"),
        (lambda: grid([0.0], [np.inf], [10]), "all observations would share a cell"),
        (lambda: grid([np.nan], [1.0], [10]), "all observations would share a cell"),
        (lambda: grid([2.0], [1.0], [10]), "low must be below high, got 2.0 and 1.0 in dimension 0"),
        (lambda: grid([1e8], [1e8 + 64], [10]), "10 bins from .* narrower than float32"),
        (lambda: grid([0.0] * 10, [1.0] * 10, [10] * 10), "make 10,000,000,000 features"),
        (lambda: tiles([0.0] * 2, [1.0] * 2, [2**15 - 1] * 2, tilings=2), "make 2,147,483,648 features"),
        (lambda: simhash(8, scale=0.0), "scale of simhash must be finite and above 0, got 0.0"),
        (lambda: simhash(8, scale=[1.0, np.inf]), "scale of simhash must be finite"),  # pyright: ignore[reportArgumentType]
        (lambda: simhash(8, center=np.nan), "center of simhash must be finite, got nan"),
        (lambda: simhash(25), "bits must be 24 at most"),
        (lambda: encode(grid([0.0], [1.0], [3]), [[0.0, 1.0]]), "give .n, dim."),
        (lambda: encode(one_hot(4), [[0.0, 1.0]]), "use one_hot"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(check.InputError, match=words):
        make()


def test_ranges_at_the_limit_pass():
    assert encode(grid([-9e29], [9e29], [2]), [[-1e29], [1e29]])[:, 0].tolist() == [0, 1]
    assert encode(grid([1e8], [1e8 + 64], [8]), [[1e8], [1e8 + 8], [1e8 + 63]])[:, 0].tolist() == [0, 1, 7]
    assert grid([0.0], [1.0], [2**23]).size == 2**23
    codes = jax.jit(lambda scale: simhash(4, scale=scale).encode(jnp.eye(2, 4), jnp.eye(2)))(2.0)
    assert codes[:, 0].tolist() == [1, 2]
    assert one_hot(1).size == 2
