"""The look of figures: colors in light and dark, and the style of each arm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from lrn import check

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

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
_ARMS: WeakKeyDictionary[Any, dict[str, int]] = WeakKeyDictionary()  # figure -> arm -> its number
TITLE_PAD, LEGEND_SIZE = 10, 9  # points


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
        "axes.titlepad": TITLE_PAD,
        "legend.frameon": False,
        "legend.fontsize": LEGEND_SIZE,
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
    colors = cycle()
    shifted = k + k // len(colors)
    return ArmStyle(
        colors[k % len(colors)], _DASHES[shifted % len(_DASHES)], _MARKERS[shifted % len(_MARKERS)]
    )


def cycle() -> list[str]:
    """The colors of the arms in the style in force, as #rrggbb."""
    import matplotlib as mpl

    return mpl.rcParams["axes.prop_cycle"].by_key()["color"]


def muted() -> str:
    """The color of what stands behind the arms in the style in force, as #rrggbb."""
    import matplotlib as mpl

    return mpl.rcParams["xtick.color"]


def sequential() -> Colormap:
    """From just off the background to the first color of the style in force: more ink, more value."""
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    paper, ink = np.array(to_rgb(mpl.rcParams["axes.facecolor"])), np.array(to_rgb(cycle()[0]))
    return LinearSegmentedColormap.from_list("lrn", [0.93 * paper + 0.07 * ink, ink])


def ink_on(face: Any) -> str:
    """Black or white, whichever stands out more from ``face`` (WCAG relative luminance)."""
    from matplotlib.colors import to_rgb

    rgb = np.array(to_rgb(face))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#ffffff"


def jitter(n: int, spread: float = 0.06) -> np.ndarray:
    """Offsets [n] that keep points of one value apart, the same every time: steps of the golden ratio."""
    return spread * (2 * (np.arange(n) * 0.6180339887 % 1) - 1)
