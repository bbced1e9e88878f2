"""An instant study for tests of the runner and the command line; its config sets the gap between arms."""

from __future__ import annotations

from dataclasses import dataclass

from lrn import check
from lrn.study import Cell, Control, Exact, Regime, Study, Superiority


@dataclass(frozen=True)
class Config:
    """Settings."""

    gap: float = 1.0
    noise: float = 0.1
    broken: bool = False
    mode: str = "normal"

    def __post_init__(self) -> None:
        """Check the fields."""
        check.non_negative("noise", self.noise)
        check.choice("mode", self.mode, ("normal", "raise", "value_error"))


def run(config, context):
    """Record numbers; no training."""
    import numpy as np

    if config.mode == "raise":
        raise RuntimeError("the study itself has a bug")
    if config.mode == "value_error":
        raise ValueError("a bug of the study that is a ValueError")
    noise = np.random.RandomState(0).randn(len(context.seeds)) * config.noise
    base = np.arange(len(context.seeds), dtype=float)
    context.record("a", "score", base + config.gap + noise)
    context.record("b", "score", base)
    context.record("oracle", "score", np.full(len(context.seeds), 0.5 if config.broken else 1.0))


def figure(table, config):
    """One bar per arm."""
    from lrn import figures

    fig, ax = figures.subplots()
    ax.bar(table.arms, [table.final(a, "score").mean() for a in table.arms])
    return fig


STUDY = Study(
    title="a beats b",
    claim="Arm a scores higher than arm b.",
    claim_id="X1",
    section="Insights",
    regime="numbers made up for tests",
    presets={"smoke": Config(), "quick": Config()},
    regimes=(
        Regime(
            name="made-up numbers",
            primary=(
                Superiority(
                    statement="a scores above b.",
                    key="gap",
                    better=Cell("a", "score"),
                    worse=Cell("b", "score"),
                ),
            ),
        ),
    ),
    controls=(Control(Exact(statement="The oracle scores 1.", cell=Cell("oracle", "score"), value=1.0)),),
    run=run,
    figure=figure,
)
