"""Where random tries succeed equally often, is epsilon-greedy better off with discrete actions? (O6)

Claim. Epsilon-greedy exploration works for discrete actions and fails in continuous control.

SAY
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
from lrn.rl.exploration.ascent import BEST, LEAST
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
SOLVED, RIGHT, RETURN, FORMS = "solved", "right actions", "best return", ("one dimension", "three dimensions")
RATIO = f"{CHANCE}, over those with discrete actions"


@dataclass(frozen=True)
class Config:
    """Settings.

    depths: of Ascent, for more chance and for less. steps: of the environment, in a training. selection:
    seeds that choose the settings. car: whether the car is driven too.
    """

    depths: tuple[int, int] = (11, 13)
    steps: int = 120_000
    selection: int = 8
    car: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        if len(self.depths) != 2 or not 2 <= self.depths[0] < self.depths[1]:
            raise check.InputError(f"depths must be two that rise from 2 or more, got {self.depths}.")
        check.counts(self, "steps", "selection")
        if self.steps % EVALUATIONS:
            raise check.InputError(f"steps must be a multiple of {EVALUATIONS}, got {self.steps}.")

    @property
    def tasks(self) -> dict[str, dict[str, Arm]]:
        """By world, its tasks by name: with more chance, with less, and a grid's with fewer right actions."""
        few = Arm(self.depths[0], LEAST)
        found = {w: {f"{w}, depth {n}": Arm(n) for n in self.depths} for w in ASCENTS}
        found |= {w: {**found[w], f"{w}, fewer right": few} for w in ASCENTS if not WORLDS[w].discrete}
        return found | {w: {w: Arm(power=WORLDS[w].power)} for w in (CARS if self.car else ())}

    @property
    def pairs(self) -> dict[str, list[tuple[str, str]]]:
        """By regime, pairs of tasks with discrete actions and with a grid: the pair that is asked, others."""
        families = {"Ascent": ASCENTS, **({"the car": CARS} if self.car else {})}
        named = {family: [[*self.tasks[w]] for w in each] for family, each in families.items()}
        return {
            f"{family}, {form}": [*zip([*discrete, discrete[0]], grid)]
            for family, (discrete, *grids) in named.items()
            for form, grid in zip(FORMS, grids)
        }


def arm(task: str, method: str) -> str:
    """The name of an arm: a way of exploring a task."""
    return f"{task}: {method}"


def solves(task: str, side: Any, who: str = ANY, bound: float = 0.5, key: str = "") -> Share:
    """An arm solves a task in a share of the runs above or below a bound."""
    said = f"{arm(task, who)} solves {'over' if side == 'above' else 'under'} {bound:.0%} of the runs."
    return Share(statement=said, key=key, cell=Cell(arm(task, who), SOLVED), bound=bound, side=side)


def ahead(one: str, other: str, at: int | None = None, key: str = "") -> Superiority:
    """One arm solves more of the runs than another by the margin, by a step or in the end."""
    said = f"{one} solves over {MARGIN:.0%} more of the runs than {other}{f' by step {at:,}' if at else ''}."
    better, worse = Cell(one, SOLVED, at), Cell(other, SOLVED, at)
    return Superiority(statement=said, key=key, better=better, worse=worse, margin=MARGIN)


