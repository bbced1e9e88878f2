"""How far from its training tasks does MAML's advantage reach? (O7)

Claim. MAML excels where tasks share structure, and fails where training and test tasks diverge.

Design. MAML, a network trained on all tasks pooled, and a fresh network adapt to tasks at a distance from
those of the training: from 0, the same distribution, to 1, a disjoint one. Each of two families has two
dials. One moves what differs between the training's tasks beyond its range, the other what all of them share.
- Sinusoids, 10 points. Phases come from [0, pi / 2], and this range moves by up to pi, where every target has
  the other sign. The frequency is that of the training, up to twice that.
- Five Gaussian classes in 16 dimensions, one example of each. Two directions tell classes apart. Along them
  the mean of the centers moves by up to four deviations. Or these two directions turn, by up to 90 degrees.
At a distance tasks still share as much with each other: MAML that is trained at distance 1 must save over a
tenth there (a control), so that what fails, if it fails, is the transfer, and not meta-learning.

Readings. The advantage is the part of the loss that MAML saves, of the better method without meta-learning.
*Excels*: it is over a quarter at distance 0. *Fails*: it falls with the distance, and at 1 it is below a
twentieth. The claim is false in a regime where MAML has an advantage and keeps it. All methods may tune at
each distance, on validation tasks from there: nobody then fails by a wrong rate alone. Secondary is the
reading in which nobody knows of the shift: all is chosen at distance 0.

Arms. Each method has three starts (inner rates, rates of Adam, scales of the first weights) and from each
the same two heads (its own, zeros), five or six rates and any number of steps. The mean loss on validation
tasks decides on these, and on the better baseline. MAML and pooled compute equally many gradients of an
example, so pooled takes 4/3 (classes) or 2 (sinusoids) times as many steps. Of a task's loss no more than 100
is counted. On sinusoids MAML and pooled often choose the most steps, which favors the slower one.

Set beforehand. Margins are those of the study of shared structure (I9); the dials end where the distributions
are disjoint, and frequencies as before. Not blind: an earlier version, on seeds 0 to 9 and 1000 to 1003, kept
its advantage as phases moved and lost it at 1.75 times the frequency. A pilot of this version, on seeds 1000
to 1009 (``quick``), had an outcome in all four regimes, with effects many deviations from the margins. After
it menus were moved, since many choices lay at their edges, and the control's tenth was a quarter.

    python -m experiments.meta.task_similarity --preset quick     # a minute; full: 305 s of processor time
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
from experiments.meta._distances import DIALS, METHODS, PLACES, SPOTS, at, home, spots_of, trainings, who
from lrn import check, figures
from lrn.cli import main_study
from lrn.study import Above, Below, Cell, Control, Equivalence, Findings, Regime, Study, Superiority, Trend
from lrn.study.context import Context
from lrn.study.controls import equal_budgets
from lrn.study.select import interior_choice, select
from lrn.table import Table

LARGE, SOME, NONE = 0.25, 0.1, 0.05  # relative gains
GAIN, BLIND, LEAD, LOSS = "relative gain", "relative gain, all chosen at 0", "lead at home", "loss"
BEFORE, MISLED = f"{LOSS} before adaptation", f"{LOSS} by a wrong support set"


@dataclass(frozen=True)
class Config:
    """Settings.

    training_steps: of MAML; a multiple of 3, for pooled to have equal compute. tasks: a step. rate: of Adam
    for MAML, times a factor for pooled. steps: of adaptation, the most. validation, tests: tasks a seed.
    families: sinusoids, classes, or both.
    """

    training_steps: int = 240
    tasks: int = 10
    rate: float = 1e-2
    steps: int = 20
    validation: int = 30
    tests: int = 100
    families: tuple[str, ...] = (distances.SINE, distances.CLASSES)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "training_steps", "tasks", "steps")
        check.counts(self, "validation", "tests", low=2)
        check.positive("rate", self.rate)


def regimes(config: Config) -> Sequence[Regime]:
    """Each dial: MAML has an advantage, it falls with the distance, and is gone at the end."""
    return [_regime(name) for family in config.families for name in DIALS[family]]


def _regime(name: str) -> Regime:
    cells = tuple(Cell(at(name, d), GAIN) for d in PLACES)
    small = "MAML saves less than a twentieth of the loss at"
    some = f"{cells[0].arm}: MAML saves over a twentieth of the loss."
    large, falls = f"{cells[0].arm}: it saves over a quarter.", f"{name}: the gain falls with the distance."
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
    for family in config.families:
        moves, changes = DIALS[family]
        misled, before = (Cell(at(moves, 0, "MAML"), m) for m in (MISLED, BEFORE))
        said = f"{misled.arm}: a wrong support set is worse than none."
        checks.append(Superiority(statement=said, better=misled, worse=before))
        for name, d, best in ((moves, 0, "MAML"), (moves, 1, home(moves)), (changes, 1, home(changes))):
            ours, known = (Cell(at(name, d, m), LOSS) for m in (best, "told"))
            said = f"{ours.arm}: who is told the task loses less."
            checks.append(Superiority(statement=said, better=ours, worse=known))
        for name in (moves, changes):
            own = Cell(at(name, 1, home(name)), GAIN)
            checks.append(Above(statement=f"{own.arm}: it saves over a tenth.", cell=own, bound=SOME))
            for d in (0, 1):
                said = f"{name}: at {d}, MAML that is trained there is not a tenth worse than the other."
                checks.append(Above(statement=said, cell=Cell(name, f"{LEAD} {d}"), bound=-0.1))
            if name in (distances.PHASES, distances.TURNED):
                one, other = (Cell(at(name, d, "scratch"), LOSS) for d in (0, 1))
                said = f"{name}: for a fresh network tasks are as hard at both ends, within .2."
                checks.append(Equivalence(statement=said, one=one, other=other, margin=0.2))
    return [*map(Control, checks), *_alike(config)]


def _alike(config: Config) -> list[Control]:
    """Equal compute for all trainings, equal candidates for all methods, choices inside of their menus."""
    found = []
    for family in config.families:
        trained = [a for m in who(family) if m != "scratch" for a in trainings(family, m)]
        spots = {at(name, d) for name in DIALS[family] for d in PLACES}
        chosen = [f"{spot}: {m}" for spot in sorted(spots) for m in who(family)]
        found += [equal_budgets("gradients", trained), equal_budgets("candidates", chosen)]
        found += [interior_choice(arm) for arm in chosen]
    return found


def run(config: Config, context: Context) -> None:
    """Train, choose on validation tasks, judge on others."""
    seeds = np.asarray(context.seeds, np.uint32)
    for family in config.families:
        starts = {m: x for like in METHODS for m, x in _trained(config, context, family, like).items()}
        dial, ends = distances.dial_of(family, config.steps), [spots_of(name)[-1] for name in DIALS[family]]
        validated = partial(dial.validated, config.validation)
        losses = context.per_seed(f"validation on {family}", validated, (seeds, _spread(starts, len(SPOTS))))
        menus = [{m: np.moveaxis(losses[m][:, i], 0, -1) for m in starts} for i in range(len(SPOTS))]
        choices = [select(menu, "lower") for menu in menus]
        # The two ends are judged twice, the second time by the settings that are chosen at distance 0.
        used, spots = choices + choices[:1] * len(ends), (*SPOTS, *(SPOTS[i] for i in ends))
        places = {m: np.array([choice[m].place for choice in used]) for m in starts}
        judged = partial(distances.dial_of(family, config.steps, spots).judged, config.tests)
        found = context.per_seed(f"test on {family}", judged, (seeds, _spread(starts, len(spots))), places)
        best = [min(METHODS[1:], key=lambda m, c=c: c[m].score) for c in used]
        for name in DIALS[family]:
            for i, d in zip(spots_of(name), PLACES):
                if d or name == DIALS[family][0]:
                    _record(context, name, d, best[i], {k: x[:, i] for k, x in found.items()})
                    for m in starts:
                        context.chosen(at(name, d, m), choices[i][m], menus[i][m][..., 0].size)
            _ends(context, name, len(SPOTS) + DIALS[family].index(name), best, found)


def _spread(starts: Any, spots: int) -> Any:
    """The same starts, leaves [seeds, starts, ...], for every spot: [seeds, spots, starts, ...]."""
    return jax.tree.map(lambda x: np.repeat(x[:, None], spots, 1), starts)


def _trained(config: Config, context: Context, family: str, method: str) -> dict[str, Any]:
    """By method (MAML also trained at the ends), parameters to adapt from, leaves [seeds, starts, ...]."""
    alike = [m for m in who(family) if m.startswith(method)]
    arms = {m: trainings(family, m) for m in alike}
    cost = distances.COSTS[family].get(method, 0)
    steps = config.training_steps * distances.COSTS[family]["MAML"] // cost if cost else 1
    make = partial(distances.learner, family, config.tasks, config.rate, method)
    every = {name: arm for each in arms.values() for name, arm in each.items()}
    fit = context.fit(make, every, name=f"{method} on {family}", steps=steps)
    for name in every:
        context.given(name, {"gradients": steps * config.tasks * cost})
    states = {m: [fit.arm(name).meta for name in each] for m, each in arms.items()}
    return {m: jax.tree.map(lambda *x: np.stack(x, 1), *each) for m, each in states.items()}


def _record(context: Context, name: str, d: float, best: str, found: dict[str, np.ndarray]) -> None:
    """Losses and MAML's gain at one distance; ``best`` is the baseline that validation chose."""
    for metric, values in found.items():
        method, kind = metric.split(": ")
        context.record(at(name, d, method), kind, values)
    ours, other = (found[f"{m}: {LOSS}"] for m in ("MAML", best))
    context.record(at(name, d), GAIN, (other - ours) / other)


