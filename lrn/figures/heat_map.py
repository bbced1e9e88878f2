"""A matrix of numbers as a heat map, with a point for each seed."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lrn.figures.legends import size_of
from lrn.figures.theme import ink_on, jitter, muted, sequential
from lrn.stats import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STRIP_HEIGHT = 38  # points that a cell of a matrix needs to show its seeds


def matrix(
    ax: Axes,
    values: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    vmin: float = 0.0,
    vmax: float = 1.0,
    digits: int = 2,
    flagged: Any = None,
    level: float = 0.95,
) -> None:
    """A heat map that says its numbers: the mean of each cell, half the width of its interval, and its seeds.

    The interval is Student's, so it reaches as far to both sides. The seeds are points along the foot of the
    cell, ``vmin`` at its left end and ``vmax`` at its right one; cells too low for them have none.

    Args:
        ax: where to draw.
        values: [rows, columns, seeds], or [rows, columns] for numbers without an interval. Seeds that are
            not finite are left out of their cell; a cell with none left is hatched and has no number.
        rows: names of the rows, top to bottom (the training arm, say).
        columns: names of the columns, left to right (the attack, say); long ones are broken into lines.
        title: over the axes.
        xlabel: under the axes.
        ylabel: left of the axes.
        vmin: value at the weak end of the color scale.
        vmax: value at its strong end.
        digits: decimals.
        flagged: bool [rows, columns]; a flagged cell gets a dagger and a dashed border.
        level: of the intervals.

    Raises:
        ValueError: shapes and names disagree, or vmin is not below vmax.
    """
    table = np.asarray(values, dtype=float)
    if table.ndim not in (2, 3) or table.shape[:2] != (len(rows), len(columns)) or 0 in table.shape:
        raise ValueError(
            f"matrix needs values of shape [{len(rows)}, {len(columns)}] or "
            f"[{len(rows)}, {len(columns)}, seeds] to match its row and column names, got "
            f"{list(table.shape)}; pass one cell for each pair of names."
        )
    if not vmin < vmax:
        raise ValueError(f"vmin must be below vmax, got {vmin} and {vmax}; give the ends of the color scale.")
    marks = np.zeros(table.shape[:2], bool) if flagged is None else np.asarray(flagged, bool)
    if marks.shape != table.shape[:2]:
        raise ValueError(
            f"flagged must have shape {list(table.shape[:2])}, got {list(marks.shape)}; "
            "give one bool for each cell."
        )
    from matplotlib.colors import Normalize

    colors, norm = sequential(), Normalize(vmin, vmax, clip=True)
    width, height = size_of(ax)
    for i, j in np.ndindex(*table.shape[:2]):
        seeds = np.atleast_1d(table[i, j])
        estimate, _, high = mean_interval(seeds, level)
        face = colors(norm(estimate)) if np.isfinite(estimate) else None
        # Format code z: a number just below zero is shown as 0.00, not as -0.00.
        lines = [f"{estimate:z.{digits}f}" + "†" * bool(marks[i, j])] if face else []
        if np.isfinite(high):
            lines.append(f"±{_margin(high - estimate, digits)}")
        _cell(ax, i, j, face, lines, dashed=bool(marks[i, j]))
        if np.isfinite(high) and height / len(rows) >= _STRIP_HEIGHT:
            _strip(ax, i, j, np.asarray(norm(seeds[np.isfinite(seeds)]), float), ink_on(face))
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    letters = max(4, int(width / len(columns) / 6.5))
    ax.set_xticks(
        range(len(columns)), labels=[textwrap.fill(c, letters, break_long_words=False) for c in columns]
    )
    ax.set_yticks(range(len(rows)), labels=list(rows))
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)


def _strip(ax: Axes, row: int, column: int, places: np.ndarray, ink: str) -> None:
    """A point for each of ``places`` [seeds], from 0 at the left to 1 at the right, along a cell's foot."""
    ends, foot = (column - 0.42, column + 0.42), row + 0.37
    ax.plot(ends, [foot, foot], color=ink, linewidth=0.5, alpha=0.35)
    at = ends[0] + 0.84 * places
    ax.plot(at, foot + jitter(places.size, 0.04), "o", color=ink, markersize=2.4, alpha=0.5, mew=0)


def _margin(half: float, digits: int) -> str:
    """Half the width of an interval with ``digits`` decimals, or as many more as its first digit needs."""
    if half > 0:
        digits = max(digits, min(-math.floor(math.log10(half)), digits + 2))
    return f"{half:.{digits}f}"


def _cell(ax: Axes, row: int, column: int, face: Any, lines: Sequence[str], dashed: bool) -> None:
    """One cell of a matrix: a number and under it, smaller, its margin; hatched when there is neither."""
    from matplotlib.patches import Rectangle

    ink = muted() if face is None else ink_on(face)
    edge: dict[str, Any] = {"edgecolor": "none"}
    if face is None:
        edge = {"edgecolor": ink, "linewidth": 0.6, "hatch": "////"}
    elif dashed:
        edge = {"edgecolor": ink, "linewidth": 1.2, "linestyle": (0, (3, 2))}
    corner = (column - 0.48, row - 0.48)
    ax.add_patch(Rectangle(corner, 0.96, 0.96, facecolor="none" if face is None else face, **edge))
    # Offsets in points keep the two lines apart at any cell size.
    offsets, sizes = ((8, -4), (10, 7.5)) if len(lines) == 2 else ((0,), (10,))
    for line, offset, size in zip(lines, offsets, sizes):
        ax.annotate(
            line,
            (column, row),
            (0, offset),
            textcoords="offset points",
            ha="center",
            va="center",
            color=ink,
            fontsize=size,
            fontweight="bold" if size == 10 else "normal",
        )
