"""How far from its training tasks does MAML's advantage reach? (O7)

Claim. MAML excels where tasks share structure, and fails where training and test tasks diverge.

Design. MAML, a network trained on all tasks pooled, and a fresh network adapt to tasks at a distance from
those of the training: from 0, the same distribution, to 1, a disjoint one. Each of two families has two
dials. One moves what differs between the training's tasks beyond its range, the other what all of them share.
- Sinusoids, 10 points. Phases come from [0, pi / 2], and this range moves by up to pi, where every target has
  the other sign. The frequency is that of the training, up to twice that.
- Five Gaussian classes in 16 dimensions, one example of each. Two directions tell classes apart. Along them
  the mean of the centers moves by up to four deviations. Or these two directions turn, by up to 90 degrees.
At a distance tasks still share as much with each other: MAML that is trained at distance 1 must gain there
too (a control), so that what fails, if it fails, is the transfer, and not meta-learning of such tasks.

Readings. The advantage is the part of the loss that MAML saves, of the better method without meta-learning.
*Excels*: it is over a quarter at distance 0. *Fails*: it falls with the distance, and at 1 it is below a
twentieth. The claim is false in a regime where MAML has an advantage and keeps it. All methods may tune at
each distance, on validation tasks from there: nobody then fails by a wrong rate alone. Secondary is the
reading in which nobody knows of the shift: all is chosen at distance 0.

Arms. Each method has three starts (inner rates, outer rates, scales of the first weights) and from each the
same two heads (its own, zeros), five rates and up to 60 steps. The mean loss on validation tasks decides on
these, and on the better baseline. MAML and pooled compute equally many gradients of an example, so pooled
takes 4/3 (classes) or 2 (sinusoids) times as many steps. Of a task's loss no more than 100 is counted. The
number of steps is chosen, so no budget of steps decides.

Set beforehand. Margins, sizes, rates are those of the study of shared structure (I9); the dials end where
the distributions are disjoint, and frequencies as before. Not blind: an earlier version, on seeds 0 to 9 and
1000 to 1003, kept its advantage as phases moved and lost it at 1.75 times the frequency.

    python -m experiments.meta.task_similarity --preset quick     # a minute on two cores
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.meta import _distances as distances
from experiments.meta._distances import CENTERS, COSTS, DIALS, EXAMPLES, PHASES, PLACES, SINE, TURNED
from lrn import check, figures
from lrn.cli import main_study
from lrn.meta.dial import Arm
from lrn.study import Above, Below, Cell, Control, Equivalence, Findings, Regime, Study, Superiority, Trend
from lrn.study.context import Context
from lrn.study.controls import equal_budgets
from lrn.study.select import Choice, interior_choice, select
from lrn.table import Table

METHODS, HOME = ("MAML", "pooled", "scratch"), "MAML trained at 1"
LARGE, NONE = 0.25, 0.05  # relative gains
GAIN, BLIND, LEAD, LOSS = "relative gain", "relative gain, all chosen at 0", "lead at home", "loss"
BEFORE, MISLED = f"{LOSS} before adaptation", f"{LOSS} by a wrong support set"


@dataclass(frozen=True)
class Config:
    """Settings.

    training_steps: of MAML; a multiple of 3, for pooled to have equal compute. tasks: a step. rate: of Adam
    for MAML, the highest for pooled. steps: of adaptation, the most. validation, tests: tasks a seed.
    """

    training_steps: int = 240
    tasks: int = 10
    rate: float = 1e-2
    steps: int = 20
    validation: int = 30
    tests: int = 100

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "training_steps", "tasks", "steps")
        check.counts(self, "validation", "tests", low=2)
        check.positive("rate", self.rate)


def at(name: str, distance: float, method: str = "") -> str:
    """The name of an arm: a method at a distance on a dial, or what concerns several."""
    return f"{name} {distance:g}" + (f": {method}" if method else "")


def trainings(name: str, config: Config, method: str, distance: float = 0.0) -> dict[str, Arm]:
    """Three starts of a method, trained at a distance on a dial; a family's dials share those at 0."""
    scales, place = (0.1, 0.3, 1.0), at(name, distance) if distance else DIALS[name]
    outer, inner = (
        tuple(s * config.rate for s in scales),
        distances.dial_of(name, config.steps).menu.rates[1:-1],
    )
    starts = {"MAML": inner, "pooled": outer, "scratch": scales}[method]
    return {f"{place}: {method}, start {s:.2g}": Arm(distance, s) for s in starts}


