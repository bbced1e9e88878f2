"""Where curves cross, and when they first reach a level; infinity (censored) for what never happens."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lrn import check


def crossing(levels: ArrayLike, lead: ArrayLike) -> np.ndarray:
    """The level at which a lead ends for good: its last change from positive to zero or negative.

    Between two levels the lead is interpolated by a straight line.

    Args:
        levels: [levels], increasing; give logarithms for a line over the logarithm of the level.
        lead: [seeds, levels], by how much one arm is ahead of another.

    Returns:
        The levels [seeds] of the crossings; infinity where the lead lasts to the last level, minus infinity
        where there is no lead at any level.

    Raises:
        InputError: the shapes do not fit, the levels do not increase, or a value is not finite.
    """
    at, lead = _curve(levels, lead)
    crossings = np.full(len(lead), -np.inf)
    for row, values in enumerate(lead):
        ahead = np.flatnonzero(values > 0)
        if len(ahead) and ahead[-1] == len(at) - 1:
            crossings[row] = np.inf
        elif len(ahead):
            i = ahead[-1]
            crossings[row] = at[i] + (at[i + 1] - at[i]) * values[i] / (values[i] - values[i + 1])
    return crossings


def first_time(steps: ArrayLike, values: ArrayLike, level: float, sustained: int = 1) -> np.ndarray:
    """The first step from which ``sustained`` values in a row are at least ``level``.

    Args:
        steps: [steps], increasing.
        values: [seeds, steps].
        level: the level to reach, in the unit of ``values``.
        sustained: the number of values in a row, 1 or more; a single value may be luck.

    Returns:
        The steps [seeds]; infinity for a seed that never reaches the level.

    Raises:
        InputError: the shapes do not fit, the steps do not increase, or ``sustained`` is below 1 or above the
            number of steps.
    """
    at, values = _curve(steps, values, finite=False)
    check.integer("sustained", sustained, 1)
    if sustained > len(at):
        raise check.InputError(f"sustained is {sustained} and there are {len(at)} steps; choose fewer.")
    reached = np.asarray(values >= level)
    windows = np.lib.stride_tricks.sliding_window_view(reached, sustained, axis=1)
    runs = windows.min(axis=-1)
    return np.where(runs.max(axis=1), at[runs.argmax(axis=1)], np.inf)


def _curve(levels: ArrayLike, values: ArrayLike, finite: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The levels [levels] and values [seeds, levels] as float arrays, once they are checked."""
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
