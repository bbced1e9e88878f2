"""Stratified subsets: counts, no repeats, nesting, frequencies, and what happens to small classes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.data.stratified import few_labels

Y = np.repeat([2, 0, 1], [7, 4, 9])


def test_subsets_hold_each_class_equally_and_are_nested():
    keys = jax.random.split(jax.random.key(0), 500)
    two, four = (
        np.asarray(jax.jit(jax.vmap(lambda key, n=n: few_labels(key, Y, 3, n)))(keys)) for n in (2, 4)
    )
    assert two.dtype == np.int32
    np.testing.assert_array_equal(Y[four], np.broadcast_to(np.repeat([0, 1, 2], 4), (500, 12)))
    assert all(len(set(subset)) == 12 for subset in four)
    assert all(set(small) < set(large) for small, large in zip(two, four))
    share = np.bincount(two.ravel(), minlength=20) / 500
    np.testing.assert_allclose(share, 2 / np.bincount(Y)[Y], atol=4 * 0.5 / np.sqrt(500))


def test_a_class_with_too_few_examples():
    with pytest.raises(InputError, match="class 0 has 4 examples, fewer than the 5 asked for"):
        few_labels(jax.random.key(0), Y, 3, 5)
    with pytest.raises(InputError, match="class 3 has 0 examples"):
        few_labels(jax.random.key(0), Y, 4, 1)
    traced = np.asarray(jax.jit(lambda y: few_labels(jax.random.key(0), y, 3, 5))(Y))
    assert (traced[:5] == 20).sum() == 1
    assert (traced[5:] < 20).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: few_labels(jax.random.key(0), jnp.ones(5), 2, 1), "whole numbers"),
        (lambda: few_labels(jax.random.key(0), Y - 1, 3, 1), "between 0 and 2, got -1 to 1"),
        (lambda: few_labels(jax.random.key(0), Y, 2, 1), "between 0 and 1, got 0 to 2"),
        (lambda: few_labels(jax.random.key(0), Y, 1, 1), "classes must be at least 2"),
        (lambda: few_labels(jax.random.key(0), Y, 3, 0), "per_class must be at least 1"),
    ],
)
def test_bad_input_is_one_sentence(call, said):
    with pytest.raises(InputError, match=said):
        call()
