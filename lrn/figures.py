"""Figures: one look, light and dark, and the plots most studies want.

A study's ``figure(table, config)`` draws with whatever style is in force and returns a matplotlib figure:

    def figure(table, config):
        from lrn import figures

        fig, ax = figures.subplots()
        figures.curves(ax, steps, {"sgd": losses_of_sgd, "adam": losses_of_adam}, ylabel="loss")
        return fig

`save` calls it once a theme and writes the same bytes every time. Nothing here touches pyplot, its list of
open figures or the backend, so it works without a display and leaves a notebook as it was.
"""

from __future__ import annotations

import io
import math
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from lrn import check, files, stats
from lrn.stats import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

ThemeName = Literal["light", "dark"]


class Theme(NamedTuple):
    """The colors of one theme, as #rrggbb."""

    background: str
    text: str
    muted: str
    grid: str
    cycle: tuple[str, ...]


# The cycles were found by search: the smallest CIE76 distance between any two colors, as seen with normal
# vision, protanopia, deuteranopia and tritanopia (Machado, Oliveira & Fernandes 2009), at a contrast of at
# least 3:1 with the background. tests/test_figures.py measures both.
THEMES: dict[str, Theme] = {
    "light": Theme(
        background="#ffffff",
        text="#1d232b",
        muted="#5a6470",
        grid="#e3e6ea",
        cycle=("#2450b8", "#e06600", "#009e67", "#b57ab0", "#7a2e0c", "#382836"),
    ),
    "dark": Theme(
        background="#161b22",
        text="#e6eaef",
        muted="#a3adb8",
        grid="#2c343e",
        cycle=("#7b8cff", "#e0672f", "#62e6a6", "#b96a9c", "#ecd640", "#d5effa"),
    ),
}

# Theme, what follows the name, formats. One svg is enough: pages that know the theme show the png.
_OUTPUTS: tuple[tuple[ThemeName, str, tuple[str, ...]], ...] = (
    ("light", "", ("png", "svg")),
    ("dark", "-dark", ("png",)),
)

# A second channel beside color: arms differ in dashes and marker too.
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.3)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (9, 3)),
)
_MARKERS = ("o", "s", "^", "D", "v", "P")
_OUTCOME_MARKERS = {"supported": "o", "refuted": "X", "inconclusive": "D"}
_ARMS: WeakKeyDictionary[Any, dict[str, int]] = WeakKeyDictionary()  # figure -> arm -> its number
_PADS: WeakKeyDictionary[Any, float] = WeakKeyDictionary()  # axes -> points from there to its title
_TITLE_PAD, _LEGEND_SIZE = 10, 9  # points
_STRIP_HEIGHT = 38  # points that a cell of a matrix needs to show its seeds


@contextmanager
def style(theme: ThemeName = "light") -> Iterator[Theme]:
    """Draw in lrn's look inside the ``with`` block; matplotlib's settings are put back after it.

    Starts from matplotlib's own defaults, so a user's matplotlibrc does not change a study's figure.

    Raises:
        ValueError: ``theme`` is not light or dark.
    """
    check.choice("theme", theme, THEMES)
    from cycler import cycler
    from matplotlib import style as mpl_style

    t = THEMES[theme]
    ours: dict[str, Any] = {
        "figure.facecolor": t.background,
        "savefig.facecolor": t.background,
        "axes.facecolor": t.background,
        "axes.edgecolor": t.muted,
        "axes.labelcolor": t.text,
        "axes.titlecolor": t.text,
        "text.color": t.text,
        "xtick.color": t.muted,
        "ytick.color": t.muted,
        "xtick.labelcolor": t.text,
        "ytick.labelcolor": t.text,
        "grid.color": t.grid,
        "patch.edgecolor": t.background,
        "axes.prop_cycle": cycler(color=t.cycle),
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs on every machine
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": _TITLE_PAD,
        "legend.frameon": False,
        "legend.fontsize": _LEGEND_SIZE,
        "lines.linewidth": 1.8,
        "lines.markersize": 5,
        "figure.constrained_layout.use": True,
        "figure.figsize": (7.2, 4.2),
        "savefig.dpi": 160,
        # Without a salt the ids in an svg are random, and reruns would differ.
        "svg.hashsalt": "lrn",
        "svg.fonttype": "path",
    }
    with mpl_style.context(["default", ours]):
        yield t


