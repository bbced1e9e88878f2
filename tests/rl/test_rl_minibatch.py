"""Minibatches: uniform random orders, and rows that keep their bits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.rl.minibatch import check_divides, check_normalized, shuffled, taker


def test_every_order_comes_as_often():
    orders = np.asarray(shuffled(jax.random.key(0), 3, 6000))
    assert (np.sort(orders, axis=1) == np.arange(3)[None]).all()
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert counts.size == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # chi-square with 5 degrees of freedom, p = .001
    np.testing.assert_array_equal(shuffled(jax.random.key(1), 1, 2), 0)


def test_a_long_order_is_a_permutation():
    (order,) = np.asarray(shuffled(jax.random.key(0), 5000, 1))
    np.testing.assert_array_equal(np.sort(order), np.arange(5000))
    assert abs(np.corrcoef(order, np.arange(5000))[0, 1]) < 0.05


def test_rows_keep_their_bits():
    key = jax.random.key(0)
    rows = {
        "wide": jax.random.normal(key, (9, 5, 7)),
        "narrow": jax.random.normal(key, (9, 3)),
        "scalar": jnp.array([jnp.nan, jnp.inf, -0.0, 1e-42, 1.0, 2.0, 3.0, 4.0, 5.0]),
        "int": jnp.arange(9, dtype=jnp.int32) - 2**30,
        "bool": jnp.arange(9) % 2 == 0,
    }
    index = jnp.array([8, 0, 0, 3])
    taken = jax.jit(lambda rows, index: taker(rows)(index))(rows, index)
    for name, x in rows.items():
        expected = np.asarray(x)[np.asarray(index)]
        assert taken[name].dtype == x.dtype
        assert np.asarray(taken[name]).tobytes() == expected.tobytes(), name


def test_rows_of_wide_arrays_alone():
    x = jnp.arange(80.0).reshape(4, 20)
    np.testing.assert_array_equal(taker((x,))(jnp.array([2, 1]))[0], x[jnp.array([2, 1])])


def test_the_order_is_that_of_the_keys_bits():
    """The number of a row replaces the low bits of its random number."""
    bits = np.asarray(jax.random.bits(jax.random.key(3), (2, 6)), np.int64)
    expected = np.argsort(bits // 8 * 8 + np.arange(6)[None], axis=1)
    np.testing.assert_array_equal(shuffled(jax.random.key(3), 6, 2), expected)


def test_bad_minibatches_are_one_sentence():
    check_divides(3, 4, 6)
    with pytest.raises(InputError, match="3 x 4 = 12 does not divide into 5 minibatches"):
        check_divides(3, 4, 5)
    check_normalized(2, "a minibatch")
    with pytest.raises(InputError, match="a minibatch has 1 row, and normalize_advantages subtracts"):
        check_normalized(1, "a minibatch")