def _ends(context: Context, name: str, blind: int, best: list[str], found: dict[str, np.ndarray]) -> None:
    """What concerns both ends of a dial; ``blind`` is where all was chosen at distance 0."""
    ours, own = (found[f"{m}: {LOSS}"] for m in ("MAML", home(name)))
    first, *_, last = spots_of(name)
    other, blindly = (found[f"{best[i]}: {LOSS}"][:, i] for i in (last, blind))
    context.record(at(name, 1, home(name)), GAIN, (other - own[:, last]) / other)
    context.record(at(name, 1), BLIND, (blindly - ours[:, blind]) / blindly)
    context.record(name, f"{LEAD} 0", 1 - ours[:, first] / own[:, first])
    context.record(name, f"{LEAD} 1", 1 - own[:, last] / ours[:, last])


def figure(table: Table, config: Config) -> Figure:
    """Along each dial the loss of the methods, and MAML's gain with a point for each seed."""
    names = [name for family in config.families for name in DIALS[family]]
    fig, axes = figures.subplots(2, len(names), width=2.7 * len(names), height=6.0, sharex=True)
    for i, (name, (above, below)) in enumerate(zip(names, axes.T)):
        shown = {m: np.array([table.final(at(name, d, m), LOSS) for d in PLACES]).T for m in METHODS}
        figures.curves(above, PLACES, shown, title=name, legend=False, xlabel="", ylabel="" if i else LOSS)
        own, look = table.final(at(name, 1, home(name)), LOSS), figures.arm_style(above, "home")
        above.plot(np.ones(len(own)), own, "D", color=look.color, markersize=3, label="MAML trained at 1")
        gains = np.array([table.final(at(name, d), GAIN) for d in PLACES])
        below.axhspan(-1e3, NONE, color="gray", alpha=0.2, linewidth=0)
        below.axhline(LARGE, color="gray", linewidth=1, linestyle="--")
        below.plot(PLACES, gains, ".", color="gray", alpha=0.6, markersize=4)
        figures.curves(below, PLACES, {"MAML": gains.T}, legend=False, xlabel="distance")
        below.set_ylim(-0.4, 1.0)
        below.set_ylabel("" if i else "part of the loss that MAML saves")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return fig


