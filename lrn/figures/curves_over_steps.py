"""Arms along the steps of a training or a dial, with a thin line for each seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lrn import stats
from lrn.figures.legends import legend_above
from lrn.figures.theme import arm_style, muted
from lrn.stats import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    return [Line2D([], [], color=muted(), label=f"not within {of}", **look)]


def _seed_lines(ax: Axes, x: np.ndarray, y: np.ndarray, color: str) -> None:
    """A thin line for each row of y [seeds, points], lighter the more there are; rows all alike make one."""
    from matplotlib.collections import LineCollection

    y = np.unique(y, axis=0)
    if len(y) < 2:
        return
    lines = [np.column_stack((x, row)) for row in y]
    alpha = min(0.45, max(0.1, 5 / len(y)))
    ax.add_collection(LineCollection(lines, colors=color, linewidths=0.7, alpha=alpha, zorder=1.5))
