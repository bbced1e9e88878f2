"""Where curves cross and when they first reach a level. What does not happen stays censored: infinity."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lrn import check


def crossing(levels: ArrayLike, lead: ArrayLike) -> np.ndarray:
    """Where a lead ends for good, [seeds]: the last change from above zero to not above, by a straight line.

    Args:
        levels: [levels], increasing; give logarithms for a line in them.
        lead: [seeds, levels], who is ahead by how much.

    Returns:
        The level of the crossing; infinity where the lead lasts to the end, minus infinity where there never
        is one.

    Raises:
        InputError: shapes that do not fit, levels that do not increase, or values that are not finite.
    """
    at, lead = _curve(levels, lead)
    found = np.full(len(lead), -np.inf)
    for row, values in enumerate(lead):
        ahead = np.flatnonzero(values > 0)
        if len(ahead) and ahead[-1] == len(at) - 1:
            found[row] = np.inf
        elif len(ahead):
            i = ahead[-1]
            found[row] = at[i] + (at[i + 1] - at[i]) * values[i] / (values[i] - values[i + 1])
    return found


def first_time(steps: ArrayLike, values: ArrayLike, level: float, sustained: int = 1) -> np.ndarray:
    """The first step from which so many values in a row are at least ``level``, [seeds]; infinity for never.

    Args:
        steps: [steps], increasing.
        values: [seeds, steps].
        level: to be reached.
        sustained: how many values in a row; one alone may be luck.

    Raises:
        InputError: shapes that do not fit, steps that do not increase, or a run of less than one.
    """
    at, values = _curve(steps, values, finite=False)
    check.integer("sustained", sustained, 1)
    if sustained > len(at):
        raise check.InputError(f"sustained is {sustained} and there are {len(at)} steps; choose fewer.")
    there = np.asarray(values >= level)
    windows = np.lib.stride_tricks.sliding_window_view(there, sustained, axis=1)
    runs = windows.min(axis=-1)
    return np.where(runs.max(axis=1), at[runs.argmax(axis=1)], np.inf)


def _curve(levels: ArrayLike, values: ArrayLike, finite: bool = True) -> tuple[np.ndarray, np.ndarray]:
    at, rows = np.asarray(levels, float), np.asarray(values, float)
    if at.ndim != 1 or rows.ndim != 2 or rows.shape[1] != len(at) or not len(at):
        raise check.InputError(
            f"a curve takes levels [n] and values [seeds, n], got {list(at.shape)} and {list(rows.shape)}."
        )
    if (np.diff(at) <= 0).any():
        raise check.InputError("the levels of a curve must increase; sort them with their values.")
    if finite and not np.isfinite(rows).all():
        raise check.InputError("a crossing takes finite values; say first how failed seeds count.")
    return at, rows