def regimes(config: Config) -> Sequence[Regime]:
    """The claim at equal chance; what it says elsewhere is secondary."""
    found = []
    for name, ((one, other), *more) in config.pairs.items():
        works = solves(one, "above", key=f"{name}: discrete")
        lags = ahead(arm(one, ANY), arm(other, ANY), key=f"{name}: ahead")
        second: list[Prediction] = [solves(other, "below", key=f"{name}: grid")]
        steps = [config.steps * i // EVALUATIONS for i in READ]
        second += [ahead(arm(one, ANY), arm(other, ANY), at) for at in steps]
        for j, (a, b) in enumerate(more):
            second += [ahead(arm(a, ANY), arm(b, ANY)), solves(b, "below", key=f"{name}: grid {j}")]
        second += [ahead(arm(t, ANY), arm(t, RANDOM)) for t in (one, other)]
        gate = solves(name, "below", NONE, 0.25)
        found.append(Regime(name=name, gate=gate, primary=(works, lags), secondary=tuple(second)))
    return found


def controls(config: Config) -> Sequence[Control]:
    """What shows that a task, the learner, the gate or the match of chances is broken."""
    checks, asked = [], {t for pairs in config.pairs.values() for t in pairs[0]}
    for world, tasks in config.tasks.items():
        for t, task in tasks.items():
            names = [arm(t, m) for m in worlds.menu(WORLDS[world])]
            checks += [equal_budgets(what, names) for what in ("steps", "candidates")]
            checks.append(Control(solves(t, "above", OTHER), "invalid" if t in asked else "flag"))
            checks.append(_exactly(arm(t, IDLE), SOLVED, 0.0))
            if world in ASCENTS:
                checks += [Control(solves(t, "above", HINT))] if t in asked else []
                checks.append(_exactly(t, RIGHT, worlds.right(WORLDS[world], task.least)))
                checks.append(_exactly(t, RETURN, BEST))
    for (_, other), *_ in config.pairs.values():
        said, cell = f"{other}: {RATIO}, are 1 within a quarter.", Cell(other, RATIO)
        checks.append(Control(Within(statement=said, cell=cell, low=0.75, high=1.25)))
    return checks


def _exactly(name: str, metric: str, value: float) -> Control:
    said = f"{name}: {metric} is {value:.3g}."
    return Control(Exact(statement=said, cell=Cell(name, metric), value=value, atol=1e-5))


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
        for t, facts in worlds.facts(world, tasks, config.depths[-1], context.seeds).items():
            chance[t] = np.broadcast_to(facts[CHANCE], len(order))
            context.record(t, {k: np.broadcast_to(v, len(order)) for k, v in facts.items()})
        curves = worlds.trained(context.fit, world, config.depths[-1], arms, config.steps, EVALUATIONS)
        for name, source in ({a: a for a in arms} | ways).items():
            for i in range(SUSTAINED, EVALUATIONS + 1):
                window = curves[source][order, i - SUSTAINED + 1 : i + 1]
                context.record(name, SOLVED, window.min(1), config.steps * i // EVALUATIONS)
        alone |= {t: curves[arm(t, NONE)][order, -SUSTAINED:].min(1) for t in tasks}
    for name, ((one, other), *_) in config.pairs.items():
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
    curves = worlds.trained(fit, world, config.depths[-1], arms, config.steps, EVALUATIONS)
    scores = {name: c[:, -SUSTAINED:].min(1) + c.mean(1) / 100 for name, c in curves.items()}
    names = dict.fromkeys(name.split(" ", 1)[1] for name in arms)
    return {name: np.stack([scores[f"{i} {name}"] for i in range(len(arms) // len(names))]) for name in names}


def figure(table: Table, config: Config) -> Figure:
    """The share of runs that epsilon-greedy has solved by each step, and that random play has."""
    names, kinds = [*config.pairs], ("discrete", "grid, one dimension", "grid, three dimensions")
    rows = [[*zip(config.pairs[a], config.pairs[b])] for a, b in zip(names[::2], names[1::2])]
    fig, axes = figures.subplots(len(rows), 3, height=2.4 * len(rows) + 0.8, squeeze=False, sharey=True)
    for name, row, each in zip(names[::2], rows, axes):
        for ax, level in zip(each, ("more chance", "less chance", "fewer right")):
            ax.set(title=f"{name.split(',')[0]}, {level}", xlabel="thousand steps", ylim=(-4, 104))
        for ax, ((one, line), (_, cube)) in zip(each, row):
            for k, t in enumerate((one, line, cube)):
                for method, look in ((ANY, "-"), (RANDOM, ":")):
                    steps, solved = table.curve(arm(t, method), SOLVED)
                    label = f"{kinds[k]}: {method}"
                    ax.plot(steps / 1000, 100 * solved.mean(0), look, color=f"C{k}", label=label)
        each[0].set_ylabel("runs solved, %")
        for ax in each[len(row) :]:
            ax.set_axis_off()
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return fig


def answer(findings: Findings) -> str:
    """The share of runs that epsilon-greedy solves at equal chance, with each set of actions."""
    solved: dict[str, list[str]] = {}
    for name in findings.regimes:
        family, keys = name.split(",")[0], ("discrete", "grid") if name.endswith(FORMS[0]) else ("grid",)
        solved[family] = solved.get(family, []) + [findings[f"{name}: {k}"].said(100, "%") for k in keys]
    each = [f"{x[0]}, {x[1]} and {x[2]} in {family}" for family, x in solved.items()]
    few = [findings[f"Ascent, {form}: grid 1"].said(100, "%") for form in FORMS]
    return (
        "Where random tries succeed equally often, epsilon-greedy solves, of the runs with discrete actions, "
        f"with a grid over one dimension and with a grid over three, {'; '.join(each)}. "
        f"Where fewer actions of a grid are right, at the same depth, it solves {few[0]} and {few[1]}."
    )


STUDY = Study(
    title="Where random tries succeed equally often, is epsilon-greedy better off with discrete actions?",
    claim="Epsilon-greedy exploration works for discrete actions and fails in continuous control.",
    claim_id="O6",
    section="Observations",
    regime=(
        "Ascent of depth 10 and 12, two thrusts or a grid of four, one engine or three; the car on a hill, "
        "three forces or a grid; Q-learning on a table or tiles, 120,000 steps (quick: Ascent, 30,000)."
    ),
    presets={
        "smoke": Config((2, 3), 60, 2, car=False),
        "quick": Config((9, 11), 30_000, 4, car=False),
        "full": Config(),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges=dict.fromkeys((SOLVED, RIGHT, RETURN), (0.0, 1.0)) | {RATIO: (0.0, 9.0)},
    seeds={"smoke": 2, "quick": 16, "full": 24},
)

if __name__ == "__main__":
    main_study(__file__)
