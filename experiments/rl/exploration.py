"""Where random tries succeed equally often, is epsilon-greedy better off with discrete actions? (O6)

Claim. Epsilon-greedy exploration works for discrete actions and fails in continuous control.

Reading. To epsilon-greedy actions are names: five thrusts of which two are right are the same task as five
buttons of which two are right. So the claim can only be about what a grid over something continuous brings:
fewer right actions, more actions, actions that add up. Fewer right actions lower the chance of random tries,
and so does a deeper task with two actions. Hence the claim is read at equal chance. It is true where
epsilon-greedy solves over half of the runs with discrete actions, and over 25 points more than with a grid;
it is false where the grid loses less than that, or where discrete actions do not work either.

Design. In Ascent (`lrn.rl.exploration.ascent`) 11 right actions in a row reach the top. There are two
thrusts, a grid of four, or one of four in each of three engines. Half of the actions are right with each, so
chance, depth, costs and dynamics are equal. In the car (MountainCarContinuous) forces add up. There are three
forces, a grid of nine, or one of three in each of three engines. The draws of a finer grid cancel; a stronger
engine restores the chance but shortens the way (52, 37, 28 steps by search). This confound favors the grid.
All arms share one Q-learner, on a table or on tiles, and differ in exploration alone: none; epsilon-greedy,
constant or annealed; optimistic values; on grids pink noise. "Random play" is epsilon 1. Trainings on other
seeds choose each arm's setting out of three (in the car with each of two rates) by the share solved, then by
how early; there too "epsilon-greedy" is the better of its two arms, "another way" the best of the rest.
A run is solved when its greedy policy succeeds in each of the last three of thirty evaluations.

Regimes: Ascent and the car, each with a grid over one dimension and over three, where 29 random successes are
expected in the budget. Gate: without exploration under a quarter solves either task. Secondary: a tenth and
three tenths of the budget, hence of the chance; epsilon-greedy against random play; Ascent where half of full
thrust is needed, so that fewer actions of a grid are right (1/4, 5/32) at the same depth.

Not blind. Pilots on seeds 1000 to 1007 set the engines, the rates and the chance; at a quarter of it little
was solved. At this one epsilon-greedy solved 88, 100 and 100% in Ascent, where no other outcome was likely,
and 100, 100 and 38 to 75% in the car. ``quick`` takes a minute of one core, ``full`` six.

Controls. Random tries succeed equally often; another way solves over half; nothing is solved without
learning. Planted: where falling costs, values of zero are optimistic and no exploration must solve the task,
which shows that the gate would catch it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.rl import _worlds as worlds
from experiments.rl._worlds import ASCENTS, CARS, CHANCE, EPSILON, WORLDS, Arm
from lrn import check, figures, train
from lrn.cli import main_study
from lrn.rl.exploration.ascent import LEAST
from lrn.rl.exploration.explorer import Explorer
from lrn.study import Cell, Exact, Findings, Prediction, Regime, Share, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import Control, equal_budgets
from lrn.study.select import select
from lrn.table import Table

ANY, OTHER, NONE, RANDOM = "epsilon-greedy", "another way", "no exploration", "random play"
IDLE, HINT, ALWAYS = "no learning", "falls cost", {"epsilon": 1.0, "epsilon_end": 1.0}
FIXED = {NONE: {}, RANDOM: ALWAYS, IDLE: {**ALWAYS, "learning_rate": 0.0}, HINT: {}}
EVALUATIONS, READ, SUSTAINED, MARGIN = 30, (3, 9), 3, 0.25
SOLVED, RATIO = "solved", f"{CHANCE}, over those with discrete actions"
FORMS = ("one dimension", "three dimensions")


@dataclass(frozen=True)
class Config:
    """Settings.

    depth: of Ascent. steps: of the environment, in a training. selection: seeds that choose the settings.
    car: whether the car is driven too.
    """

    depth: int = 11
    steps: int = 120_000
    selection: int = 8
    car: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "depth", "steps", "selection")
        if self.steps % EVALUATIONS:
            raise check.InputError(f"steps must be a multiple of {EVALUATIONS}, got {self.steps}.")

    @property
    def tasks(self) -> dict[str, dict[str, Arm]]:
        """By world, its tasks by name: the one that is asked, and a grid's with fewer right actions."""
        found = {w: {w: Arm(self.depth)} for w in ASCENTS}
        found |= {w: found[w] | {few(w): Arm(self.depth, LEAST)} for w in ASCENTS if not WORLDS[w].discrete}
        return found | {w: {w: Arm(power=WORLDS[w].power)} for w in (CARS if self.car else ())}

    @property
    def pairs(self) -> dict[str, tuple[str, str]]:
        """By regime, a task with discrete actions and one with a grid."""
        families = {"Ascent": ASCENTS, **({"the car": CARS} if self.car else {})}
        each = {family: [*named] for family, named in families.items()}
        return {
            f"{k}, {form}": (one, x) for k, (one, *grids) in each.items() for form, x in zip(FORMS, grids)
        }


