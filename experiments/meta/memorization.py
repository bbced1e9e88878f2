"""Is few-shot success memorization, and does it take few tasks? (O8)

Claim. Few-shot success is often memorization: the network knows its tasks by heart, and learns little from
the examples that it is given.

Design. MAML, with one inner step, is trained on tasks from a finite pool and tested on tasks of the pool and
on new tasks. Either the inputs name the task, and then it can be memorized, or they do not, all else equal.
- Waves: sinusoids (Finn et al. 2017) of 5 points, from a pool of 10, 100 or 1000. Eight random numbers beside
  x are those of the task, drawn once, or they are drawn anew in each episode.
- Characters of Omniglot: five, with one drawing of each, out of 25, 200 or 1100. The label of a character is
  its residue modulo 5, always the same, or labels are shuffled in each episode, as is usual.
Where inputs name no task, tasks contradict each other and cannot be memorized (Yin et al. 2020): the control
without treatment. *Success* is 0 for a constant or chance and 1 for no error: of the variance over all tasks,
or of the accuracy beyond chance. A wave's error counts at most four variances.

Readings. *Is memorization*: over half of the success on tasks of the pool is there before any example is
seen, and over half of the success on new tasks is lost, against the arm whose inputs name no task. A network
that knows its tasks and still adapts to new ones has not put memory in the place of learning. *Often*: with
the fewest and with the most tasks, in both families; these four are the regimes. So the claim is true if
memory prevails in all, false if in none, and mixed if the number of tasks decides. Where nothing could be
lost (the other arm's success on new tasks is below .2) the question does not arise. Another reading, success
that does not carry over to new tasks although inputs name none, is secondary; so are the pool in between, a
quarter and half of the training (its length is a dial), and the cure: MR-MAML (Yin et al. 2020).

Arms. Each has four candidates (MAML four inner rates, MR-MAML four weights of its penalty) and 1 to 10 steps
of adaptation; the mean success on new tasks for validation decides, so all choose against memory.

Set beforehand. Halves, since "is memorization" says that memory prevails. Not blind: an earlier version on
waves, seeds 0 to 9 and 100 to 109, saw 10 tasks memorized, 100 in part, 2000 not. A pilot of this one, on
seeds 1000 to 1007, with 400 and 200 steps, had few characters known at once and little lost on new ones, and
of many none known; on waves it had not learned enough. After it came higher inner rates for characters, and
more steps.

    python -m experiments.meta.memorization --preset quick     # a minute on two cores
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.meta import _pools as its
from experiments.meta._memorized import CHARACTERS, WAVES, one_function, place_of
from experiments.meta._pools import LOST, NAMED, NEW, ONCE, PART, POINTS, UNNAMED, arm, candidates
from lrn import check, figures
from lrn.cli import main_study
from lrn.study import Above, Below, Cell, Control, Equivalence, Findings, Regime, Study, Superiority
from lrn.study.context import Context
from lrn.study.controls import equal_budgets, no_overlap
from lrn.study.select import interior_choice, select
from lrn.table import Table

MOST, HALF, SOME = "most of one function", 0.5, 0.2


@dataclass(frozen=True)
class Config:
    """Settings.

    waves, characters: sizes of the pools, three each, or none to leave a family out. wave_steps,
    character_steps: of the training, in multiples of 4. tasks: a step. measured: tasks of each kind, a seed.
    real: Omniglot in place of letters. side: of a picture, in pixels.
    """

    waves: tuple[int, ...] = (10, 100, 1000)
    characters: tuple[int, ...] = (25, 200, 1100)
    wave_steps: int = 1600
    character_steps: int = 600
    tasks: int = 4
    measured: int = 40
    real: bool = True
    side: int = 14

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "tasks", "side")
        check.counts(self, "measured", low=2)
        check.counts(self, "wave_steps", "character_steps", low=POINTS)
        for name, pools in self.pools.items():
            if len(pools) != 3 or list(pools) != sorted(set(pools)) or pools[0] < 1:
                raise check.InputError(f"{name} must be three increasing sizes of a pool, got {list(pools)}.")

    @property
    def pools(self) -> dict[str, tuple[int, ...]]:
        """The pools of each family."""
        return {k: v for k, v in {WAVES: self.waves, CHARACTERS: self.characters}.items() if v}

    @property
    def steps(self) -> dict[str, int]:
        """The steps of the training of each family."""
        steps = {WAVES: self.wave_steps, CHARACTERS: self.character_steps}
        return {family: n // POINTS * POINTS for family, n in steps.items()}


def regimes(config: Config) -> Sequence[Regime]:
    """The fewest and the most tasks of each family."""
    return [_regime(config, family, size) for family in config.pools for size in ("few", "many")]


def _regime(config: Config, family: str, size: str) -> Regime:
    few, middle, many = config.pools[family]
    pool, length = (few if size == "few" else many), config.steps[family]
    named, unnamed = (arm(family, pool, kind) for kind in (NAMED, UNNAMED))
    said = f"{unnamed}: new tasks are solved, a success over .2."
    others: list[Any] = []
    for n in (length // 4, length // 2):
        others += _memorized(named, f" after {n} steps", n)
    if size == "few":
        cured = Cell(arm(family, pool, its.CURED), NEW)
        helps = f"{cured.arm}: it has a tenth more success on new tasks than MAML."
        others += _memorized(arm(family, middle, NAMED), "")
        others.append(Superiority(statement=helps, better=cured, worse=Cell(named, NEW), margin=0.1))
    away = f"{unnamed}: over half of the success does not carry over to new tasks."
    others.append(
        Above(statement=away, key=f"{family}, {size}: away", cell=Cell(unnamed, its.AWAY), bound=HALF)
    )
    return Regime(
        name=f"{family}, {size} tasks",
        gate=Above(statement=said, cell=Cell(unnamed, NEW), bound=SOME),
        primary=tuple(_memorized(named, "", key=f"{family}, {size}")),
        secondary=tuple(others),
    )


def _memorized(named: str, when: str, step: int | None = None, key: str = "") -> list[Above]:
    known = f"{named}{when}: over half of the success is there before any example."
    lost = f"{named}{when}: over half of the success on new tasks is lost."
    cells, keys = [Cell(named, m, step) for m in (PART, LOST)], [key and f"{key}: {m}" for m in (PART, LOST)]
    return [
        Above(statement=said, key=k, cell=cell, bound=HALF)
        for said, cell, k in zip((known, lost), cells, keys)
    ]


def controls(config: Config) -> Sequence[Control]:
    """Inputs name old tasks only where they are meant to, adaptation uses the support set, all are alike."""
    checks: list[Any] = []
    for family, (few, *_, many) in config.pools.items():
        blind, best = arm(family, few, UNNAMED), arm(family, many, UNNAMED)
        top = 0.4 if family == WAVES else 0.1  # one function has .3 on all waves
        said = f"{blind}: at once it knows no more than "
        if family == WAVES:
            said, one = f"{said}one function can, within .1.", Cell(blind, MOST)
            checks.append(Superiority(statement=said, better=one, worse=Cell(blind, ONCE), margin=-0.1))
        else:
            said = f"{said}chance, within .05."
            checks.append(Equivalence(statement=said, one=Cell(blind, ONCE), other=0.0, margin=0.05))
        for pool in (few, many):
            cell = Cell(arm(family, pool, NAMED), its.NEW_ONCE)
            said = f"{cell.arm}: of new tasks it knows less than {top} before any example."
            checks.append(Below(statement=said, cell=cell, bound=top))
        right, wrong, fresh = (Cell(best, m) for m in (NEW, its.MISLED, its.FRESH))
        said = f"{best}: a wrong support set costs over .2."
        checks.append(Superiority(statement=said, better=right, worse=wrong, margin=SOME))
        said = f"{best}: better on new tasks than untrained."
        checks.append(Superiority(statement=said, better=right, worse=fresh))
    apart = [no_overlap(CHARACTERS)] if CHARACTERS in config.pools else []
    return [*map(Control, checks), *_alike(config), *apart]


def _alike(config: Config) -> list[Control]:
    """Equal steps, tasks and candidates for all arms of a family, choices inside of their menus."""
    found = []
    for family, pools in config.pools.items():
        every = its.arms(pools)
        trained = [name for a in every for name in candidates(family, pools, *a)]
        chosen = [arm(family, *a) for a in every]
        found += [equal_budgets("steps", trained), equal_budgets("samples", trained)]
        found += [equal_budgets("candidates", chosen), *map(interior_choice, chosen)]
    return found


def run(config: Config, context: Context) -> None:
    """Train both families, and record what is known at once and what is lost on new tasks."""
    for family, pools in config.pools.items():
        place, steps = place_of(family, context.seeds, config.real, config.side), config.steps[family]
        found: its.Scores = {}
        for cured in (False, True):
            found |= its.trained(context, place, pools, cured, steps, config.tasks, config.measured)
        for i in range(POINTS + 1):
            now = {a: {k: x[..., i] for k, x in scores.items()} for a, scores in found.items()}
            _record(context, family, i, steps * i // POINTS, now)
        if family == WAVES:
            context.record(arm(family, pools[0], UNNAMED), MOST, one_function(context.seeds, pools[0]))
        else:
            pictures, (first, checked, _) = place.shared["images"][:, 0] / np.float32(255), place.parts
            context.judged_on(CHARACTERS, pictures[first + checked :], trained_on=pictures[:first])


def _record(context: Context, family: str, point: int, step: int, found: its.Scores) -> None:
    """Record every arm after so many quarters of the training, by the candidate that validation chose."""
    choices = select({arm(family, *a): x["validation"][:, 1:] for a, x in found.items()}, "higher")
    values = {a: its.measures(x, choices[arm(family, *a)].place) for a, x in found.items()}
    for (pool, kind), own in values.items():
        name, other = arm(family, pool, kind), np.maximum(values[pool, UNNAMED][NEW], its.LEAST)
        if point == 0:
            context.record(name, its.FRESH, own[NEW])
            continue
        context.record(name, {**own, LOST: 1 - own[NEW] / other}, step=step)
        if point == POINTS:
            context.chosen(name, choices[name], found[pool, kind]["validation"][:, 1:, 0].size)


def figure(table: Table, config: Config) -> Figure:
    """What is known at once and what is left on new tasks, by pool; and what is known along the training."""
    height = 3.4 * len(config.pools)
    fig, axes = figures.subplots(len(config.pools), 3, width=10.8, height=height, squeeze=False)
    for row, (family, pools) in enumerate(config.pools.items()):
        known, new, along = axes[row]
        for ax, metric in ((known, PART), (new, NEW)):
            cells = {k: [table.final(arm(family, p, k), metric) for p in pools] for k in (NAMED, UNNAMED)}
            shown = {kind: np.array(values).T for kind, values in cells.items()}
            figures.curves(ax, pools, shown, title=f"{family}: {metric}", legend=not row and ax is known)
            ax.set(xscale="log", xlabel="tasks in the pool" if family == WAVES else "characters in the pool")
            ax.set_xticks(pools, [str(p) for p in pools])
            ax.minorticks_off()
        cured = table.final(arm(family, pools[0], its.CURED), NEW)
        color = figures.arm_style(new, its.CURED).color
        new.plot(np.full(len(cured), pools[0]), cured, "D", color=color, markersize=4, label=its.CURED)
        if not row:
            new.legend(handles=new.lines[-1:], loc="lower right")
        for p, dash in zip(pools, ("-", "--", ":")):
            steps, values = table.curve(arm(family, p, NAMED), PART)
            look = {"color": figures.arm_style(along, NAMED).color, "linestyle": dash}
            along.plot(steps, values.T, linewidth=0.5, alpha=0.4, **look)
            along.plot(steps, values.mean(0), label=f"{p}", **look)
        along.set(title=f"{family}: the same, named", xlabel="steps of training")
        along.legend(title="pool", loc="lower right")
        for ax in (known, along):
            ax.axhline(HALF, color="gray", linewidth=1, linestyle="--")
            ax.set_ylim(-0.5, 1.5)
    return fig


def answer(findings: Findings) -> str:
    """What is known at once and what is lost, with few and with many tasks."""
    said = []
    for family in (WAVES, CHARACTERS):
        for size in ("few", "many"):
            known, lost = (findings[f"{family}, {size}: {m}"].said(100) for m in (PART, LOST))
            said.append(f"{family}, {size} tasks: {known} and {lost}")
    return (
        "Where inputs name the task, in percent, so much of the success on trained tasks is there before any "
        f"example, and so much of the success on new tasks is lost: {'; '.join(said)}."
    )


STUDY = Study(
    title="Is few-shot success memorization?",
    claim="Few-shot success is often memorization.",
    claim_id="O8",
    section="Observations",
    regime="Sinusoids of 5 points, two layers of 40; Omniglot at 14x14, 5 ways, one shot, one layer of 64.",
    presets={
        "smoke": Config((), (5, 10, 25), 8, 8, 2, 4, real=False, side=7),
        "quick": Config(),
        "full": Config(wave_steps=4000, character_steps=2000, measured=100),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges=dict.fromkeys((its.OWN, ONCE, NEW, its.NEW_ONCE, its.MISLED, its.FRESH, MOST), (-3.0, 1.0)),
    seeds={"smoke": 2, "quick": 8, "full": 10},
)

if __name__ == "__main__":
    main_study(__file__)