def answer(findings: Findings) -> str:
    """What MAML saves where nothing has moved, and on which dials this is lost or kept at the end."""
    near = " and ".join(f"{findings[f'{both[0]}, 0'].said(100)} on {f}" for f, both in DIALS.items())
    ends = {name: findings[f"{name}, 1"] for both in DIALS.values() for name in both}
    said = []
    for outcome, word in (("holds", "lost"), ("fails", "kept"), ("open", "open")):
        those = [f"{name} ({e.said(100)})" for name, e in ends.items() if e.outcome == outcome]
        said += [f"{word} where {' and '.join(those)}"] if those else []
    return (
        "Of the loss of the best method without meta-learning MAML saves, in percent, "
        f"{near}, where test tasks are drawn as those of the training. "
        f"At the end of a dial this advantage is {', '.join(said)}."
    )


STUDY = Study(
    title="How far from its training tasks does MAML's advantage reach?",
    claim="MAML excels where tasks share structure, and fails where training and test tasks diverge.",
    claim_id="O7",
    section="Observations",
    regime="Sinusoids of 10 points, two layers of 40; Gaussian classes of one example, one layer of 64.",
    presets={
        "smoke": Config(
            training_steps=12, tasks=2, steps=3, validation=4, tests=8, families=(distances.CLASSES,)
        ),
        "quick": Config(),
        "full": Config(training_steps=600, steps=40, validation=40, tests=200),
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
