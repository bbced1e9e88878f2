"""Does a model that passes a fairness audit still discriminate? (F3)

Claim. In fairness washing the audited metric improves while the discriminatory boundary stays.

Design. A network that does not see the group decides. An auditor measures the gap of the groups' selection
rates. Three ways bring the gap down to a quarter on validation rows, each with the fewest errors: a penalty
on the covariance of chance and group; thresholds by group; trees that imitate the network's decisions (a
lottery of two). Two other audits look at the boundary, on rows held out:
- Flips: the share of people whose decision would be another in the other group. Causal worlds, merit
  models whose counterfactuals are known, tell it.
- Violation: size times gap of the worst union of subgroups by attributes that the auditor does not see, minus
  its mean after permutations. The attributes are place and cohort in the worlds, and race, age and marital
  status in Adult.
A regime is one way in the worlds: it holds where flips and violation keep over four fifths of their size. In
Adult nobody knows counterfactuals, and the violation keeps over four fifths under each of the three ways.

Set beforehand. A fall of the gap by over half is the condition (gate) for a washing to be asked about. Every
seed draws a world: the group's effects differ between its four strata with a standard deviation as large as
their mean, and so does the share of the group. This spread is a dial (0, 1, 2), for where all strata have one
effect and scores are near linear, equal rates leave no flips: there the claim must fail. The limit is a dial
too (half, a quarter, a tenth). Trees are judged as if they decided; where trees only explain, the flips of
the network stay by construction. Not blind: first-order algebra says that thresholds remove the mean effect
and leave its spread; pilots (seeds 0 to 3) were looked at. There, in Adult, a washed model selects fewer
people, which alone lowers a violation: the violation over the selection rate is shown beside it, that is the
subgroup's share of the selected minus its share of all.
Controls: a rule fair in the world passes both audits (without rows held out it has a worst subgroup too,
which is shown); a planted subgroup is found; with one effect for all, thresholds end over half of the flips.

    python -m experiments.fair.washing --preset quick
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.fair._audited import AMONG, BOTH, CHOSEN, FIFTHS, FLIPS, FOUND, GAP, HALF, VIOLATION, WORST
from experiments.fair._causal_worlds import Rows, adult, causal
from experiments.fair._rules import FAIR, HALF_FLIPS, LIMIT, LIMITS, LOTTERY, MOST, PLANTED, UNFAIR, judged
from experiments.fair._washers import PENALTY, THRESHOLDS, TREE, WASHERS
from lrn import check, figures
from lrn.cli import main_study
from lrn.study import Above, Below, Cell, Control, Findings, Regime, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import equal_budgets
from lrn.table import Table

ASKED, ADULT, SMALL = 1.0, "Adult", 0.01  # the asked spread; a place; a point
WHERE = {PENALTY: "a penalty", THRESHOLDS: "thresholds", TREE: "trees"}


@dataclass(frozen=True)
class Config:
    """Settings.

    spreads: of the group's effects over strata, as a share of the mean effect. people: of a world; two fifths
    train, a fifth validates. adult: the same of Adult; 0 leaves Adult out. hidden, steps: of the networks.
    """

    spreads: tuple[float, ...] = (0.0, ASKED)
    people: int = 6000
    adult: int = 0
    hidden: int = 16
    steps: int = 200

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "people", "hidden", "steps")
        if not {0.0, ASKED} <= set(self.spreads):
            raise check.InputError(f"spreads must hold 0 and {ASKED:g}, got {self.spreads}.")

    @property
    def places(self) -> tuple[str, ...]:
        """Where decisions are made: the worlds of each spread, and Adult."""
        return (*map(worlds, self.spreads), *((ADULT,) if self.adult else ()))


def worlds(spread: float) -> str:
    """The name of the worlds with this spread."""
    return f"worlds of spread {spread:g}"


def arm(place: str, what: str, limit: float = LIMIT) -> str:
    """The arm of a rule in a place."""
    return f"{place}, {what}" + ("" if limit == LIMIT else f", limit {limit:g}")


def regimes(config: Config) -> Sequence[Regime]:
    """A regime for each way in the worlds, and Adult."""
    return [*(_in_worlds(config, way) for way in WASHERS), *([_in_adult()] if config.adult else [])]


def _in_worlds(config: Config, way: str) -> Regime:
    place, before, after = worlds(ASKED), arm(worlds(ASKED), UNFAIR), arm(worlds(ASKED), way)
    others = [_stays(worlds(s), way, m) for s in config.spreads if s != ASKED for m in (FLIPS, VIOLATION)]
    levels = [_level(name, m) for name in (before, after) for m in (GAP, FLIPS, VIOLATION)]
    levels.append(_level(arm(place, FAIR), WORST, 0.0))
    if way != WASHERS[0]:
        levels = levels[3:6]
    limits = [_stays(place, way, FLIPS, limit) for limit in LIMITS if limit != LIMIT]
    return Regime(
        name=way,
        gate=_halved(before, after),
        primary=(_stays(place, way, FLIPS), _stays(place, way, VIOLATION)),
        secondary=(_stays(place, way, BOTH), _stays(place, way, AMONG), *others, *limits, *levels),
    )


def _in_adult() -> Regime:
    before = arm(ADULT, UNFAIR)
    shown = (GAP, VIOLATION, CHOSEN, AMONG)
    levels = [_level(arm(ADULT, what), m) for what in (UNFAIR, *WASHERS) for m in shown]
    return Regime(
        name=ADULT,
        gate=_halved(before, arm(ADULT, MOST)),
        primary=tuple(_stays(ADULT, way, VIOLATION) for way in WASHERS),
        secondary=(*(_stays(ADULT, way, AMONG) for way in WASHERS), *levels),
    )


def _halved(before: str, after: str) -> Superiority:
    said = f"{after}: the gap on test rows falls by over half."
    return Superiority(statement=said, better=Cell(before, HALF), worse=Cell(after, GAP))


def _stays(place: str, way: str, what: str, limit: float = LIMIT) -> Superiority:
    name = arm(place, way, limit)
    return Superiority(
        statement=f"{name}: of the {what} over four fifths stay.",
        key=f"{name}: {what} stay",
        better=Cell(name, what),
        worse=Cell(arm(place, UNFAIR), FIFTHS[what]),
    )


def _level(name: str, what: str, bound: float = SMALL) -> Above:
    said = f"{name}: {what} above {bound:g}."
    return Above(statement=said, key=f"{name}: {what}", cell=Cell(name, what), bound=bound)


def controls(config: Config) -> Sequence[Control]:
    """A fair rule passes, a planted subgroup is found, and the measures can fall."""
    found = []
    for place in config.places:
        fair, planted = arm(place, FAIR if place != ADULT else LOTTERY), arm(place, PLANTED)
        cell = Cell(fair, VIOLATION)
        found += [
            Within(statement=f"{fair}: no violation beyond chance.", cell=cell, low=-SMALL, high=SMALL),
            Below(statement=f"{fair}: the gap is near zero.", cell=Cell(fair, GAP), bound=0.05),
            Above(statement=f"{planted}: a violation is seen.", cell=Cell(planted, VIOLATION), bound=SMALL),
            Above(statement=f"{planted}: most tests find it.", cell=Cell(planted, FOUND), bound=0.5),
        ]
        if place != ADULT:
            said = f"{fair}: nearly nobody flips."
            found.append(Below(statement=said, cell=Cell(fair, FLIPS), bound=SMALL))
    alike = worlds(0.0)
    ended = Superiority(
        statement=f"{alike}: thresholds at a tenth of the gap end over half of the flips.",
        better=Cell(arm(alike, UNFAIR), HALF_FLIPS),
        worse=Cell(arm(alike, THRESHOLDS, LIMITS[-1]), FLIPS),
    )
    same = [equal_budgets("samples", [arm(p, what) for what in (UNFAIR, *WASHERS)]) for p in config.places]
    return [*map(Control, found), Control(ended), *same]


def run(config: Config, context: Context) -> None:
    """Make the rules of each seed in each place, and audit them."""
    for place in config.places:
        draw, count = functools.partial(adult, count=config.adult), config.adult
        if place != ADULT:
            spread = config.spreads[config.places.index(place)]
            draw, count = functools.partial(causal, count=config.people, spread=spread), config.people
        found = context.once(place, functools.partial(_measured, config, context.seeds, draw, place))
        for name, values in found.items():
            what, metric = name.split(" | ")
            context.record(arm(place, what), metric, values)
        for what in (UNFAIR, *WASHERS):
            context.given(arm(place, what), {"samples": round(0.4 * count)})


def _measured(
    config: Config, seeds: Sequence[int], draw: Callable[[int], Rows], place: str
) -> dict[str, np.ndarray]:
    """From "rule | metric" to the values [seeds]."""
    found = []
    for seed in seeds:
        rules = judged(int(seed), draw(int(seed)), place != ADULT, config.hidden, config.steps)
        found.append({f"{what} | {m}": v for what, own in rules.items() for m, v in own.items()})
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def figure(table: Table, config: Config) -> Figure:
    """Flips and violation of each rule over the spread of the effects, and the violation in Adult."""
    fig, axes = figures.subplots(1, 2 + bool(config.adult), height=3.6)
    rules = (UNFAIR, *WASHERS)
    for i, (ax, metric) in enumerate(zip(axes, (FLIPS, VIOLATION))):
        lines = {
            rule: np.stack([table.final(arm(worlds(s), rule), metric) for s in config.spreads], 1)
            for rule in rules
        }
        xlabel = "spread of the group's effects"
        figures.curves(ax, np.array(config.spreads), lines, xlabel=xlabel, ylabel=metric, legend=i == 0)
    if config.adult:
        values = np.stack([table.final(arm(ADULT, rule), VIOLATION) for rule in rules], 1)
        figures.curves(axes[2], np.arange(len(rules)), {ADULT: values}, xlabel="", ylabel=VIOLATION)
        axes[2].set_xticks(np.arange(len(rules)), [r.replace(" ", "\n") for r in rules], fontsize="x-small")
    return fig


def answer(findings: Findings) -> str:
    """Levels before and after, in the worlds and in Adult."""

    def level(place: str, what: str, metric: str) -> str:
        return findings[f"{arm(place, what)}: {metric}"].said(100, digits=1)

    def after(place: str, metric: str) -> str:
        return ", ".join(f"{level(place, way, metric)} under {WHERE[way]}" for way in WASHERS)

    place = worlds(ASKED)
    said = (
        f"In worlds where the group's effect differs as much as its mean, and the audited gap falls to a "
        f"quarter, flips of {level(place, UNFAIR, FLIPS)} in 100 people become {after(place, FLIPS)}. The "
        f"unseen subgroups' violation of {level(place, UNFAIR, VIOLATION)} points becomes "
        f"{after(place, VIOLATION)}."
    )
    if ADULT in findings.regimes:
        said += f" In Adult the violation of {level(ADULT, UNFAIR, VIOLATION)} points becomes "
        said += f"{after(ADULT, VIOLATION)}; but these select fewer people, and the worst subgroup's excess "
        said += f"among the selected goes from {level(ADULT, UNFAIR, AMONG)} to {after(ADULT, AMONG)} points."
    return said


STUDY = Study(
    title="Does a model that passes a fairness audit still discriminate?",
    claim="Fairness washing improves the audited metric and leaves the discriminatory boundary.",
    claim_id="F3",
    section="Failure modes",
    regime="Causal worlds with unequal effects in four strata; full: Adult too. Penalty, thresholds, trees.",
    presets={
        "smoke": Config(people=800, steps=20),
        "quick": Config(),
        "full": Config((0.0, ASKED, 2.0), 8000, 8000),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={
        **dict.fromkeys((GAP, FLIPS, FOUND, CHOSEN), (0.0, 1.0)),
        **dict.fromkeys((VIOLATION, BOTH, WORST), (-0.5, 0.5)),
        AMONG: (-1.0, 1.0),
        **dict.fromkeys((HALF, HALF_FLIPS), (0.0, 0.5)),
        **dict.fromkeys(FIFTHS.values(), (-0.8, 0.8)),
    },
    seeds={"smoke": 2, "quick": 12, "full": 24},
)

if __name__ == "__main__":
    main_study(__file__)
