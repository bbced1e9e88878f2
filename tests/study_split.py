"""A study of a second whose seeds can run apart; ``mode`` plants what makes its seeds depend on each other.

It trains, fails in a lane, chooses once by the scores of all seeds, and once by those of its first two seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

from lrn import check
from lrn.study import Cell, Control, Exact, Regime, Study, Superiority
from lrn.study.select import select

MODES = ("apart", "by place", "by another seed", "first of the list", "raise")


@dataclass(frozen=True)
class Config:
    """steps, chunk: those of each training; without steps nothing is trained. mode: what is planted."""

    steps: int = 20
    mode: str = "apart"
    chunk: int = 20

    def __post_init__(self) -> None:
        """Check the fields."""
        check.choice("mode", self.mode, MODES)


def run(config, context):
    """Train three rates, choose one, and record what a seed draws."""
    import numpy as np

    menu = (0.001, 0.01, 0.1)
    if config.steps:
        from toy import ToyConfig, toy, toy_data, toy_mse, toy_sampler

        options = dict(
            data=toy_data(), sampler=toy_sampler, steps=config.steps, chunk=config.chunk, log_every=7
        )
        arms = {f"rate {rate}": ToyConfig(lr=rate) for rate in menu}
        context.fit(toy, arms, evaluate=toy_mse, eval_every=10, **options)
        context.fit(toy, {"broken": ToyConfig(lr=float("nan")), "whole": ToyConfig()}, **options)
    drawn = np.stack([np.random.default_rng(seed).normal(size=3) for seed in context.seeds])
    # Each seed alone would choose another rate than all seeds together.
    choice = select({"chosen": drawn.T}, "higher")["chosen"]
    context.chosen("chosen", choice, len(menu))
    context.record("chosen", "rate", np.full(len(context.seeds), menu[choice.only]))
    shared = np.outer(menu, context.seeds[:2])
    fixed = select({"shared": shared}, "lower")["shared"]
    context.record("shared", "rate", np.full(len(context.seeds), menu[fixed.only]))
    score = drawn[:, 0]
    if config.mode == "by place":
        score = score + np.random.default_rng(0).normal(size=len(score))
    elif config.mode == "by another seed":
        score = score - score.mean()
    elif config.mode == "first of the list":
        score = score + context.seeds[0]
    elif config.mode == "raise":
        raise RuntimeError("the study itself has a bug")
    context.record("a", "score", score + 3.0)
    context.record("b", "score", 0.0 * score)


def figure(table, config):
    """One bar per arm."""
    from lrn import figures

    fig, ax = figures.subplots()
    ax.bar(["a", "b"], [table.final(arm, "score").mean() for arm in "ab"])
    return fig


STUDY = Study(
    title="a beats b",
    claim="Arm a scores higher than arm b.",
    claim_id="X2",
    section="Insights",
    regime="numbers made up for tests",
    presets={mode: Config(mode=mode) for mode in MODES} | {"smoke": Config(), "quick": Config()},
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
    controls=(Control(Exact(statement="b scores 0.", cell=Cell("b", "score"), value=0.0)),),
    run=run,
    figure=figure,
)
