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
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from lrn import check, files

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
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.3)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (9, 3)))
_MARKERS = ("o", "s", "^", "D", "v", "P")
_OUTCOME_MARKERS = {"supported": "o", "refuted": "X", "inconclusive": "D"}


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
        "axes.titlepad": 10,
        "legend.frameon": False,
        "legend.fontsize": 9,
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
    buffer = io.BytesIO()
    no_trace = {"Software": None} if suffix == "png" else {"Date": None, "Creator": None}
    fig.savefig(buffer, format=suffix, metadata=no_trace)
    return buffer.getvalue()


def _forget(fig: Any) -> None:
    """Drop a figure that was made through pyplot from its list, so that reruns do not pile up."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and hasattr(fig, "canvas"):
        pyplot.close(fig)


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
    """A heat map that says its numbers: the mean of each cell and, under it, its t interval over seeds.

    Args:
        ax: where to draw.
        values: [rows, columns, seeds], or [rows, columns] for numbers without an interval. Seeds that are
            not finite are left out of their cell; a cell with none left is hatched and has no number.
        rows: names of the rows, top to bottom (the training arm, say).
        columns: names of the columns, left to right (the attack, say).
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
    for i, j in np.ndindex(*table.shape[:2]):
        estimate, low, high = _interval(np.atleast_1d(table[i, j]), level)
        face = colors(norm(estimate)) if np.isfinite(estimate) else None
        # Format code z: a bound just below zero is shown as 0.00, not as -0.00.
        lines = [f"{estimate:z.{digits}f}" + "†" * bool(marks[i, j])] if face else []
        if np.isfinite(low):
            lines.append(f"[{low:z.{digits}f}, {high:z.{digits}f}]")
        _cell(ax, i, j, face, lines, dashed=bool(marks[i, j]))
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xticks(range(len(columns)), labels=list(columns))
    ax.set_yticks(range(len(rows)), labels=list(rows))
    ax.tick_params(length=0)
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)


def _cell(ax: Axes, row: int, column: int, face: Any, lines: Sequence[str], dashed: bool) -> None:
    """One cell of a matrix: a number and under it, smaller, its interval; hatched when there is neither."""
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
    offsets, sizes = ((5, -8), (10, 7.5)) if len(lines) == 2 else ((0,), (10,))
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
) -> None:
    """The mean over seeds of each arm along the steps, with the band of its t interval.

    Args:
        ax: where to draw.
        steps: [points], shared by the arms.
        arms: name -> values [seeds, points]. Values that are not finite are left out at their point, and the
            legend says how many seeds lived to the end.
        title: over the axes.
        xlabel: under the axes.
        ylabel: left of the axes.
        legend: draw the legend.
        level: of the band.

    Raises:
        ValueError: no arms, or an arm whose shape does not match the steps.
    """
    x = np.asarray(steps, dtype=float)
    if not arms:
        raise ValueError("curves needs at least one arm, got none; pass {name: values [seeds, points]}.")
    for k, (name, values) in enumerate(arms.items()):
        y = np.asarray(values, dtype=float)
        if x.ndim != 1 or y.ndim != 2 or y.shape[1] != x.size or y.size == 0:
            raise ValueError(
                f"arm {name!r} must have values of shape [seeds, {x.size}] to match the steps, got "
                f"{list(y.shape)}; pass one row a seed."
            )
        mean, low, high = np.array([_interval(column, level) for column in y.T]).T
        alive = int(np.isfinite(y[:, -1]).sum())
        label = name if alive == len(y) else f"{name} ({alive} of {len(y)} seeds at the end)"
        (line,) = ax.plot(
            x,
            mean,
            label=label,
            linestyle=_DASHES[k % len(_DASHES)],
            marker=_MARKERS[k % len(_MARKERS)],
            markevery=max(1, x.size // 8),
        )
        ax.fill_between(x, low, high, color=line.get_color(), alpha=0.18, linewidth=0)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    if legend:
        ax.legend()


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
        points: [seeds] of each row, drawn faintly under the interval.
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
            ax.plot(seeds, np.full(seeds.shape, i + 0.24), "o", color=_muted(), alpha=0.6, markersize=3)
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
        _outcome_legend(ax, dict.fromkeys(outcomes), color)


def _outcome_legend(ax: Axes, outcomes: Mapping[str, Any], color: str) -> None:
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    paper = mpl.rcParams["axes.facecolor"]
    handles = [
        Line2D(
            [],
            [],
            marker=_OUTCOME_MARKERS[o],
            color=color,
            markerfacecolor=paper if o == "inconclusive" else color,
            linestyle="none",
            markersize=7,
            label=o,
        )
        for o in outcomes
    ]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(handles), borderaxespad=0.2)
    ax.set_title(ax.get_title(loc="left"), loc="left", pad=26)


def _interval(values: np.ndarray, level: float) -> tuple[float, float, float]:
    """Mean and t interval of the finite values [n]; NaN limits below two of them, NaN for none."""
    from lrn import stats

    finite = values[np.isfinite(values)]
    if finite.size >= 2:
        return stats.t_interval(finite, level)
    return (float(finite[0]) if finite.size else np.nan), np.nan, np.nan


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
