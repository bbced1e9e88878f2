"""The figure of the study of sample efficiency."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from experiments.rl._efficiency_arms import (
    BASED,
    FALSE,
    FREE,
    LAST_PLACE,
    LASTING,
    LEVELS,
    ONE,
    PARTS,
    PENDULUM,
    SAVING,
    SMALL,
    TRUE,
    arm,
)  # fmt: skip
from experiments.rl._efficiency_tables import WORTH
from lrn import figures
from lrn.table import Table


def drawn(table: Table, places: Mapping[str, int], fold: float, margin: float) -> Figure:
    """By place: worth along the real steps, each run's saving, and how far off the models are.

    A hollow triangle is a run of which the model-based learner, or the true model, never arrives.
    """
    fig, axes = figures.subplots(len(places), 3, width=10.8, height=9.6, squeeze=False)
    for (along, saved, bias), (place, steps) in zip(axes, places.items()):
        shown = [FREE, BASED, TRUE] + ([] if place == PENDULUM else [ONE])
        curves = {who: np.clip(table.curve(arm(place, who), WORTH)[1], -0.5, 1.1) for who in shown}
        x = steps * np.linspace(0, 1, curves[FREE].shape[1])
        figures.curves(along, x, curves, title=place, xlabel="real steps", ylabel="worth", legend=False)
        along.set_ylim(-0.6, 1.2)
        along.axhline(LEVELS[-1], color="gray", linewidth=1, linestyle="--")
        color = {who: figures.arm_style(along, who).color for who in (*shown, FALSE, SMALL)}
        for i, who in enumerate(rivals := [who for who in (FREE, ONE, TRUE) if who in shown]):
            y = table.final(arm(place, who), SAVING)
            never = y == LAST_PLACE
            spread = i + np.linspace(-0.25, 0.25, len(y))
            saved.plot(spread[~never], 2.0 ** y[~never], "o", color=color[who], alpha=0.6, markersize=4)
            saved.plot(spread[never], np.full(never.sum(), 0.25), "v", color=color[who], fillstyle="none")
        saved.axhline(fold, color="gray", linewidth=1, linestyle="--")
        saved.set(yscale="log", ylabel="times the steps", xlim=(-0.6, len(rivals) - 0.4), ylim=(0.2, 150.0))
        saved.set_yticks(
            (0.5, 1, 2, 3, 5, 10, 20, 50, 100), ("0.5", "1", "2", "3", "5", "10", "20", "50", "100")
        )
        saved.minorticks_off()
        over = {who: f"{who}\nover\n{TRUE if who == TRUE else BASED}" for who in rivals} | {
            TRUE: f"{FREE}\nover\n{TRUE}"
        }
        saved.set_xticks(range(len(rivals)), [over[who] for who in rivals])
        saved.tick_params(axis="x", labelsize="small")
        for i, who in enumerate(
            told := [BASED, *((SMALL, TRUE) if place == PENDULUM else (FREE, TRUE, FALSE))]
        ):
            for j, part in enumerate(PARTS):
                y = table.by_seed(arm(place, who), LASTING, steps // part)[1]
                spread = i + (j - 1) * 0.26 + np.linspace(-0.08, 0.08, len(y))
                bias.plot(spread, y, "o", color=color[who], alpha=0.3 + 0.3 * j, markersize=3)
        bias.axhline(margin, color="gray", linewidth=1, linestyle="--")
        bias.set_yscale("symlog", linthresh=0.1)
        bias.set(ylabel="off by", ylim=(-0.01, 5.0))
        bias.set_yticks((0, 0.05, 0.1, 0.2, 0.5, 1, 2, 5), ("0", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"))
        bias.minorticks_off()
        bias.set_xticks(
            range(len(told)), [who.replace(" model", "\nmodel").replace("-", "-\n") for who in told]
        )
    axes[0][1].set_title("saving, a point a run")
    axes[0][2].set_title("off after 1/4, 1/2, all steps")
    fig.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig
