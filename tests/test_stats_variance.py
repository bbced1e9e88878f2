"""Variance components of two-way tables: known components are recovered, without bias."""

import numpy as np
import pytest

from lrn import check, stats


def test_components_by_hand():
    """Searle et al.'s estimates on a small table, by sums of squares written out."""
    table = np.array([[1.0, 2.0, 4.0], [2.0, 5.0, 3.0]])
    ss = {"all": 0.0, "rows": 0.0, "columns": 0.0}
    for i in range(2):
        ss["rows"] += 3 * (sum(table[i]) / 3 - 17 / 6) ** 2
        for j in range(3):
            ss["all"] += (table[i, j] - 17 / 6) ** 2
    for j in range(3):
        ss["columns"] += 2 * (sum(table[:, j]) / 2 - 17 / 6) ** 2
    rest = (ss["all"] - ss["rows"] - ss["columns"]) / 2
    rows, columns = (ss["rows"] - rest) / 3, (ss["columns"] / 2 - rest) / 2
    total = rows + columns + rest
    assert stats.variance_shares(table) == pytest.approx((rows / total, columns / total, rest / total))


def test_known_components_are_recovered_without_bias():
    rng = np.random.default_rng(0)
    a, b, e = rng.normal(0, 2, (4000, 6, 1)), rng.normal(0, 1, (4000, 1, 8)), rng.normal(0, 1, (4000, 6, 8))
    shares = np.array([stats.variance_shares(t) for t in a + b + e])
    by_rows = shares[:, 0] / shares.sum(1)
    assert np.median(by_rows) == pytest.approx(4 / 6, abs=0.06)
    noise = np.array([stats.variance_shares(t) for t in e])
    assert np.abs(noise[:, :2].mean(0)).max() < 0.01, "chance alone gives a factor no share"


def test_extremes():
    column = np.arange(5.0)[:, None]
    assert stats.variance_shares(np.tile(column, 4)) == pytest.approx((1, 0, 0))
    assert stats.variance_shares(np.tile(column.T, (4, 1))) == pytest.approx((0, 1, 0))
    assert stats.variance_shares(np.ones((3, 3))) == (0, 0, 1)


def test_each_level_is_left_out_once():
    table = np.random.default_rng(1).normal(size=(3, 4))
    found = stats.without_each_level(table)
    assert len(found) == 7
    assert found[0] == stats.variance_shares(table[1:])
    assert found[-1] == stats.variance_shares(table[:, :-1])
    assert len(stats.without_each_level(table[:2])) == 4, "two rows are the least"


@pytest.mark.parametrize("bad", [np.ones(3), np.ones((1, 4)), np.array([[1, np.nan], [2, 3]])])
def test_bad_tables_are_refused(bad):
    with pytest.raises(check.InputError, match="a table must be finite"):
        stats.variance_shares(bad)
    with pytest.raises(check.InputError):
        stats.without_each_level(bad)
