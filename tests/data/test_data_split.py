"""Splits are partitions, reproducible and uniform; as_float is exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.data import as_float, split


@pytest.mark.parametrize("seed", [0, 7, "key"])
def test_parts_are_disjoint_and_cover(seed):
    seed = jax.random.key(3) if seed == "key" else seed
    parts = split(seed, 101, (0.5, 0.3, 0.2))
    assert [len(p) for p in parts] == [50, 31, 20]
    assert all(p.dtype == np.int32 for p in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(101))


def test_a_sum_below_one_leaves_rows_out():
    train, test = split(0, 10, (0.5, 0.2))
    assert (len(train), len(test)) == (5, 2)
    assert not set(train.tolist()) & set(test.tolist())


def test_sizes_never_pass_the_rows():
    for rows in range(3, 60):
        parts = split(1, rows, (1 / 3, 1 / 3, 1 / 3))
        assert sum(map(len, parts)) == rows
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_equal_seeds_agree_and_others_do_not():
    def first(seed):
        return np.asarray(split(seed, 50, (0.5, 0.5))[0]).tolist()

    assert first(4) == first(np.int64(4)) == first(4)
    assert len({tuple(first(s)) for s in range(20)}) == 20
    assert first(jax.random.key(1)) == first(jax.random.key(1)) != first(jax.random.key(2))


def test_every_row_is_as_likely_in_every_part():
    counts = np.zeros(10)
    for seed in range(4000):
        counts[split(seed, 10, (0.3,))[0]] += 1
    expected = 4000 * 0.3
    assert ((counts - expected) ** 2 / (expected * 0.7)).sum() < 27.9  # chi-square with 9 d.o.f. at .001


def test_under_jit_and_vmap():
    keys = jax.random.split(jax.random.key(0), 3)
    train, test = jax.vmap(lambda k: split(k, 20, (0.7, 0.3)))(keys)
    assert train.shape == (3, 14)
    for i, key in enumerate(keys):
        a, b = jax.jit(lambda k: split(k, 20, (0.7, 0.3)))(key)
        np.testing.assert_array_equal(train[i], a)
        np.testing.assert_array_equal(test[i], b)


@pytest.mark.parametrize(
    ("seed", "rows", "fractions", "said"),
    [
        (0, 0, (1.0,), "rows must be at least 1"),
        (0, 2.5, (1.0,), "rows must be a whole number"),
        (0, 10, (), "at least one fraction"),
        (0, 10, (0.6, 0.6), "sum to 1.2"),
        (0, 10, (0.5, 0.0), "above 0"),
        (0, 10, (0.5, -0.1), "above 0"),
        (0, 10, (float("nan"),), "above 0"),
        (0, 10, (0.9, 0.01), "fraction 0.01 of 10 rows is an empty part"),
        (-1, 10, (1.0,), "seed must be at least 0"),
        ("a", 10, (1.0,), "must be an int or a jax key"),
        (True, 10, (1.0,), "must be an int or a jax key"),
        (1.5, 10, (1.0,), "must be an int or a jax key"),
    ],
)
def test_bad_splits(seed, rows, fractions, said):
    with pytest.raises(ValueError, match=said):
        split(seed, rows, fractions)


def test_bad_keys():
    for key in (jnp.zeros(2, jnp.uint32), jax.random.split(jax.random.key(0), 2)):
        with pytest.raises(ValueError, match=r"one typed jax key, got .* of shape"):
            split(key, 10, (1.0,))


def test_as_float():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for images in (pixels, jnp.asarray(pixels)):
        scaled = as_float(images)
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled, np.arange(256).reshape(16, 16) / 255, rtol=1e-6)
        assert scaled.min() == 0
        assert scaled.max() == 1
        np.testing.assert_array_equal(np.round(np.asarray(scaled) * 255), pixels)  # no row is lost
    np.testing.assert_allclose(jax.jit(as_float)(pixels), as_float(pixels), rtol=1e-6)
    for bad in (pixels.astype(np.float32), pixels.astype(np.int32), [1, 2]):
        with pytest.raises(ValueError, match="as_float scales uint8 pixels"):
            as_float(bad)
