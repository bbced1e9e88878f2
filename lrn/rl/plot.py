"""Learning curves: what an agent reached after so many steps of its environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lrn import check, figures
from lrn.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lrn.train import Fit


def learning_curves(
    result: Fit | Table,
    metric: str | None = None,
    interactions: int = 1,
    *,
    title: str = "",
    theme: figures.ThemeName = "light",
    level: float = 0.95,
) -> Figure:
    """The mean of a metric over seeds, and the band of its interval, against steps of the environment.

    learning_curves(result, interactions=config.interactions).savefig("learning.png")

    Args:
        result: what `lrn.train.fit` returned, or its table.
        metric: which; ``greedy_return`` by default where it was measured, else ``return``.
        interactions: steps of the environment in one step of the training, ``config.interactions``.
        title: over the axes.
        theme: "light" or "dark".
        level: of the band, Student's t over seeds.

    Returns:
        The figure, one curve for each arm; its ``savefig`` writes it.

    Raises:
        InputError: an unknown metric or theme, or ``interactions`` below 1.
    """
    table = result if isinstance(result, Table) else result.table
    if metric is None:
        metric = "greedy_return" if "greedy_return" in table.metrics else "return"
    check.choice("metric", metric, table.metrics)
    check.integer("interactions", interactions, low=1)
    found = {
        arm: table.curve(arm, metric)
        for arm in table.arms
        if ((table.arm == arm) & (table.metric == metric)).any()
    }
    steps = np.unique(np.concatenate([at for at, _ in found.values()]))
    with figures.style(theme):
        fig, ax = figures.subplots()
        figures.curves(
            ax,
            steps * interactions,
            {arm: _at(steps, *curve) for arm, curve in found.items()},
            title=title,
            xlabel="steps of the environment" if interactions > 1 else "steps",
            ylabel=metric,
            legend=len(found) > 1,
            level=level,
        )
    return fig


def _at(steps: np.ndarray, known: np.ndarray, values: np.ndarray) -> Any:
    """Values [seeds, known steps] at all ``steps``, NaN where there are none."""
    out = np.full((len(values), len(steps)), np.nan)
    out[:, np.searchsorted(steps, known)] = values
    return out