def subplots(
    rows: int = 1, columns: int = 1, *, width: float = 7.2, height: float = 4.2, **options: Any
) -> tuple[Figure, Any]:
    """A figure and its axes, as ``pyplot.subplots`` gives them, but known to nobody else.

    Args:
        rows: rows of axes.
        columns: columns of axes.
        width: of the figure, in inches; 7.2 fills the column of the report.
        height: of the figure, in inches.
        **options: for ``Figure.subplots`` (``sharex``, ``width_ratios``, ...).

    Returns:
        The figure, and one Axes or an array of Axes [rows, columns] with axes of length one squeezed.

    Raises:
        ValueError: a count below one, or a size that is not positive.
    """
    check.integer("rows", rows, 1)
    check.integer("columns", columns, 1)
    check.positive("width", width)
    check.positive("height", height)
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height))
    return fig, fig.subplots(rows, columns, **options)


def save(draw: Callable[[], Figure], folder: Path, name: str = "figure") -> list[Path]:
    """Draw in both themes and write ``name.png``, ``name-dark.png`` and ``name.svg`` (light), atomically.

    The files carry no date and no random id: the same figure gives the same bytes. Nothing is written until
    all three are drawn.

    Args:
        draw: called once a theme, inside `style`; returns the figure.
        folder: where the files go; made if missing.
        name: the files' stem.

    Returns:
        The paths of the three files.

    Raises:
        ValueError: ``draw`` returned something that is not a figure.
        OSError: the folder cannot be written; files already there are as they were.
    """
    contents = render(draw, name)
    for file, content in contents.items():
        files.write_bytes(Path(folder) / file, content)
    return [Path(folder) / file for file in contents]


def render(draw: Callable[[], Figure], name: str = "figure") -> dict[str, bytes]:
    """What `save` writes, from file name to content.

    Raises:
        ValueError: ``draw`` returned something that is not a figure.
    """
    contents: dict[str, bytes] = {}
    for theme, stem, formats in _OUTPUTS:
        with style(theme):
            fig = draw()
            try:
                for suffix in formats:
                    contents[f"{name}{stem}.{suffix}"] = _render(fig, suffix)
            finally:
                _forget(fig)
    return contents


def _render(fig: Figure, suffix: str) -> bytes:
    from matplotlib.figure import Figure

    if not isinstance(fig, Figure):
        raise ValueError(
            f"a figure function must return a matplotlib Figure, got {type(fig).__name__}; "
            "end it with 'return fig'."
        )
    finish(fig)
    buffer = io.BytesIO()
    no_trace = {"Software": None} if suffix == "png" else {"Date": None, "Creator": None}
    fig.savefig(buffer, format=suffix, metadata=no_trace)
    return buffer.getvalue()


def _forget(fig: Any) -> None:
    """Drop a figure that was made through pyplot from its list, so that reruns do not pile up."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and hasattr(fig, "canvas"):
        pyplot.close(fig)


class ArmStyle(NamedTuple):
    """How an arm is drawn everywhere in a figure: a color of the style in force, dashes and a marker."""

    color: str
    linestyle: Any
    marker: str


def arm_style(ax: Axes, arm: str) -> ArmStyle:
    """The style of an arm, the same in all axes of a figure.

    An arm takes the next style that is free in its figure when it is first drawn. There are six colors, which
    everybody can tell apart; from the seventh arm on a color comes again with other dashes.

    Args:
        ax: any axes of the figure.
        arm: its name.
    """
    numbers = _ARMS.setdefault(ax.get_figure(root=True), {})
    k = numbers.setdefault(arm, len(numbers))
    colors = _cycle()
    shifted = k + k // len(colors)
    return ArmStyle(
        colors[k % len(colors)], _DASHES[shifted % len(_DASHES)], _MARKERS[shifted % len(_MARKERS)]
    )


def finish(fig: Figure) -> None:
    """What `save` does last, when all is drawn.

    It says "log scale" at each axis that has one, unless its label says so, since panels may mix both kinds;
    puts legends that stand within their axes above them, where they hide no point; and moves titles that were
    given after a legend over it.
    """
    for ax in fig.get_axes():
        _move_legend(ax)
        if ax in _PADS:
            _lift_title(ax)
        for axis, side in ((ax.xaxis, "labelbottom"), (ax.yaxis, "labelleft")):
            label, shown = axis.get_label_text(), axis.get_tick_params().get(side, True)
            if shown and axis.get_scale() == "log" and "log" not in label:
                axis.set_label_text(f"{label} (log scale)".strip())


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

    colors, norm = _sequential(), Normalize(vmin, vmax, clip=True)
    width, height = _size(ax)
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
            _strip(ax, i, j, np.asarray(norm(seeds[np.isfinite(seeds)]), float), _ink(face))
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
    ax.plot(at, foot + _jitter(places.size, 0.04), "o", color=ink, markersize=2.4, alpha=0.5, mew=0)


def _margin(half: float, digits: int) -> str:
    """Half the width of an interval with ``digits`` decimals, or as many more as its first digit needs."""
    if half > 0:
        digits = max(digits, min(-math.floor(math.log10(half)), digits + 2))
    return f"{half:.{digits}f}"


def _cell(ax: Axes, row: int, column: int, face: Any, lines: Sequence[str], dashed: bool) -> None:
    """One cell of a matrix: a number and under it, smaller, its margin; hatched when there is neither."""
    from matplotlib.patches import Rectangle

    ink = _muted() if face is None else _ink(face)
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


def curves(
    ax: Axes,
    steps: Any,
    arms: Mapping[str, Any],
    *,
    title: str = "",
    xlabel: str = "step",
    ylabel: str = "",
    legend: bool = True,
    level: float = 0.95,
    limit: Any = None,
    limit_name: str = "",
) -> None:
    """Each arm along the steps: a thin line a seed, their mean, and the band of its t interval.

    With a ``limit`` the values are such as the number of episodes to solve a task, of which it is only known
    that they are no less than the limit where they reach it. No mean is known then: the line is the median,
    drawn while it is below the limit, the band is its interval, and a seed that reaches the limit is an open
    triangle there, which the legend calls "not within" the limit.

    Args:
        ax: where to draw; arms have one style in all axes of a figure, see `arm_style`.
        steps: [points], shared by the arms.
        arms: name -> values [seeds, points]. Values that are not finite are left out at their point, and the
            legend says how many seeds lived to the end.
        title: over the axes.
        xlabel: under the axes.
        ylabel: left of the axes.
        legend: draw the legend, between title and axes.
        level: of the band.
        limit: a number or [points], what was looked for no further; infinite values count as reaching it.
        limit_name: the limit in words, such as "60,000 steps"; the number by default.

    Raises:
        ValueError: no arms, an arm whose shape does not match the steps, or a limit that does not.
    """
    x = np.asarray(steps, dtype=float)
    if not arms:
        raise ValueError("curves needs at least one arm, got none; pass {name: values [seeds, points]}.")
    limits = None if limit is None else np.asarray(limit, dtype=float)
    if limits is not None and (limits.shape not in ((), x.shape) or not np.isfinite(limits).all()):
        raise ValueError(
            f"limit must be one finite number or [{x.size}] of them, got {limits.tolist()}; give one for "
            "each step."
        )
    reached = False
    for name, values in arms.items():
        y = np.asarray(values, dtype=float)
        if x.ndim != 1 or y.ndim != 2 or y.shape[1] != x.size or y.size == 0:
            raise ValueError(
                f"arm {name!r} must have values of shape [seeds, {x.size}] to match the steps, got "
                f"{list(y.shape)}; pass one row a seed."
            )
        look = arm_style(ax, name)
        if limits is None:
            middle, low, high = np.array([mean_interval(column, level) for column in y.T]).T
        else:
            at_limit = y >= limits
            middle, low, high = _medians(np.where(at_limit, limits, y), limits, level)
            y = np.where(at_limit, np.nan, y)
            there = at_limit.any(axis=0)
            reached |= bool(there.any())
            ends = np.broadcast_to(limits, x.shape)[there]
            ax.plot(x[there], ends, "^", color=look.color, mfc="none", markersize=8, zorder=4)
        alive = int(np.isfinite(np.asarray(values, dtype=float)[:, -1]).sum()) if limits is None else len(y)
        label = name if alive == len(y) else f"{name} ({alive} of {len(y)} seeds at the end)"
        _seed_lines(ax, x, y, look.color)
        ax.plot(x, middle, label=label, markevery=max(1, x.size // 8), zorder=3, **look._asdict())
        ax.fill_between(x, low, high, color=look.color, alpha=0.18, linewidth=0)
    medians = ", median" if limits is not None else ""
    ax.set(title=title, xlabel=xlabel, ylabel=f"{ylabel}{medians}".removeprefix(", "))
    if legend:
        legend_above(ax, _limit_handles(limits, limit_name) if reached else ())


def _medians(y: np.ndarray, limits: np.ndarray, level: float) -> np.ndarray:
    """Median, low and high of each column of y [seeds, points]; NaN where the median is at the limit."""
    rows = []
    for column, limit in zip(y.T, np.broadcast_to(limits, y.shape[1:])):
        known = np.sort(column[np.isfinite(column)])
        middle, low, high = stats.median_interval(known, level) if known.size else (np.nan,) * 3
        told = known.size > 0 and known[known.size // 2] < limit  # the upper of two middle values
        banded = np.isfinite(low)  # few seeds have no interval
        rows.append((middle if told else np.nan, *((low, high) if banded else (np.nan, np.nan))))
    return np.array(rows).T


def _limit_handles(limits: Any, name: str) -> list[Any]:
    """What the legend says of seeds that reached the limit."""
    from matplotlib.lines import Line2D

    of = name or (f"{float(limits):,g}" if limits.ndim == 0 else "the limit")
    look: dict[str, Any] = {"linestyle": "none", "marker": "^", "markerfacecolor": "none", "markersize": 8}
    return [Line2D([], [], color=_muted(), label=f"not within {of}", **look)]


def _seed_lines(ax: Axes, x: np.ndarray, y: np.ndarray, color: str) -> None:
    """A thin line for each row of y [seeds, points], lighter the more there are; rows all alike make one."""
    from matplotlib.collections import LineCollection

    y = np.unique(y, axis=0)
    if len(y) < 2:
        return
    lines = [np.column_stack((x, row)) for row in y]
    alpha = min(0.45, max(0.1, 5 / len(y)))
    ax.add_collection(LineCollection(lines, colors=color, linewidths=0.7, alpha=alpha, zorder=1.5))


def legend_above(ax: Axes, more: Sequence[Any] = ()) -> None:
    """A legend between title and axes, where it hides no point, in as many columns as there is room for.

    Args:
        ax: whose labelled artists are listed; its title is moved up.
        more: handles of other artists with labels, listed last.
    """
    handles = [*ax.get_legend_handles_labels()[0], *more]
    if handles:
        _put_above(ax, handles, [str(handle.get_label()) for handle in handles])


def _put_above(ax: Axes, handles: Sequence[Any], labels: Sequence[str]) -> None:
    room = _size(ax)[0] + 24
    widths = [_text_width(label, _LEGEND_SIZE) + 3.5 * _LEGEND_SIZE for label in labels]
    columns = len(handles)
    # As matplotlib splits them: down each column, the first ones longer.
    while columns > 1 and sum(float(part.max()) for part in np.array_split(widths, columns)) > room:
        columns -= 1
    ax.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1),
        ncols=columns,
        borderaxespad=0.2,
        columnspacing=1.2,
        handlelength=1.8,
        handletextpad=0.5,
    )
    _PADS[ax] = _TITLE_PAD + 4 + 1.5 * _LEGEND_SIZE * math.ceil(len(handles) / columns)
    _lift_title(ax)


def _move_legend(ax: Axes) -> None:
    """Put a legend that stands within its axes above them; one that was given an anchor stays."""
    legend = ax.get_legend()
    if legend is not None and legend.get_bbox_to_anchor().bounds == ax.bbox.bounds:
        _put_above(ax, legend.legend_handles, [text.get_text() for text in legend.get_texts()])


def _lift_title(ax: Axes) -> None:
    """Move a title over the legend below it."""
    import matplotlib as mpl

    place = mpl.rcParams["axes.titlelocation"]
    ax.set_title(ax.get_title(loc=place), loc=place, pad=_PADS[ax])


def _text_width(text: str, size: float) -> float:
    """Of a line of text in the font in force, in points."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=size).get_extents().width) if text.strip() else 0.0


