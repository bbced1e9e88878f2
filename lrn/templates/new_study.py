"""Is the median a better guess of the center than the mean?

Claim. With outliers the median of a sample lies closer to the center of its distribution than the mean does.

Design. A sample has ``n`` values from a normal distribution around 0. A share of the values, the
outliers, has ten times the standard deviation. The error of a guess is its distance from 0, averaged over
``samples``. Both guesses see the same samples.

Set beforehand. The margin is a tenth of the mean's error without outliers (.018 for 20 values): a smaller
gain is no reason to change the guess.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check, figures
from lrn.cli import main_study
from lrn.study import Cell, Control, Regime, Study, Superiority, Within

MARGIN = 0.018


@dataclass(frozen=True)
class Config:
    """n: values in a sample. samples: the number of samples in a seed. outliers: the shares of outliers."""

    n: int = 20
    samples: int = 200
    outliers: tuple[float, ...] = (0.0, 0.1)

    def __post_init__(self) -> None:
        """Check the ranges; a wrong value stops the command with one sentence before anything runs."""
        check.counts(self, "n", "samples")


def arm(guess, share):
    """The name of an arm: a guess at a share of outliers."""
    return f"{guess}, {share:.0%} outliers"


def regimes(config):
    """The regimes in which the claim is asked: one for each share of outliers. Each can hold and can fail."""
    return [
        Regime(
            name=f"{share:.0%} outliers",
            primary=(
                Superiority(
                    statement=f"With {share:.0%} outliers the median has a smaller error than the mean.",
                    key=f"gain at {share:.0%}",
                    better=Cell(arm("mean", share), "error"),  # a larger error for the mean
                    worse=Cell(arm("median", share), "error"),
                    margin=MARGIN,
                ),
            ),
        )
        for share in config.outliers
    ]


def controls(config):
    """A value from theory: the mean of n standard normal values has the expected error sqrt(2 / (pi n))."""
    known = float(np.sqrt(2 / (np.pi * config.n)))
    cell = Cell(arm("mean", 0.0), "error")
    statement = "Without outliers the mean has the error that theory gives, +- 10%."
    return [Control(Within(statement=statement, cell=cell, low=0.9 * known, high=1.1 * known))]


def run(config, context):
    """Record a number for each seed in every cell that a prediction names."""

    def errors(seed, shared):
        by_arm = {}
        for i, share in enumerate(config.outliers):
            keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), i), 2)
            wide = jax.random.bernoulli(keys[0], share, (config.samples, config.n))
            x = jax.random.normal(keys[1], wide.shape) * jnp.where(wide, 10.0, 1.0)
            by_arm[arm("mean", share)] = jnp.abs(x.mean(-1)).mean()
            by_arm[arm("median", share)] = jnp.abs(jnp.median(x, -1)).mean()
        return by_arm

    seeds = np.asarray(context.seeds, np.uint32)
    for name, values in context.per_seed("errors", errors, seeds).items():  # a resumed run reads the results
        context.given(name, {"samples": config.samples})
        context.record(name, "error", values)


def figure(table, config):
    """Both errors of every seed, for each share of outliers."""
    fig, axes = figures.subplots(1, len(config.outliers), squeeze=False)
    for ax, share in zip(axes[0], config.outliers):
        names = [arm(guess, share) for guess in ("mean", "median")]
        ax.plot(["mean", "median"], [table.final(name, "error") for name in names], "o-", color="0.6")
        ax.set(title=f"{share:.0%} outliers", ylabel="error")
    return fig


def answer(findings):
    """One to three plain sentences, from the findings alone."""
    parts = [f"{findings[key].said(digits=3)} {key.removeprefix('gain ')} outliers" for key in findings]
    return f"The median's error is smaller than the mean's by {' and '.join(parts)}."


STUDY = Study(
    title="Median or mean?",
    claim="With outliers the median lies closer to the center than the mean.",
    regime="Normal samples of 20 values, a tenth of them ten times as wide.",
    presets={"smoke": Config(samples=5), "quick": Config(), "full": Config(samples=2000)},
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={"error": (0.0, 10.0)},
)

if __name__ == "__main__":
    main_study(__file__)
