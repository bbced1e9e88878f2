"""A forest plot: estimates with their intervals, a row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lrn import check
from lrn.figures.legends import legend_above
from lrn.figures.theme import cycle, jitter, muted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OUTCOME_MARKERS = {"supported": "o", "refuted": "X", "inconclusive": "D"}


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

    color, shade = cycle()[0], mpl.rcParams["grid.color"]
    # Values first, shades after: an infinite region must not stretch the axis.
    for i, (estimate, low, high) in enumerate(estimates):
        if points is not None:
            seeds = np.asarray(points[i], dtype=float)
            ax.plot(seeds, i + 0.24 + jitter(seeds.size), "o", color=muted(), alpha=0.6, markersize=3)
        ax.plot([low, high], [i, i], color=color, linewidth=2.2, solid_capstyle="butt")
        marker = _OUTCOME_MARKERS[outcomes[i]] if outcomes else "o"
        hollow = outcomes is not None and outcomes[i] == "inconclusive"
        fill = mpl.rcParams["axes.facecolor"] if hollow else color
        ax.plot([estimate], [i], marker, color=color, markerfacecolor=fill, markersize=7.5, zorder=3)
    if reference is not None:
        ax.axvline(reference, color=muted(), linewidth=1)
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


def _outcome_handle(outcome: str, color: str) -> Any:
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    fill = mpl.rcParams["axes.facecolor"] if outcome == "inconclusive" else color
    look: dict[str, Any] = {"linestyle": "none", "markersize": 7, "markerfacecolor": fill}
    return Line2D([], [], marker=_OUTCOME_MARKERS[outcome], color=color, label=outcome, **look)