def few(world: str) -> str:
    """The name of a grid's task with fewer right actions."""
    return f"{world}, fewer right"


def arm(task: str, method: str) -> str:
    """The name of an arm: a way of exploring a task."""
    return f"{task}: {method}"


def solves(task: str, side: Any, who: str = ANY, bound: float = 0.5, key: str = "") -> Share:
    """An arm solves a task in a share of the runs above or below a bound."""
    said = f"{arm(task, who)} solves {'over' if side == 'above' else 'under'} {bound:.0%} of the runs."
    return Share(statement=said, key=key, cell=Cell(arm(task, who), SOLVED), bound=bound, side=side)


def ahead(one: str, other: str, at: int | None = None, key: str = "") -> Superiority:
    """One arm solves more of the runs than another by the margin, by a step or in the end."""
    by = f" by step {at:,}" if at else ""
    said = f"{one} solves over {100 * MARGIN:.0f} points more of the runs than {other}{by}."
    better, worse = Cell(one, SOLVED, at), Cell(other, SOLVED, at)
    return Superiority(statement=said, key=key, better=better, worse=worse, margin=MARGIN)


def regimes(config: Config) -> Sequence[Regime]:
    """The claim at equal chance; what it says elsewhere is secondary."""
    found = []
    for name, (one, other) in config.pairs.items():
        works = solves(one, "above", key=f"{name}: discrete")
        lags = ahead(arm(one, ANY), arm(other, ANY), key=f"{name}: ahead")
        second: list[Prediction] = [solves(other, "below", key=f"{name}: grid")]
        second += [ahead(arm(one, ANY), arm(other, ANY), config.steps * i // EVALUATIONS) for i in READ]
        second += [ahead(arm(t, ANY), arm(t, RANDOM)) for t in (one, other)]
        if one in ASCENTS:
            second += [ahead(arm(one, ANY), arm(few(other), ANY))]
            second += [solves(few(other), "below", key=f"{name}: few")]
        gate = solves(name, "below", NONE, 0.25)
        found.append(Regime(name=name, gate=gate, primary=(works, lags), secondary=tuple(second)))
    return found


def controls(config: Config) -> Sequence[Control]:
    """What shows that a task, the learner, the gate or the match of chances is broken."""
    checks: list[Control] = []
    for world, tasks in config.tasks.items():
        for t in tasks:
            names = [arm(t, m) for m in worlds.menu(WORLDS[world])]
            checks += [equal_budgets(what, names) for what in ("steps", "candidates")]
            checks.append(Control(solves(t, "above", OTHER), "invalid" if t == world else "flag"))
            checks += [Control(solves(t, "above", HINT))] if t == world in ASCENTS else []
            said = f"Without learning {t} is never solved."
            checks.append(Control(Exact(statement=said, cell=Cell(arm(t, IDLE), SOLVED), value=0.0)))
    for _, other in config.pairs.values():
        said, cell = f"{other}: {RATIO}, are 1 within a quarter.", Cell(other, RATIO)
        checks.append(Control(Within(statement=said, cell=cell, low=0.75, high=1.25)))
    return checks


def run(config: Config, context: Context) -> None:
    """In each world choose every arm's setting on seeds of their own, train it, read what is solved when."""
    order, chance, alone = np.argsort(np.argsort(context.seeds)), {}, {}  # curves are sorted by seed
    for world, tasks in config.tasks.items():
        menu = worlds.menu(WORLDS[world])
        scores = context.once(f"{world}, choices", functools.partial(_tried, config, world, context.seeds))
        arms, ways = {}, {}
        for t, task in tasks.items():
            chosen = select({m: scores[arm(t, m)] for m in menu}, "higher")
            for m, choice in chosen.items():
                context.chosen(arm(t, m), choice, len(menu[m]))
            settings = {m: menu[m][choice.only] for m, choice in chosen.items()}
            settings |= {m: x for m, x in FIXED.items() if m != HINT or world in ASCENTS}
            arms |= {arm(t, m): _arm(world, task, setting, m) for m, setting in settings.items()}
            for way, of in ((ANY, EPSILON), (OTHER, [m for m in menu if m not in EPSILON])):
                ways[arm(t, way)] = arm(t, max(of, key=lambda m, c=chosen: c[m].score))
        chance |= worlds.chances(world, tasks, config.depth, context.seeds)
        curves = worlds.trained(context.fit, world, config.depth, arms, config.steps, EVALUATIONS)
        for name, source in ({a: a for a in arms} | ways).items():
            for i in range(SUSTAINED, EVALUATIONS + 1):
                window = curves[source][order, i - SUSTAINED + 1 : i + 1]
                context.record(name, SOLVED, window.min(1), config.steps * i // EVALUATIONS)
        alone |= {t: curves[arm(t, NONE)][order, -SUSTAINED:].min(1) for t in tasks}
    for t, values in chance.items():
        context.record(t, CHANCE, values)
    for name, (one, other) in config.pairs.items():
        context.record(arm(name, NONE), SOLVED, np.maximum(alone[one], alone[other]))
        context.record(other, RATIO, chance[other] / chance[one].mean())


def _arm(world: str, task: Arm, setting: Mapping[str, float], method: str) -> Arm:
    way = Explorer(**{"learning_rate": WORLDS[world].rates[0], **setting})
    return dataclasses.replace(task, way=way, fall=0.1 if method == HINT else 0.0)


def _tried(config: Config, world: str, judged: Sequence[int]) -> dict[str, np.ndarray]:
    """For each arm how its settings do on other seeds, [menu, seeds]: solved in the end, then how early."""
    arms = {
        f"{i} {arm(t, m)}": _arm(world, task, setting, m)
        for t, task in config.tasks[world].items()
        for m, settings in worlds.menu(WORLDS[world]).items()
        for i, setting in enumerate(settings)
    }
    seeds = [(seed + 2**31) % 2**32 for seed in judged[: config.selection]]
    fit = functools.partial(train.fit, seeds=seeds, progress=False)
    curves = worlds.trained(fit, world, config.depth, arms, config.steps, EVALUATIONS)
    scores = {name: c[:, -SUSTAINED:].min(1) + c.mean(1) / 100 for name, c in curves.items()}
    names = dict.fromkeys(name.split(" ", 1)[1] for name in arms)
    return {name: np.stack([scores[f"{i} {name}"] for i in range(len(arms) // len(names))]) for name in names}


def figure(table: Table, config: Config) -> Figure:
    """The share of runs that epsilon-greedy has solved by each step, and that random play has."""
    panels = {"Ascent, equal chance": [*ASCENTS]} | ({"The car, equal chance": [*CARS]} if config.car else {})
    panels["Ascent, fewer right"] = [next(iter(ASCENTS)), *map(few, list(ASCENTS)[1:])]
    fig, axes = figures.subplots(1, len(panels), height=3.2, squeeze=False, sharey=True)
    for ax, (title, tasks) in zip(axes[0], panels.items()):
        for k, t in enumerate(tasks):
            for method, look in ((ANY, "-"), (RANDOM, ":")):
                steps, solved = table.curve(arm(t, method), SOLVED)
                shown = {"color": f"C{k}", "linewidth": 3.4 - k}
                label = f"{('discrete', 'grid', '3D grid')[k]}: {method}"
                ax.plot(steps / 1000, 100 * solved.mean(0), look, label=label, **shown)
        ax.set(title=title, xlabel="thousand steps", ylim=(-4, 104))
    axes[0, 0].set_ylabel("runs solved, %")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig


def answer(findings: Findings) -> str:
    """The share of runs that epsilon-greedy solves at equal chance, with each set of actions."""
    said, cells = [], ((FORMS[0], "discrete"), (FORMS[0], "grid"), (FORMS[1], "grid"))
    for family in dict.fromkeys(name.split(",")[0] for name in findings.regimes):
        one, line, cube = (findings[f"{family}, {form}: {k}"].said(100, "%") for form, k in cells)
        runs = f"{one} of the runs with discrete actions, {line} with a grid over one dimension"
        said.append(f"in {family} {runs} and {cube} with a grid over three")
    rare = [findings[f"Ascent, {form}: few"].said(100, "%") for form in FORMS]
    return (
        f"Where random tries succeed equally often, epsilon-greedy solves {'; '.join(said)}. "
        f"Where fewer actions of a grid are right, at the same depth, it solves {rare[0]} and {rare[1]}."
    )


STUDY = Study(
    title="Where random tries succeed equally often, is epsilon-greedy better off with discrete actions?",
    claim="Epsilon-greedy exploration works for discrete actions and fails in continuous control.",
    claim_id="O6",
    section="Observations",
    regime=(
        "Ascent of depth 11, two thrusts or a grid of four, one engine or three; the car on a hill, "
        "three forces or a grid; Q-learning on a table or tiles, 120,000 steps (quick: Ascent, 30,000)."
    ),
    presets={
        "smoke": Config(2, 60, 2, False),
        "quick": Config(9, 30_000, 4, False),
        "full": Config(),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={SOLVED: (0.0, 1.0), RATIO: (0.0, 9.0)},
    seeds={"smoke": 2, "quick": 16, "full": 28},
)

if __name__ == "__main__":
    main_study(__file__)
