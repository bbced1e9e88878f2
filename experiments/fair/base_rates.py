"""Does parity cost accuracy because the groups' labels differ, rather than because of bias? (I5)

Claim. The trade-off between fairness and accuracy comes from different label distributions of the groups, not
from algorithmic bias.

Design. Two groups of equal size: women and men of Adult and of the Dutch census, drawn so that both groups
have the base rates that an arm asks for; and Gaussian classes, whose best rules are known. Three reasons for
unequal treatment are switched on, alone at three levels each, and together: the base rates differ; the
features of group 0 are measured with noise; some positive labels of group 0 are seen as negative (in training
and validation rows only). Logistic regression with the group and its products with the features gives a
score, and thresholds by group, fitted on validation rows, give two rules: the one with the best balanced
accuracy, and the best one with equal selection rates (exact, by hulls). The *price of parity* is the
difference of their balanced accuracies on the true labels of test rows.
- Base rates: a difference of .2, as in Adult, raises the price by over a point.
- Noise: a measurement error as large as the features' own spread raises it by under a point.
- Label bias: three in ten hidden positives raise it by under a point.
Each is asked in both real populations; a regime is a reason, and holds where both predictions hold. What the
Gaussian classes do follows from their distribution, and is a control (``quick`` has nothing else to ask).

Set beforehand. A point of balanced accuracy is the least price that would change a decision. It is balanced
accuracy, because one class is rare and plain accuracy is cheap to keep; prices in plain accuracy, with
rules that are best for it, are shown. All arms have the same rows, the same split, and two rules each. Not
blind: the exact Gaussian prices were known (.040, .001 and -.002), and a pilot on Adult, seeds 0 to 3, which
gave .056, .000 and -.001.
Controls: without a reason the price is near zero; the Gaussian prices are those of the best rules; the errors
of both groups obey the inequality of Zhao and Gordon (2019).

    python -m experiments.fair.base_rates --preset quick
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.fair._best_rules import price_of_parity
from experiments.fair._people import POPULATIONS, drawn
from lrn import check, figures
from lrn.cli import main_study
from lrn.fair import gaps, rates
from lrn.fair.confusion import Confusion, confusion
from lrn.fair.front import overall_accuracy, overall_balanced_accuracy
from lrn.fair.logistic import LogisticConfig, fit_logistic, probability
from lrn.fair.thresholds import expected_decision, fit_bounded_thresholds
from lrn.study import Above, Cell, Control, Findings, Regime, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import equal_budgets
from lrn.table import Table
from lrn.types import Array

POINT, KEPT, KNOWN = 0.01, 0.04, "Gaussian"
PRICE, PRICE_ACCURACY, SLACK, AGAINST = "price", "price in accuracy", "slack", "price minus exact price"
GAP_FREE, GAP_PARITY = "gap of the free rule", "gap under parity"
# reason -> its three levels; the middle one is asked
LEVELS = {"base rates": (0.1, 0.2, 0.3), "noise": (0.5, 1.0, 2.0), "label bias": (0.1, 0.3, 0.5)}
REASONS = tuple(LEVELS)
TOGETHER = (("base rates", "noise"), ("base rates", "label bias"), ("noise", "label bias"), REASONS)


@dataclass(frozen=True)
class Config:
    """Settings.

    populations: which populations are asked. count: rows of each group; half train the score, and a quarter
    each fits the thresholds and judges.
    """

    populations: tuple[str, ...] = (KNOWN,)
    count: int = 4000

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in self.populations:
            check.choice("a population", name, tuple(POPULATIONS))
        check.integer("count", self.count, low=40)


def arms() -> dict[str, tuple[float, float, float]]:
    """From the name of an arm, without its population, to the gap, the noise and the bias."""
    found = {"none": (0.0, 0.0, 0.0)}
    for i, (reason, levels) in enumerate(LEVELS.items()):
        for level in levels:
            found[f"{reason} {level:g}"] = tuple(  # pyright: ignore[reportArgumentType]
                level if j == i else 0.0 for j in range(3)
            )
    for reasons in TOGETHER:
        found[" and ".join(reasons)] = tuple(  # pyright: ignore[reportArgumentType]
            LEVELS[r][1] if r in reasons else 0.0 for r in REASONS
        )
    return found


def arm(population: str, what: str) -> str:
    """The name of an arm in a population."""
    return f"{population}, {what}"


def asked(reason: str) -> str:
    """The arm with a reason alone, at the level that is asked."""
    return f"{reason} {LEVELS[reason][1]:g}"


def regimes(config: Config) -> Sequence[Regime]:
    """A regime a reason."""
    return [_regime(config, reason) for reason in REASONS]


def _regime(config: Config, reason: str) -> Regime:
    primary, secondary = [], []
    for population in config.populations:
        for metric in (PRICE, PRICE_ACCURACY):
            key = f"{population}, {reason}" + ", accuracy" * (metric != PRICE)
            raised = _raised(population, reason, asked(reason), metric, key)
            counts = metric == PRICE and (population != KNOWN or config.populations == (KNOWN,))
            (primary if counts else secondary).append(raised)
        for level in (LEVELS[reason][0], LEVELS[reason][2]):
            what = f"{reason} {level:g}"
            secondary.append(_raised(population, reason, what, PRICE, f"{population}, {what}"))
    return Regime(name=reason, primary=tuple(primary), secondary=tuple(secondary))


def _raised(population: str, reason: str, what: str, metric: str, key: str) -> Superiority:
    """What the claim says of a reason: base rates raise the price by over a point, the others do not."""
    with_reason, without = (Cell(arm(population, w), metric) for w in (what, "none"))
    if reason == "base rates":
        said = f"{population}: {what} raises the {metric} by over a point."
        return Superiority(statement=said, key=key, better=with_reason, worse=without, margin=POINT)
    said = f"{population}: {what} raises the {metric} by under a point."
    return Superiority(statement=said, key=key, better=without, worse=with_reason, margin=-POINT)


def controls(config: Config) -> Sequence[Control]:
    """What shows that an estimate, or a rule, is broken."""
    found: list[Control] = []
    for population in config.populations:
        said = f"{population}: without a reason the price is near zero."
        near = Within(statement=said, cell=Cell(arm(population, "none"), PRICE), low=-POINT, high=POINT)
        found.append(Control(near, "invalid" if population == KNOWN else "flag"))
        names = [arm(population, what) for what in arms()]
        for name in names:
            said = f"{name}: the groups' errors obey the bound of Zhao and Gordon."
            found.append(Control(Above(statement=said, cell=Cell(name, SLACK), bound=-1e-4)))
            said = f"{name}: parity holds on test rows, within four points."
            kept = Within(statement=said, cell=Cell(name, GAP_PARITY), low=0.0, high=KEPT)
            found.append(Control(kept, "flag"))
        if population == KNOWN:
            for name in names:
                said = f"{name}: the price is that of the best rules."
                exact = Within(statement=said, cell=Cell(name, AGAINST), low=-POINT, high=POINT)
                found.append(Control(exact))
        found.append(equal_budgets("samples", names))
    return found


def run(config: Config, context: Context) -> None:
    """Draw the people, fit both rules, record their prices."""
    price = jax.jit(prices)
    for population in config.populations:
        for what, dials in arms().items():

            def compute(dials=dials, population=population) -> dict[str, np.ndarray]:
                found = [
                    jax.device_get(price(*drawn(population, int(seed), config.count, *dials)))
                    for seed in context.seeds
                ]
                return {metric: np.array([f[metric] for f in found]) for metric in found[0]}

            name = arm(population, what)
            own = context.once(name, compute)
            context.record(name, own)
            context.given(name, {"samples": 2 * config.count})
            if population == KNOWN:
                context.record(name, AGAINST, own[PRICE] - price_of_parity(*dials))


def prices(x: Array, seen: Array, y: Array, group: Array) -> dict[str, Array]:
    """The price of parity and its parts, for rows in random order; scalars."""
    side = (2.0 * group - 1)[:, None]
    x = jnp.concatenate([x, side, x * side], axis=1)
    n = len(y)
    train, valid, test = slice(0, n // 2), slice(n // 2, 3 * n // 4), slice(3 * n // 4, n)
    score = probability(fit_logistic(x[train], seen[train], config=LogisticConfig(tolerance=1e-4)), x)

    def judged(goal: str, bound: float) -> Confusion:
        rule = fit_bounded_thresholds(score[valid], seen[valid], group[valid], 2, bound, objective=goal)
        return confusion(y[test], expected_decision(rule, score[test], group[test]), group[test], 2)

    free, parity = (judged("overall_balanced_accuracy", bound) for bound in (1.0, 0.0))
    gap = gaps.demographic_parity_difference
    found = {
        PRICE: overall_balanced_accuracy(free) - overall_balanced_accuracy(parity),
        PRICE_ACCURACY: overall_accuracy(judged("accuracy", 1.0)) - overall_accuracy(judged("accuracy", 0.0)),
        GAP_FREE: gap(free),
        GAP_PARITY: gap(parity),
        SLACK: _slack(parity),
        "balanced accuracy, free": overall_balanced_accuracy(free),
    }
    for goal, counts in (("free", free), ("parity", parity)):
        for g, share in enumerate(rates.rate(counts, "selection_rate")):
            found[f"selection rate of group {g}, {goal}"] = share
    return found


def _slack(counts: Confusion) -> Array:
    """The sum of the groups' errors minus what the gap of base rates demands (Zhao & Gordon 2019)."""
    error = jnp.sum(1 - rates.rate(counts, "accuracy"))
    base = gaps.spread(rates.rate(counts, "base_rate"))
    return error - (base - gaps.demographic_parity_difference(counts))


