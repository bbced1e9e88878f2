"""Figures to draw in, and their files: the same bytes each time, once for each theme."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrn import check, files
from lrn.figures.legends import PADS, lift_title, move_legend
from lrn.figures.theme import ThemeName, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Theme, what follows the name, formats. One svg is enough: pages that know the theme show the png.
_OUTPUTS: tuple[tuple[ThemeName, str, tuple[str, ...]], ...] = (
    ("light", "", ("png", "svg")),
    ("dark", "-dark", ("png",)),
)


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


def finish(fig: Figure) -> None:
    """What `save` does last, when all is drawn.

    It says "log scale" at each axis that has one, unless its label says so, since panels may mix both kinds;
    puts legends that stand within their axes above them, where they hide no point; and moves titles that were
    given after a legend over it.
    """
    for ax in fig.get_axes():
        move_legend(ax)
        if ax in PADS:
            lift_title(ax)
        for axis, side in ((ax.xaxis, "labelbottom"), (ax.yaxis, "labelleft")):
            label, shown = axis.get_label_text(), axis.get_tick_params().get(side, True)
            if shown and axis.get_scale() == "log" and "log" not in label:
                axis.set_label_text(f"{label} (log scale)".strip())
