"""Learning curves: a metric of an agent against the steps of its environment."""

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
    """Plot the mean of a metric over seeds, with a confidence band, against steps of the environment.

    learning_curves(result, interactions=config.interactions).savefig("learning.png")

    Args:
        result: the result of `lrn.train.fit`, or its table.
        metric: name of the metric; by default ``greedy_return`` where it was measured, else ``return``.
        interactions: steps of the environment in one step of the training, ``config.interactions``.
        title: title of the figure.
        theme: "light" or "dark".
        level: confidence level of the band, which is Student's t interval over seeds.

    Returns:
        The figure, with one curve for each arm; its ``savefig`` writes a file.

    Raises:
        InputError: an unknown metric or theme, or ``interactions`` below 1.
    """
    table = result if isinstance(result, Table) else result.table
    if metric is None:
        metric = "greedy_return" if "greedy_return" in table.metrics else "return"
    check.choice("metric", metric, table.metrics)
    check.integer("interactions", interactions, low=1)
    curves = {
        arm: table.curve(arm, metric)
        for arm in table.arms
        if ((table.arm == arm) & (table.metric == metric)).any()
    }
    steps = np.unique(np.concatenate([at for at, _ in curves.values()]))
    with figures.style(theme):
        fig, ax = figures.subplots()
        figures.curves(
            ax,
            steps * interactions,
            {arm: _at(steps, *curve) for arm, curve in curves.items()},
            title=title,
            xlabel="steps of the environment" if interactions > 1 else "steps",
            ylabel=metric,
            legend=len(curves) > 1,
            level=level,
        )
    return fig


def _at(steps: np.ndarray, known: np.ndarray, values: np.ndarray) -> Any:
    """Values [seeds, len(known)] spread over all ``steps``, NaN at steps that are not ``known``."""
    out = np.full((len(values), len(steps)), np.nan)
    out[:, np.searchsorted(steps, known)] = values
    return out
