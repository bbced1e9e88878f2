"""How the variance of a two-way table divides between its factors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lrn import check


class VarianceShares(NamedTuple):
    """The shares of the variance of a table; they sum to 1, and an estimate may lie below 0.

    rows, columns: of the main effects. rest: of interaction and chance, which one value a cell does not tell
        apart.
    """

    rows: float
    columns: float
    rest: float


def variance_shares(table: ArrayLike) -> VarianceShares:
    """The variance components of a two-way table with random levels and one value a cell, as shares.

    The components are the analysis-of-variance estimates ``(MS_rows - MS_rest) / columns``,
    ``(MS_columns - MS_rest) / rows`` and ``MS_rest``, which are unbiased (Searle, Casella & McCulloch,
    "Variance Components", 1992, ch. 4). Shares of sums of squares would
    give every factor a share by chance alone.

    Args:
        table: [rows, columns], two or more of each.

    Returns:
        The shares. A table without any variance gives all of it to the rest.

    Raises:
        InputError: the table has another shape, or a value is not finite.
    """
    x = np.asarray(table, float)
    if x.ndim != 2 or min(x.shape) < 2 or not np.isfinite(x).all():
        raise check.InputError(
            f"a table must be finite, two rows and two columns or more, got shape {list(x.shape)}; leave out "
            "rows or columns with missing values."
        )
    rows, columns = x.shape
    by_row, by_column = x.mean(1) - x.mean(), x.mean(0) - x.mean()
    rest = x - x.mean() - by_row[:, None] - by_column
    ms_rest = (rest**2).sum() / ((rows - 1) * (columns - 1))
    between = columns * (by_row**2).sum() / (rows - 1), rows * (by_column**2).sum() / (columns - 1)
    components = (between[0] - ms_rest) / columns, (between[1] - ms_rest) / rows, ms_rest
    total = sum(components)
    # The total is positive but for chance: with rest alone it is near (1 - 1 / columns - 1 / rows) MS_rest.
    if total <= 0 or np.ptp(x) == 0:
        return VarianceShares(0.0, 0.0, 1.0)
    return VarianceShares(*(float(c / total) for c in components))


def without_each_level(table: ArrayLike) -> list[VarianceShares]:
    """The shares of the tables that lack one row, or one column, of three or more; rows first.

    Raises:
        InputError: the table is smaller than 2 x 3 and 3 x 2, or `variance_shares` refuses it.
    """
    x = np.asarray(table, float)
    if x.ndim != 2 or max(x.shape) < 3:
        raise check.InputError(
            f"three rows or columns or more are needed to leave one out, got shape {list(x.shape)}."
        )
    axes = [axis for axis in (0, 1) if x.shape[axis] > 2]
    return [variance_shares(np.delete(x, i, axis)) for axis in axes for i in range(x.shape[axis])]
