"""Can parity, equalized odds and counterfactual fairness hold at once? (C3)

Claim. Demographic parity, equalized odds and counterfactual fairness cannot in general hold at once.

Design. One menu of rules for each population: logistic regression; reductions and thresholds by group for
parity and for odds at several bounds; pairs of thresholds by group; predictors of the three levels of
counterfactual fairness; a coin. A mixture draws a rule of the menu. Linear programs on validation rows choose
mixtures, each the best by balanced accuracy: the free one, and those whose gap of selection rates, or of odds
(the larger of both), or whose flips, or all of these, are at most .02. A flip is a decision that changes if
the person's group does, in a causal model.
A regime is a population: a causal model of merit, whose counterfactuals are known; Adult (by sex); COMPAS and
Law school (by race). Law has the causal model of Kusner et al. (2017), fitted: its flips are no facts.
- Held to parity (SCM and Law: to flips), a rule has an odds gap over .05 above that of the rule held to odds.
- Held to odds, it has a parity gap over .05 above that of the rule held to parity.
- Held to all at once, it loses over a point of balanced accuracy against the dearest criterion alone.

Set beforehand. The comparison is with the rule held to the criterion itself: the largest of some gaps is
biased up in small groups, in both alike. Against the free rule, which may break a criterion too, gaps are
shown. The dearest criterion is chosen on validation rows. A constant meets everything: hence the third
question. Limits of .05 and .1 are shown. Seeds draw and split the people of one set.
Not blind: published tables, of plain accuracy, have the odds gap rise under parity on Adult and fall on
COMPAS and Law. A pilot on seeds 0 to 3, without mixtures and pairs of thresholds, had SCM and Adult beyond
the margins, COMPAS and Law partly short; mixtures were added since they meet all at a lower cost, and the
control with equal base rates was moved from .02 to .05, since the pilot left it open at .02. By
arithmetic ``|p1 - p0| |TPR - FPR| <= parity gap + odds gap`` for base rates p, so base rates and attainable
accuracy decide much. Where nothing causes the group, counterfactual fairness implies parity: in the SCM these
two are no conflict.
Controls: this inequality, those of Zhao and Gordon (2019), of Chouldechova (2017) and of calibration (Pleiss
et al. 2017), to 1e-6; fair predictors do not flip and have parity in the SCM, and the free one flips; with
equal base rates all criteria together cost nothing; a constant (level 1) meets all, with an accuracy of .5.

    python -m experiments.fair.criteria --preset quick
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.fair._both_worlds import CAUSAL, EQUAL, LAW, LEVELS, MERIT, SETS, World, world
from experiments.fair._criteria import (
    CALIBRATION,
    DEAREST,
    FREE,
    GAP,
    LIMITS,
    POINT,
    SCORE,
    TO_FLIPS,
    TO_ODDS,
    TO_PARITY,
    arm,
    at_once,
    own_controls,
    rules,
    without_a_reason,
)
from experiments.fair._held import (
    BALANCED,
    FLIPS,
    LEFT,
    ODDS,
    PARITY,
    SLACK,
    TRADE,
    Judged,
    held,
    joined,
    judged,
    measures,
    menu,
    model,
    read,
    score,
    thresholds,
)
from lrn import check, figures
from lrn.cli import main_study
from lrn.fair.confusion import Confusion
from lrn.fair.identities import calibration_residual
from lrn.study import Cell, Control, Findings, Regime, Study, Superiority
from lrn.study.context import Context
from lrn.table import Table


@dataclass(frozen=True)
class Config:
    """Settings.

    sets: the real populations. rows: the most that a seed splits into half for training, a quarter for
    validation and a quarter for the test. bounds: of each method. rounds: the most of a reduction.
    levels: the number of thresholds of each group.
    """

    sets: tuple[str, ...] = ()
    rows: int = 8000
    bounds: tuple[float, ...] = (0.0, *LIMITS)
    rounds: int = 20
    levels: int = 21

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in self.sets:
            check.choice("a population", name, (*SETS, LAW))
        check.counts(self, "rows", "rounds")
        check.counts(self, "levels", low=2)


def regimes(config: Config) -> Sequence[Regime]:
    """The causal model, and each real population."""
    return [_regime(name) for name in (MERIT, *config.sets)]


def _regime(name: str) -> Regime:
    odds_of_parity, parity_of_odds = (
        _more(name, TO_PARITY, TO_ODDS, ODDS),
        _more(name, TO_ODDS, TO_PARITY, PARITY),
    )
    against_free = [_more(name, TO_PARITY, FREE, ODDS), _more(name, TO_ODDS, FREE, PARITY)]
    wider = [_loses(name, DEAREST, at_once(limit)) for limit in LIMITS[1:]]
    costs = [_loses(name, FREE, rule) for rule in rules(name) if rule != FREE]
    first, secondary = odds_of_parity, [*against_free, *wider, *costs]
    if name in CAUSAL:
        first = _more(name, TO_FLIPS, TO_ODDS, ODDS)
        flips = [_more(name, rule, TO_FLIPS, FLIPS) for rule in (FREE, TO_ODDS, TO_PARITY)]
        secondary += [odds_of_parity, _more(name, TO_FLIPS, TO_PARITY, PARITY), *flips]
    primary = (first, parity_of_odds, _loses(name, DEAREST, at_once(LIMITS[0])))
    return Regime(name=name, primary=primary, secondary=tuple(secondary))


def _more(name: str, one: str, other: str, metric: str) -> Superiority:
    """A rule breaks a criterion by more than another rule does."""
    return Superiority(
        statement=f"{name}: {one}, a rule has {metric} over {GAP:g} above those of the rule {other}.",
        key=f"{name}, {metric}, {one}, {other}",
        better=Cell(arm(name, one), metric),
        worse=Cell(arm(name, other), metric),
        margin=GAP,
    )


def _loses(name: str, one: str, other: str) -> Superiority:
    """A rule loses over a point against another one."""
    return Superiority(
        statement=f"{name}: {other} costs over a point of balanced accuracy against {one}.",
        key=f"{name}, cost, {one}, {other}",
        better=Cell(arm(name, one), BALANCED),
        worse=Cell(arm(name, other), BALANCED),
        margin=POINT,
    )


def controls(config: Config) -> Sequence[Control]:
    """Identities in every population; the causal model with and without a reason for a conflict."""
    found = [c for name in (MERIT, EQUAL, *config.sets) for c in own_controls(name)]
    return [*found, without_a_reason()]


def run(config: Config, context: Context) -> None:
    """Train all methods in each population, hold rules to criteria, record them."""
    for name in (MERIT, EQUAL, *config.sets):
        people = world(name, 10 * config.rows)
        kinds = people.readings()
        models, *others = _trained(config, context, name, people)
        every = joined([models, *others])
        chosen = {rule: held(every, *asked) for rule, asked in rules(name).items()}
        for rule, found in chosen.items():
            context.record(arm(name, rule), known(name, found.test) | {"chance of the coin": found.coin})
            context.given(arm(name, rule), {"candidates": every.test_flips.shape[1]})
        alone = [rule for rule in (TO_PARITY, TO_ODDS, TO_FLIPS) if rule in chosen]
        dearest = min(alone, key=lambda rule: chosen[rule].validation.mean())
        context.record(arm(name, DEAREST), BALANCED, chosen[dearest].test[BALANCED])
        for i, kind in enumerate(kinds):
            counts = Confusion(*(leaf[:, i] for leaf in models.test))
            context.record(arm(name, kind), known(name, measures(counts, models.test_flips[:, i])))


def known(name: str, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The measures without the flips, where no causal model says what they are."""
    return {metric: v for metric, v in found.items() if metric != FLIPS or name in CAUSAL}


