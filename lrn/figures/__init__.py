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

from lrn.figures.curves_over_steps import curves
from lrn.figures.forest import intervals
from lrn.figures.heat_map import matrix
from lrn.figures.legends import legend_above
from lrn.figures.output import finish, render, save, subplots
from lrn.figures.theme import THEMES, ArmStyle, Theme, ThemeName, arm_style, style

__all__ = [
    "THEMES",
    "ArmStyle",
    "Theme",
    "ThemeName",
    "arm_style",
    "curves",
    "finish",
    "intervals",
    "legend_above",
    "matrix",
    "render",
    "save",
    "style",
    "subplots",
]