def figure(table: Table, config: Config) -> Figure:
    """The price along each dial, a panel a reason."""
    fig, axes = figures.subplots(1, 3, height=3.8, sharey=True)
    units = ("difference of base rates", "error of features, in deviations", "share of hidden positives")
    for i, (ax, (reason, levels), unit) in enumerate(zip(axes, LEVELS.items(), units)):
        shown = ("none", *(f"{reason} {level:g}" for level in levels))
        lines = {p: np.stack([table.final(arm(p, w), PRICE) for w in shown], 1) for p in config.populations}
        ylabel = "" if i else "price of parity, balanced accuracy"
        figures.curves(ax, np.array([0.0, *levels]), lines, xlabel=unit, ylabel=ylabel, legend=i == 0)
        ax.axhline(0, color="0.6", lw=0.8)
    return fig


def answer(findings: Findings) -> str:
    """What each reason adds to the price, in each population."""
    populations = [p for p in POPULATIONS if f"{p}, base rates" in set(findings)]

    def raised(reason: str) -> str:
        sign = 100 if reason == "base rates" else -100
        return ", ".join(findings[f"{p}, {reason}"].said(sign, digits=1) for p in populations)

    return (
        f"In {', '.join(populations)} data, base rates that differ by .2 raise the price of equal "
        f"selection rates by {raised('base rates')} points of balanced accuracy. Noise in one group's "
        f"features raises it by {raised('noise')}, hidden positives of that group by "
        f"{raised('label bias')} (below zero: parity is then the more accurate rule)."
    )


STUDY = Study(
    title="Is it the groups' base rates that make parity costly?",
    claim="Parity costs accuracy because the groups' label distributions differ, not because of bias.",
    claim_id="I5",
    section="Insights",
    regime="Adult and Dutch census resampled, and two Gaussian groups; logistic scores, thresholds by group.",
    presets={
        "smoke": Config(count=400),
        "quick": Config(),
        "full": Config(tuple(POPULATIONS), 8000),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={PRICE: (-1.0, 1.0), PRICE_ACCURACY: (-1.0, 1.0), SLACK: (-1.0, 2.0), AGAINST: (-2.0, 2.0),
            GAP_PARITY: (0.0, 1.0)},
    seeds={"smoke": 2, "quick": 20, "full": 20},
)  # fmt: skip

if __name__ == "__main__":
    main_study(__file__)