def _trained(config: Config, context: Context, name: str, people: World) -> list[Judged]:
    """The models without a constraint, and every method of the menu; kept in the run's folder."""
    masks = np.stack([*people.readings().values()])
    methods = menu(people.plain, masks.shape[1], config.rounds)
    given = {"model": (model, masks), SCORE: (score, masks[:1])}
    given |= {what: (method, np.array(config.bounds)) for what, method in methods.items()}
    given["thresholds"] = thresholds(config.levels, 0, people.plain, masks.shape[1])
    if name in CAUSAL:
        given["thresholds, level 3"] = thresholds(config.levels, people.plain + 1, *2 * masks.shape[1:])
    found = {}
    for what, (method, bounds) in given.items():

        def compute(method=method, bounds=bounds):
            return judged(method, people, bounds, context.seeds, config.rows)

        found[what] = read(context.once(f"{name}, {what}", compute))
    left = np.abs(np.asarray(calibration_residual(found.pop(SCORE).test)))
    context.record(arm(name, SCORE), CALIBRATION, left.max(axis=(1, 2)))
    return [*found.values()]


def figure(table: Table, config: Config) -> Figure:
    """The gaps, flips and balanced accuracy of each rule, a panel a population."""
    names = (MERIT, *config.sets)
    fig, axes = figures.subplots(len(names), 1, height=2.9 * len(names))
    for ax, name in zip(np.atleast_1d(axes), names):
        shown = [m for m in (PARITY, ODDS, FLIPS, BALANCED) if m != FLIPS or name in CAUSAL]
        kinds = [*rules(name), *(LEVELS[1:] if name in CAUSAL else ())]
        values = [[table.final(arm(name, rule), m).mean() for m in shown] for rule in kinds]
        figures.matrix(ax, np.array(values), kinds, shown, title=name)
    return fig


def answer(findings: Findings) -> str:
    """How far each criterion breaks the other, and what all cost at once."""
    every = (MERIT, *SETS, LAW)
    names = [n for n in every if f"{n}, {PARITY}, {TO_ODDS}, {TO_PARITY}" in set(findings)]

    def each(key: str) -> str:
        return ", ".join(f"{findings[f'{n}, {key}'].said(100, digits=1)} ({n})" for n in names)

    costs = "; ".join(
        f"{100 * limit:g} points, {each(f'cost, {DEAREST}, {at_once(limit)}')}" for limit in LIMITS
    )
    return (
        f"Held to parity, a rule has an odds gap larger than one held to odds by "
        f"{each(f'{ODDS}, {TO_PARITY}, {TO_ODDS}')} points. Held to odds, it has a parity gap larger by "
        f"{each(f'{PARITY}, {TO_ODDS}, {TO_PARITY}')}. All criteria at once cost, in points of balanced "
        f"accuracy beyond the dearest alone within 2 points: within {costs}."
    )


RATES = dict.fromkeys((BALANCED, PARITY, ODDS, FLIPS, LEFT, CALIBRATION), (0.0, 1.0))
STUDY = Study(
    title="Can parity, equalized odds and counterfactual fairness hold at once?",
    claim="Parity, equalized odds and counterfactual fairness cannot in general hold at once.",
    claim_id="C3",
    section="Concepts",
    regime="A causal model of merit (full: Adult, COMPAS, Law school too); rules on logistic regression.",
    presets={
        "smoke": Config(rows=400, bounds=(0.0, 0.1), rounds=2, levels=5),
        "quick": Config(),
        "full": Config((*SETS, LAW), 16_000, rounds=30),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges=RATES | {SLACK: (-1.0, 3.0), TRADE: (-1.0, 3.0)},
    seeds={"smoke": 2, "quick": 10, "full": 10},
)

if __name__ == "__main__":
    main_study(__file__)