def _size(ax: Axes) -> tuple[float, float]:
    """About how wide and high the axes will be, in points: the layout is only known when all is drawn."""
    fig = ax.get_figure(root=True)
    assert fig is not None
    width, height = fig.get_size_inches() * 72
    place = ax.get_subplotspec()
    if place is None:
        box = ax.get_position()
        return width * box.width, height * box.height
    rows, columns = place.get_gridspec().get_geometry()
    return width * len(place.colspan) / columns - 60, height * len(place.rowspan) / rows - 60


def intervals(
    ax: Axes,
    labels: Sequence[str],
    estimates: Sequence[tuple[float, float, float]],
    *,
    regions: Sequence[tuple[float, float] | None] | None = None,
    outcomes: Sequence[str] | None = None,
    points: Sequence[Any] | None = None,
    reference: float | None = 0.0,
    title: str = "",
    xlabel: str = "",
) -> None:
    """A forest plot: a row a label, with its estimate and interval.

    Args:
        ax: where to draw.
        labels: names of the rows, top to bottom.
        estimates: (estimate, low, high) of each row, such as `lrn.stats.Interval`.
        regions: the range (low, high) of values that a row's prediction calls for, shaded; infinities reach
            the end of the axis, None shades nothing.
        outcomes: supported, refuted or inconclusive, a row each: the marker's shape, named in the legend.
        points: [seeds] of each row, drawn faintly under the interval, one a little above the next.
        reference: a vertical line, at no effect by default; None for no line.
        title: over the axes.
        xlabel: under the axes.

    Raises:
        ValueError: lists of different length or none at all, an unknown outcome, or a low above its high.
    """
    n = len(labels)
    if n == 0:
        raise ValueError("intervals needs at least one row, got none; pass a label and an estimate for each.")
    given = {"estimates": estimates, "regions": regions, "outcomes": outcomes, "points": points}
    for name, rows in given.items():
        if rows is not None and len(rows) != n:
            raise ValueError(f"{name} must have {n} rows like the labels, got {len(rows)}; give one a label.")
    for label, (_, low, high) in zip(labels, estimates):
        if low > high:
            raise ValueError(f"the interval of {label!r} has low {low} above high {high}; give low first.")
    for outcome in outcomes or ():
        check.choice("outcome", outcome, _OUTCOME_MARKERS)
    import matplotlib as mpl

    color, shade = _cycle()[0], mpl.rcParams["grid.color"]
    # Values first, shades after: an infinite region must not stretch the axis.
    for i, (estimate, low, high) in enumerate(estimates):
        if points is not None:
            seeds = np.asarray(points[i], dtype=float)
            ax.plot(seeds, i + 0.24 + _jitter(seeds.size), "o", color=_muted(), alpha=0.6, markersize=3)
        ax.plot([low, high], [i, i], color=color, linewidth=2.2, solid_capstyle="butt")
        marker = _OUTCOME_MARKERS[outcomes[i]] if outcomes else "o"
        hollow = outcomes is not None and outcomes[i] == "inconclusive"
        fill = mpl.rcParams["axes.facecolor"] if hollow else color
        ax.plot([estimate], [i], marker, color=color, markerfacecolor=fill, markersize=7.5, zorder=3)
    if reference is not None:
        ax.axvline(reference, color=_muted(), linewidth=1)
    ax.margins(x=0.08)
    left, right = ax.get_xlim()
    for i, region in enumerate(regions or ()):
        if region is not None:
            low, high = max(region[0], left), min(region[1], right)
            if low < high:
                ax.fill_between([low, high], i - 0.38, i + 0.38, color=shade, linewidth=0, zorder=0)
    ax.set_xlim(left, right)
    ax.set_ylim(n - 0.5, -0.5)
    ax.set_yticks(range(n), labels=list(labels))
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    ax.spines["left"].set_visible(False)
    ax.set(title=title, xlabel=xlabel)
    if outcomes:
        legend_above(ax, [_outcome_handle(o, color) for o in dict.fromkeys(outcomes)])


