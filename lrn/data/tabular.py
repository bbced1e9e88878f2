"""Tables as features: numbers standardized, and an indicator for each category."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lrn import check


@dataclass(frozen=True)
class Encoding:
    """A table as numbers.

    x: float32 [rows, dim]. names: the dim columns, a number by its name and a category as "column=category".
    """

    x: np.ndarray
    names: tuple[str, ...]


def encoded(
    columns: Mapping[str, np.ndarray], categorical: Sequence[str] = (), *, fit_on: np.ndarray | None = None
) -> Encoding:
    """Standardize the numbers of a table, and code its categories by indicators.

    A number gets mean 0 and standard deviation 1; a constant becomes 0. A category becomes a column of 0 and
    1 for each of its values. Strings are categories in any case. No label takes part, so to fit the encoding
    on all rows tells a model nothing about the labels of test rows; ``fit_on`` keeps it apart where a study
    asks for it.

    Args:
        columns: from name to numbers or strings, [rows] each.
        categorical: numeric columns whose numbers are codes without an order.
        fit_on: the rows, indices or a mask, that give means, deviations and categories; None: all. A row
            with a category that is not among those rows gets zeros.

    Raises:
        InputError: there is no column or no row, a name in ``categorical`` is none of the columns, the
            columns differ in length, a number is missing, or a column holds dates.
    """
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    if not columns:
        raise check.InputError("columns is empty; give at least one column of features.")
    for name in categorical:
        check.choice("a name in categorical", name, tuple(columns))
    table = {name: np.asarray(column) for name, column in columns.items()}
    rows = next(iter(table.values())).size
    fit = slice(None) if fit_on is None else fit_on
    if rows == 0 or np.arange(rows)[fit].size == 0:
        part = "the columns have" if rows == 0 else "fit_on names"
        raise check.InputError(f"{part} no rows; give at least one.")
    parts, names = [], []
    for name, column in table.items():
        if column.shape != (rows,):
            raise check.InputError(
                f"column {name!r} has shape {list(column.shape)}, expected [{rows}] as the first column has; "
                "give flat columns of equal length."
            )
        if column.dtype.kind in "mM" or _holds_dates(column):
            raise check.InputError(
                f"column {name!r} holds dates or times; turn them into numbers, such as days since one, or "
                "leave the column out."
            )
        if name in categorical or column.dtype.kind not in "biuf":
            coder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
            coder.fit(column[fit][:, None])
            names += [f"{name}={value}" for value in coder.categories_[0]]
            parts.append(np.asarray(coder.transform(column[:, None]), np.float32))
            continue
        if not np.isfinite(column.astype(float)).all():
            raise check.InputError(
                f"column {name!r} holds missing or infinite numbers; fill them in, or leave those rows out."
            )
        scaler = StandardScaler().fit(column[fit][:, None].astype(float))
        names.append(name)
        parts.append(np.asarray(scaler.transform(column[:, None].astype(float)), np.float32))
    return Encoding(np.concatenate(parts, axis=1), tuple(names))


def _holds_dates(column: np.ndarray) -> bool:
    """Whether a column of objects holds a date, a time or a duration."""
    kinds = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
    return column.dtype.kind == "O" and any(isinstance(value, kinds) for value in column)
