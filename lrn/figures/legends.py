"""Legends that stand above their axes, where they hide no point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from lrn.figures.theme import LEGEND_SIZE, TITLE_PAD

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PADS: WeakKeyDictionary[Any, float] = WeakKeyDictionary()  # axes -> points from there to its title


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
    room = size_of(ax)[0] + 24
    widths = [_text_width(label, LEGEND_SIZE) + 3.5 * LEGEND_SIZE for label in labels]
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
    PADS[ax] = TITLE_PAD + 4 + 1.5 * LEGEND_SIZE * math.ceil(len(handles) / columns)
    lift_title(ax)


def move_legend(ax: Axes) -> None:
    """Put a legend that stands within its axes above them; one that was given an anchor stays."""
    legend = ax.get_legend()
    if legend is not None and legend.get_bbox_to_anchor().bounds == ax.bbox.bounds:
        _put_above(ax, legend.legend_handles, [text.get_text() for text in legend.get_texts()])


def lift_title(ax: Axes) -> None:
    """Move a title over the legend below it."""
    import matplotlib as mpl

    place = mpl.rcParams["axes.titlelocation"]
    ax.set_title(ax.get_title(loc=place), loc=place, pad=PADS[ax])


def _text_width(text: str, size: float) -> float:
    """Of a line of text in the font in force, in points."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=size).get_extents().width) if text.strip() else 0.0


def size_of(ax: Axes) -> tuple[float, float]:
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