def _jitter(n: int, spread: float = 0.06) -> np.ndarray:
    """Offsets [n] that keep points of one value apart, the same every time: steps of the golden ratio."""
    return spread * (2 * (np.arange(n) * 0.6180339887 % 1) - 1)


def _outcome_handle(outcome: str, color: str) -> Any:
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    fill = mpl.rcParams["axes.facecolor"] if outcome == "inconclusive" else color
    look: dict[str, Any] = {"linestyle": "none", "markersize": 7, "markerfacecolor": fill}
    return Line2D([], [], marker=_OUTCOME_MARKERS[outcome], color=color, label=outcome, **look)


def _cycle() -> list[str]:
    import matplotlib as mpl

    return mpl.rcParams["axes.prop_cycle"].by_key()["color"]


def _muted() -> str:
    import matplotlib as mpl

    return mpl.rcParams["xtick.color"]


def _sequential() -> Colormap:
    """From just off the background to the first color of the style in force: more ink, more value."""
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    paper, ink = np.array(to_rgb(mpl.rcParams["axes.facecolor"])), np.array(to_rgb(_cycle()[0]))
    return LinearSegmentedColormap.from_list("lrn", [0.93 * paper + 0.07 * ink, ink])


def _ink(face: Any) -> str:
    """Black or white, whichever stands out more from ``face`` (WCAG relative luminance)."""
    from matplotlib.colors import to_rgb

    rgb = np.array(to_rgb(face))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"