def regimes(config: Config) -> Sequence[Regime]:
    """Each dial: MAML has an advantage, it falls with the distance, and is gone at the end."""
    return [_regime(name) for name in DIALS]


def _regime(name: str) -> Regime:
    cells = tuple(Cell(at(name, d), GAIN) for d in PLACES)
    small = "MAML saves less than a twentieth of the loss at"
    some = f"{DIALS[name]}: at distance 0 MAML saves over a twentieth of the loss."
    large, falls = f"{DIALS[name]}: at distance 0 it saves over a quarter.", f"{name}: the gain falls."
    ends = [
        Below(statement=f"{name}: {small} {d:g}.", key=f"{name}, {d:g}", cell=cell, bound=NONE)
        for d, cell in zip(PLACES[1:], cells[1:])
    ]
    blind = Below(statement=f"{name}, all chosen at 0: {small} 1.", cell=Cell(at(name, 1), BLIND), bound=NONE)
    return Regime(
        name=name,
        gate=Above(statement=some, cell=cells[0], bound=NONE),
        primary=(
            Above(statement=large, key=f"{name}, 0", cell=cells[0], bound=LARGE),
            Trend(statement=falls, over=cells, levels=PLACES, direction="decreasing"),
            ends[-1],
        ),
        secondary=(*ends[:-1], blind),
    )


def controls(config: Config) -> Sequence[Control]:
    """Tasks can be solved and meta-learned at both ends, adaptation uses the support set, all are alike."""
    checks: list[Any] = []
    for name in DIALS:
        for d in (0.0, 1.0):
            best, known = (Cell(at(name, d, who), LOSS) for who in (HOME if d else "MAML", "told"))
            said = f"{at(name, d)}: who is told the task loses less than MAML that is trained there."
            checks.append(Superiority(statement=said, better=best, worse=known))
            said = f"{at(name, d)}: MAML that is trained there is not a tenth worse than the other."
            checks.append(Above(statement=said, cell=Cell(at(name, d), LEAD), bound=-0.1))
        said = f"{at(name, 1)}: MAML that is trained there saves over a quarter."
        checks.append(Above(statement=said, cell=Cell(at(name, 1, HOME), GAIN), bound=LARGE))
        misled, before = (Cell(at(name, 0, "MAML"), m) for m in (MISLED, BEFORE))
        said = f"{at(name, 0)}: a wrong support set is worse for MAML than none."
        checks.append(Superiority(statement=said, better=misled, worse=before))
    for name, who in ((PHASES, "scratch"), (TURNED, "scratch"), (TURNED, "told"), (CENTERS, "told")):
        one, other = (Cell(at(name, d, who), LOSS) for d in (0, 1))
        said = f"{name}: {who}, as hard at both ends, within .2."
        checks.append(Equivalence(statement=said, one=one, other=other, margin=0.2))
    return [*map(Control, checks), *_alike(config)]


def _alike(config: Config) -> list[Control]:
    """Equal compute for all trainings, equal candidates for all methods, choices inside of their menus."""
    found = []
    for name in DIALS:
        home = trainings(name, config, "MAML", 1.0)
        arms = [*home, *(a for m in COSTS[SINE] for a in trainings(name, config, m))]
        chosen = [at(name, d, m) for d in PLACES for m in (*METHODS, HOME)]
        found += [equal_budgets("gradients", arms), equal_budgets("candidates", chosen)]
        found += [interior_choice(arm) for arm in chosen]
    return found


def run(config: Config, context: Context) -> None:
    """Train, choose on validation tasks, judge on others."""
    first = {family: next(n for n, f in DIALS.items() if f == family) for family in EXAMPLES}
    near = {f: {m: trained(config, context, n, m) for m in METHODS} for f, n in first.items()}
    for name, family in DIALS.items():
        starts = {**near[family], HOME: trained(config, context, name, "MAML", 1.0)}
        seeds, dial = np.asarray(context.seeds, np.uint32), distances.dial_of(name, config.steps)
        each = (seeds, jax.tree.map(lambda x: np.repeat(x[:, None], len(PLACES), 1), starts))
        losses = context.per_seed(f"validation, {name}", partial(dial.validated, config.validation), each)
        menus = [{m: np.moveaxis(losses[m][:, i], 0, -1) for m in starts} for i in range(len(PLACES))]
        choices = [select(menu, "lower") for menu in menus]
        for i, d in enumerate(PLACES):
            for m in starts:
                context.chosen(at(name, d, m), choices[i][m], menus[i][m][..., 0].size)
        for what, used in ((GAIN, choices), (BLIND, [choices[0]] * len(PLACES))):
            places = {m: np.array([choice[m].place for choice in used]) for m in starts}
            judged = partial(dial.judged, config.tests)
            found = context.per_seed(f"test, {name}, {what}", judged, each, places)
            for i, d in enumerate(PLACES):
                _record(context, name, d, what, used[i], {k: x[:, i] for k, x in found.items()})


