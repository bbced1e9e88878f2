"""Can parity and high accuracy hold at once? (I4)

Claim. Demographic parity and high accuracy cannot both hold under some distributions.

Design. Six methods (thresholds by group, a reduction to weighted classification, reweighing; with and without
the group as a feature) are trained at several bounds. Of all their rules two are chosen on validation rows:
the one with the best balanced accuracy, and the best one whose selection rates differ by at most .02. The
loss is the difference of their balanced accuracies on test rows.
- Known posteriors: two Gaussian groups. Where base rates differ by .2, the loss exceeds a point; where they
  are equal, it does not. The exact front is known, so a loss of the methods is told from one of the problem.
- Adult (by sex), Dutch census (by sex), Law school (by race): the loss exceeds a point.

Set beforehand. A point of balanced accuracy is the least loss that would change a decision. Plain accuracy
would hide a loss where one class is rare, and is shown. A regime is asked only where the unconstrained choice
has a gap of over .05, for else there is nothing to give up. The limit on the gap is a dial: .02, .05, .1.
The chosen rule may have a larger gap on test rows than on validation rows; this gap is shown, and a flag.
Seeds draw and split the people of one set: intervals speak of that set. Not blind: the losses of the Gaussian
groups are known from their distribution (.035 and 0), and a pilot was run on them, seeds 0 to 3.
Controls: Gaussian losses are those of the exact front; errors obey the bound of Zhao and Gordon (2019), and
its slack is shown.

    python -m experiments.fair.impossibility --preset quick
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.fair._best_rules import price_of_parity
from experiments.fair._fronts import fronts, joined, parity_methods, real
from experiments.fair._people import gaussian
from lrn import check, figures
from lrn.cli import main_study
from lrn.fair import gaps, rates
from lrn.fair.confusion import Confusion
from lrn.fair.front import choose, overall_accuracy, overall_balanced_accuracy
from lrn.fair.people import People, people
from lrn.study import Above, Cell, Control, Findings, Regime, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import equal_budgets
from lrn.table import Table

POINT, LIMIT, GAP = 0.01, 0.02, 0.05
LIMITS = (0.02, 0.05, 0.1)
BALANCED, ACCURACY, TEST_GAP, SLACK = "balanced accuracy", "accuracy", "gap", "slack"
DIFFERENT, EQUAL = "Gaussian, different base rates", "Gaussian, equal base rates"
REAL = {"Adult": "adult", "Dutch census": "dutch_census", "Law school": "law_school"}
AGAINST = "loss minus exact loss"
# Base rates of the two Gaussian groups differ by this.
GAPS = {DIFFERENT: 0.2, EQUAL: 0.0}


@dataclass(frozen=True)
class Config:
    """Settings.

    populations: which real sets are asked. rows: the largest number of rows that a seed splits into half for
    training, a quarter for validation and a quarter for the test. bounds: those of each method.
    rounds: the largest number of rounds of a reduction.
    """

    populations: tuple[str, ...] = ()
    rows: int = 8000
    bounds: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.3)
    rounds: int = 20

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in self.populations:
            check.choice("a population", name, tuple(REAL))
        check.counts(self, "rows", "rounds")


def arm(population: str, limit: float | None = None) -> str:
    """The arm of the choice under a limit, or of the free choice."""
    return f"{population}, " + ("free" if limit is None else f"gap at most {limit:g}")


def regimes(config: Config) -> Sequence[Regime]:
    """The known posteriors, and each real set."""
    equal = Superiority(
        statement=f"{EQUAL}: the loss is under a point.",
        key=EQUAL,
        better=Cell(arm(EQUAL, LIMIT), BALANCED),
        worse=Cell(arm(EQUAL), BALANCED),
        margin=-POINT,
    )
    known = Regime(
        name="known posteriors",
        gate=_has_gap(DIFFERENT),
        primary=(_loses(DIFFERENT, LIMIT), equal),
        secondary=_others(DIFFERENT),
    )
    return [known, *(_real(population) for population in config.populations)]


def _real(population: str) -> Regime:
    return Regime(
        name=population,
        gate=_has_gap(population),
        primary=(_loses(population, LIMIT),),
        secondary=_others(population),
    )


def _loses(population: str, limit: float, metric: str = BALANCED) -> Superiority:
    key = f"{population}, {limit:g}" + ", accuracy" * (metric != BALANCED)
    return Superiority(
        statement=f"{population}: a gap of {limit:g} costs over a point of {metric}.",
        key=key,
        better=Cell(arm(population), metric),
        worse=Cell(arm(population, limit), metric),
        margin=POINT,
    )


def _others(population: str) -> tuple[Superiority, ...]:
    return *(_loses(population, limit) for limit in LIMITS[1:]), _loses(population, LIMIT, ACCURACY)


def _has_gap(population: str) -> Above:
    said = f"{population}: the free choice has a gap of over {GAP:g}."
    return Above(statement=said, cell=Cell(arm(population), TEST_GAP), bound=GAP)


def controls(config: Config) -> Sequence[Control]:
    """What shows that a rule, or an estimate, is broken."""
    found: list[Control] = []
    for population in (DIFFERENT, EQUAL, *config.populations):
        names = [arm(population, limit) for limit in (None, *LIMITS)]
        for name in names:
            said = f"{name}: the groups' errors obey the bound of Zhao and Gordon."
            found.append(Control(Above(statement=said, cell=Cell(name, SLACK), bound=-1e-4)))
        said = f"{names[1]}: on test rows the gap is at most twice as large."
        within = Within(statement=said, cell=Cell(names[1], TEST_GAP), low=0.0, high=2 * LIMIT)
        found += [Control(within, "flag"), equal_budgets("candidates", names)]
    for population in GAPS:
        said = f"{population}: the loss is that of the exact front."
        cell = Cell(arm(population, LIMIT), AGAINST)
        found.append(Control(Within(statement=said, cell=cell, low=-POINT, high=POINT)))
    return found


def run(config: Config, context: Context) -> None:
    """Train all methods at all bounds, choose on validation rows, judge on test rows."""
    methods = parity_methods(config.rounds)
    for population in (DIFFERENT, EQUAL, *config.populations):
        rows = _rows(config, population)
        trained = fronts(context, population, rows, methods, config.bounds, config.rows)
        every = joined([*trained.values()])
        free: dict[str, Any] = {}
        for limit in (None, *LIMITS):
            bound = 1.0 if limit is None else limit
            chosen = choose(every, overall_balanced_accuracy, gaps.demographic_parity_difference, bound)
            name, own = arm(population, limit), measured(chosen.test)
            free = free or own
            context.record(name, own)
            context.given(name, {"candidates": every.bounds.size})
            if population in GAPS and limit is not None:
                exact = price_of_parity(GAPS[population], bound=limit)
                context.record(name, AGAINST, free[BALANCED] - own[BALANCED] - exact)


def _rows(config: Config, population: str) -> People:
    """The rows of a population, of which each seed draws some; of Gaussian rows there are many more."""
    if population in REAL:
        return real(REAL[population])
    sample = gaussian(np.random.default_rng(0), 10 * config.rows, GAPS[population])
    side = (2.0 * sample.group - 1)[:, None]
    x = np.concatenate([sample.x, sample.x * side, side], axis=1)
    return people(x.astype(np.float32), sample.y, sample.group, 2)


def measured(counts: Confusion) -> dict[str, np.ndarray]:
    """What is recorded of the chosen rules, [seeds] each."""
    error = np.sum(1 - np.asarray(rates.rate(counts, "accuracy")), axis=-1)
    base = np.asarray(gaps.spread(rates.rate(counts, "base_rate")))
    gap = np.asarray(gaps.demographic_parity_difference(counts))
    return {
        BALANCED: np.asarray(overall_balanced_accuracy(counts)),
        ACCURACY: np.asarray(overall_accuracy(counts)),
        TEST_GAP: gap,
        SLACK: error - (base - gap),
    }


def figure(table: Table, config: Config) -> Figure:
    """The balanced accuracy that each limit on the gap costs, a line a population."""
    fig, ax = figures.subplots(height=4.4)
    lines = {}
    for population in (DIFFERENT, EQUAL, *config.populations):
        free, *held = (table.final(arm(population, limit), BALANCED) for limit in (None, *LIMITS))
        lines[population] = np.stack([free - own for own in held], 1)
    ylabel = "lost balanced accuracy"
    figures.curves(ax, np.array(LIMITS), lines, xlabel="largest gap of selection rates", ylabel=ylabel)
    ax.set_xticks(LIMITS)
    ax.axhline(0, color="0.6", lw=0.8)
    return fig


def answer(findings: Findings) -> str:
    """The loss in each population."""
    sets = [p for p in REAL if f"{p}, {LIMIT:g}" in set(findings)]
    different, equal = findings[f"{DIFFERENT}, {LIMIT:g}"], findings[EQUAL]
    said = (
        f"With known distributions, selection rates within .02 cost {different.said(100, digits=1)} points "
        f"of balanced accuracy where base rates differ by .2, and {equal.said(-100, digits=1)} where they "
        "are equal. "
    )
    if sets:
        losses = ", ".join(f"{findings[f'{p}, {LIMIT:g}'].said(100, digits=1)} on {p}" for p in sets)
        said += f"On real data the best of six methods loses {losses}."
    return said


STUDY = Study(
    title="Can parity and high accuracy hold at once?",
    claim="Demographic parity and high accuracy cannot both hold under some distributions.",
    claim_id="I4",
    section="Insights",
    regime="Gaussian groups; Adult, Dutch census, Law school; six methods on logistic regression.",
    presets={
        "smoke": Config(rows=400, bounds=(0.0, 0.3), rounds=2),
        "quick": Config(),
        "full": Config(tuple(REAL), 12_000, rounds=15),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={BALANCED: (0.0, 1.0), ACCURACY: (0.0, 1.0), TEST_GAP: (0.0, 1.0), SLACK: (-1.0, 2.0),
            AGAINST: (-2.0, 2.0)},
    seeds={"smoke": 2, "quick": 10, "full": 10},
)  # fmt: skip

if __name__ == "__main__":
    main_study(__file__)
