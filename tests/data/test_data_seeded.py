"""The training and test rows of each seed."""

import numpy as np
import pytest

from lrn import check, data
from lrn.data.seeded import for_seeds


def test_a_set_without_a_split_is_split_by_each_seed():
    digits = data.load("digits", "all")
    parts = for_seeds("digits", (3, 4), drawn=True, most=100)
    assert parts.train["image"] is parts.test["image"]
    assert parts.test_rows.shape == (2, 100)
    for seed, train, test in zip((3, 4), parts.train_rows, parts.test_rows):
        own = data.split(seed, digits.rows, (0.8, 0.2))
        np.testing.assert_array_equal(train, own[0])
        np.testing.assert_array_equal(test, own[1][:100])
        assert not set(train) & set(test)
    assert not np.array_equal(*parts.train_rows)


def test_a_set_with_a_split_keeps_it():
    parts = for_seeds("digits", (3, 4), ("label",))
    for arrays, rows, part in (
        (parts.train, parts.train_rows, "train"),
        (parts.test, parts.test_rows, "test"),
    ):
        loaded = data.load("digits", part)
        assert list(arrays) == ["label"]
        np.testing.assert_array_equal(arrays["label"], loaded["label"])
        np.testing.assert_array_equal(rows, np.tile(np.arange(loaded.rows), (2, 1)))


def test_bad_input():
    with pytest.raises(check.InputError, match="test_share"):
        for_seeds("digits", (0,), drawn=True, test_share=1.0)
    with pytest.raises(check.InputError, match="most must be at least 1"):
        for_seeds("digits", (0,), most=0)