def trained(config: Config, context: Context, name: str, method: str, distance: float = 0.0) -> Any:
    """Parameters to adapt from, leaves [seeds, starts, ...]."""
    arms, costs = trainings(name, config, method, distance), COSTS[DIALS[name]]
    cost = costs.get(method, 0)
    steps = config.training_steps * costs["MAML"] // cost if cost else 1
    label = f"{method}, {at(name, distance) if distance else DIALS[name]}"
    make = partial(distances.learner, name, config.tasks, config.rate, method)
    fit = context.fit(make, arms, name=label, steps=steps)
    for arm in arms:
        context.given(arm, {"gradients": steps * config.tasks * cost})
    return jax.tree.map(lambda *x: np.stack(x, 1), *(fit.arm(arm).meta for arm in arms))


def _record(
    context: Context, name: str, d: float, what: str, choice: dict[str, Choice], found: dict[str, np.ndarray]
) -> None:
    """Losses and gains at one distance; the better baseline is that of the validation tasks."""
    ours, home = (found[f"{m}: {LOSS}"] for m in ("MAML", HOME))
    best = found[f"{min(METHODS[1:], key=lambda m: choice[m].score)}: {LOSS}"]
    context.record(at(name, d), what, (best - ours) / best)
    if what == GAIN:
        context.record(at(name, d, HOME), GAIN, (best - home) / best)
        lead = (ours - home) / ours if d else (home - ours) / home
        context.record(at(name, d), LEAD, lead)
        for metric, values in found.items():
            who, kind = metric.split(": ")
            context.record(at(name, d, who), kind, values)


def figure(table: Table, config: Config) -> Figure:
    """Along each dial the loss of the methods, and MAML's gain with a point for each seed."""
    fig, axes = figures.subplots(2, 4, width=10.4, height=6.0, sharex=True)
    for i, (name, (above, below)) in enumerate(zip(DIALS, axes.T)):
        shown = {m: np.array([table.final(at(name, d, m), LOSS) for d in PLACES]).T for m in (*METHODS, HOME)}
        figures.curves(above, PLACES, shown, title=name, legend=i == 0, xlabel="", ylabel="" if i else "loss")
        gains = np.array([table.final(at(name, d), GAIN) for d in PLACES])
        below.axhspan(-1e3, NONE, color="gray", alpha=0.2, linewidth=0)
        below.axhline(LARGE, color="gray", linewidth=1, linestyle="--")
        below.plot(PLACES, gains, ".", color="gray", alpha=0.6, markersize=4)
        figures.curves(below, PLACES, {"MAML": gains.T}, legend=False, xlabel="distance")
        below.set_ylim(max(-1.0, gains.min() - 0.1), 1.0)
        below.set_ylabel("" if i else "part of the loss that MAML saves")
    return fig


def answer(findings: Findings) -> str:
    """What MAML saves at both ends of each dial."""
    ends = [(n, *(findings[f"{n}, {d}"].said(100) for d in (0, 1))) for n in DIALS]
    said = [f"{name}: {near} and {far}" for name, near, far in ends]
    return (
        "MAML saves, in percent of the loss of the best method without meta-learning, where test tasks are "
        f"drawn as those of the training and at distance 1: {'; '.join(said)}."
    )


STUDY = Study(
    title="How far from its training tasks does MAML's advantage reach?",
    claim="MAML excels where tasks share structure, and fails where training and test tasks diverge.",
    claim_id="O7",
    section="Observations",
    regime="Sinusoids of 10 points, two layers of 40; Gaussian classes of one example, one layer of 64.",
    presets={
        "smoke": Config(training_steps=12, tasks=2, steps=3, validation=4, tests=8),
        "quick": Config(),
        "full": Config(training_steps=2100, steps=60, validation=60, tests=400),
        "paper": Config(training_steps=30_000, tasks=25, rate=1e-3, steps=60, validation=200, tests=600),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={
        **dict.fromkeys((LOSS, BEFORE, MISLED), (0.0, distances.CAP)),
        **dict.fromkeys((GAIN, BLIND), (-1e3, 1.0)),
    },
    seeds={"smoke": 2, "quick": 10, "full": 10},
)

if __name__ == "__main__":
    main_study(__file__)
