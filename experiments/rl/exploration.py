"""Does epsilon-greedy fail at continuous actions, at depth, or in many dimensions? (O6)

Claim. Epsilon-greedy exploration works for discrete actions and fails in continuous control.

Design. Ascent (`lrn.rl.exploration.ascent`) has two dials. Depth is the number of right actions in a row
before anything but a small cost is seen. The actions offered are two levels of thrust of one engine
(discrete), or five levels, a grid over what is continuous, of one engine or of three; dynamics, rewards
and best return stay equal. Two levels of three engines tell dimensions from the kind of action. All arms
share one learner, Q-learning on a table, and differ in exploration alone: none; epsilon-greedy, constant
or annealed; optimistic values; counts; RND; and on a grid white, Ornstein-Uhlenbeck and pink noise.
Trainings on other seeds choose each arm's setting out of three, by the share of runs solved and then by
how early. There too "epsilon-greedy" is chosen as the better of its two arms, and "another way" as the
best of the rest. DeepSea and the continuous car, with three forces or nine, stand beside Ascent.

A run is solved when its greedy policy reaches the top in each of the last three of thirty evaluations.
One that never does is not solved, and no time is imputed. The share is also read at a tenth and at three
tenths of the same trainings: values are learned off-policy and judged greedily.

The claim says that over half of the runs are solved with discrete actions, shallow and deep, and under
half with continuous ones of one and of three dimensions. The latter are asked where depth is shallow,
since in a deep task claim and depth both say failure. Each regime has a gate: without exploration under a
quarter are solved.

Set beforehand. Half is what "works" and "fails" mean. Depth and budget follow from the shares of right
actions, 1/2, 2/5 and 4/25: shallow is where ten random tries or more reach the top within the budget with
each of these sets of actions, deep where none is expected to with any. So the four outcomes were likely
beforehand; open was whether learning keeps what chance finds, and all of the middle depth. Not blind: an
older study was seen on seeds 0 to 9. Pilots on seeds 1000 to 1015, at half the budget, showed
epsilon-greedy at the edge of its menus; menus and budget were then changed to those of now. `power` asks
for 15 seeds. ``quick`` takes two minutes of one core, ``full`` twelve.

Controls. The best policy returns .99, and of the actions offered as many are right as can be counted;
another way solves over half; nothing is solved without learning. Planted: where falling costs, values of
zero are optimistic and no exploration must solve the task, which shows that the gate would catch it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.rl import _worlds as worlds
from experiments.rl._worlds import ASCENTS, CARS, EPSILON, GRID, GRIDS, KNOWN, ONE, SEA, WORLDS, Arm
from lrn import check, figures, train
from lrn.cli import main_study
from lrn.rl.exploration.ascent import BEST
from lrn.rl.exploration.explorer import Explorer
from lrn.study import Cell, Exact, Findings, Regime, Share, Study
from lrn.study.context import Context
from lrn.study.controls import Control, equal_budgets
from lrn.study.curves import first_time
from lrn.study.select import select
from lrn.table import Table

ANY, OTHER, NONE, IDLE, HINT = "epsilon-greedy", "another way", "no exploration", "no learning", "falls cost"
FIXED = {NONE: {}, IDLE: {"epsilon": 1.0, "epsilon_end": 1.0, "learning_rate": 0.0}, HINT: {}}
EVALUATIONS, READ, SUSTAINED = 30, (3, 9, 30), 3
WAYS = (ONE, GRID, GRIDS)
SHOWN = ("annealed", "constant", "pink", "counts", "optimistic", NONE)


@dataclass(frozen=True)
class Config:
    """Settings.

    depths: shallow, middle, deep. steps: of the environment, in a training. selection: seeds that choose the
    settings. known: whether DeepSea and the car are played too.
    """

    depths: tuple[int, int, int] = (5, 10, 20)
    steps: int = 120_000
    selection: int = 8
    known: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        if len(self.depths) != 3 or not 2 <= self.depths[0] < self.depths[1] < self.depths[2]:
            raise check.InputError(f"depths must be three that rise from 2 or more, got {self.depths}.")
        check.counts(self, "steps", "selection")
        if self.steps % EVALUATIONS:
            raise check.InputError(f"steps must be a multiple of {EVALUATIONS}, got {self.steps}.")

    @property
    def tasks(self) -> dict[str, dict[str, int]]:
        """By world, the depth of each task by its name."""
        shallow, _, deep = self.depths
        depths = {**dict.fromkeys(ASCENTS, self.depths), **({SEA: (shallow, deep)} if self.known else {})}
        named = {world: {f"{world}, depth {n}": n for n in each} for world, each in depths.items()}
        return {**named, **({world: {world: 0} for world in CARS} if self.known else {})}

    @property
    def asked(self) -> dict[str, str]:
        """The world of each task in which the claim is asked."""
        shallow, _, deep = self.depths
        where = ((ONE, shallow), (ONE, deep), (GRID, shallow), (GRIDS, shallow))
        return {f"{world}, depth {n}": world for world, n in where}

    @property
    def budgets(self) -> list[int]:
        """The steps after which it is read what is solved; the last is the whole training."""
        return [self.steps * i // EVALUATIONS for i in READ]


def arm(task: str, method: str) -> str:
    """The name of an arm: a way of exploring a task."""
    return f"{task}: {method}"


def solves(task: str, side: Any, who: str = ANY, bound: float = 0.5, at: int | None = None) -> Share:
    """An arm solves a task in a share of the runs above or below a bound; by a step, or in the end."""
    name, by = arm(task, who), f" by step {at:,}" if at else ""
    said = f"{name} solves {'over' if side == 'above' else 'under'} {bound:.0%} of the runs{by}."
    return Share(statement=said, key=name + by, cell=Cell(name, "solved", at), bound=bound, side=side)


def regimes(config: Config) -> Sequence[Regime]:
    """Where claim and depth disagree. Of the other tasks what the claim says is secondary."""
    discrete = {t: WORLDS[world].discrete for world, each in config.tasks.items() for t in each}
    says = {t: "above" if is_so else "below" for t, is_so in discrete.items()}
    shown = {t: [solves(t, says[t], at=at) for at in config.budgets[:-1]] for t in config.asked}
    for t in [t for t in says if t not in shown]:
        shown[next(a for a in config.asked if says[a] == says[t])].append(solves(t, says[t]))
    gates = {t: solves(t, "below", NONE, 0.25) for t in shown}
    return [
        Regime(name=t, gate=gates[t], primary=(solves(t, says[t]),), secondary=tuple(more))
        for t, more in shown.items()
    ]


def controls(config: Config) -> Sequence[Control]:
    """What shows that a task, the learner or the gate is broken."""
    checks: list[Control] = []
    for world, each in config.tasks.items():
        for t in each:
            names, asked = [arm(t, m) for m in worlds.menu(WORLDS[world])], t in config.asked
            checks += [equal_budgets(what, names) for what in ("steps", "candidates")]
            checks.append(Control(solves(t, "above", OTHER), "invalid" if asked else "flag"))
            checks.append(_exactly(arm(t, IDLE), "solved", 0.0))
            checks += [Control(solves(t, "above", HINT))] if asked else []
            if world in ASCENTS:
                right = worlds.right(WORLDS[world])
                checks += [_exactly(t, "best return", BEST), _exactly(t, "right actions", right)]
    return checks


def _exactly(name: str, metric: str, value: float) -> Control:
    said = f"{name}: {metric} is {value:.3g}."
    return Control(Exact(statement=said, cell=Cell(name, metric), value=value, atol=1e-5))


def run(config: Config, context: Context) -> None:
    """In each world choose every arm's setting on seeds of their own, train it, read what is solved when."""
    most, order = config.depths[-1], np.argsort(np.argsort(context.seeds))  # curves are sorted by seed
    for world, each in config.tasks.items():
        menu = worlds.menu(WORLDS[world])
        scores = context.once(f"{world}, choices", functools.partial(_tried, config, world, context.seeds))
        arms, ways = {}, {}
        for t, depth in each.items():
            chosen = select({m: scores[arm(t, m)] for m in menu}, "higher")
            for m, choice in chosen.items():
                context.chosen(arm(t, m), choice, len(menu[m]))
            settings = {m: menu[m][choice.only] for m, choice in chosen.items()}
            settings |= {m: x for m, x in FIXED.items() if m != HINT or world in ASCENTS}
            arms |= {arm(t, m): _arm(world, depth, setting, m) for m, setting in settings.items()}
            for way, of in ((ANY, EPSILON), (OTHER, [m for m in menu if m not in EPSILON])):
                ways[arm(t, way)] = arm(t, max(of, key=lambda m, c=chosen: c[m].score))
            if world in ASCENTS:
                context.record(t, {k: np.full(len(order), v) for k, v in worlds.facts(world, depth).items()})
        curves = worlds.trained(context.fit, world, most, arms, config.steps, EVALUATIONS)
        for name, source in ({a: a for a in arms} | ways).items():
            for at, last in zip(config.budgets, READ):
                window = curves[source][order, last - SUSTAINED + 1 : last + 1]
                context.record(name, "solved", window.min(1), at)


def _arm(world: str, depth: int, setting: Mapping[str, float], method: str) -> Arm:
    way = Explorer(**{"learning_rate": WORLDS[world].rate, **setting})
    return Arm(float(depth), 0.1 if method == HINT else 0.0, way)


def _tried(config: Config, world: str, judged: Sequence[int]) -> dict[str, np.ndarray]:
    """For each arm how its settings do on other seeds, [menu, seeds]: solved in the end, then how early."""
    arms = {
        f"{i} {arm(t, m)}": _arm(world, depth, setting, m)
        for t, depth in config.tasks[world].items()
        for m, settings in worlds.menu(WORLDS[world]).items()
        for i, setting in enumerate(settings)
    }
    seeds = [(seed + 2**31) % 2**32 for seed in judged[: config.selection]]
    fit = functools.partial(train.fit, seeds=seeds, progress=False)
    curves = worlds.trained(fit, world, config.depths[-1], arms, config.steps, EVALUATIONS)
    scores = {name: c[:, -SUSTAINED:].min(1) + c.mean(1) / 100 for name, c in curves.items()}
    names = dict.fromkeys(name.split(" ", 1)[1] for name in arms)
    return {name: np.stack([scores[f"{i} {name}"] for i in range(3)]) for name in names}


def figure(table: Table, config: Config) -> Figure:
    """When each run is solved for good, a point a run; those that never are lie above the line."""
    panels = {world: [*each] for world, each in config.tasks.items() if world in ASCENTS}
    if config.known:
        panels["known tasks"] = [t for world in KNOWN for t in config.tasks[world]]
    fig, axes = figures.subplots(len(panels), 1, height=2.1 * len(panels) + 0.6, sharey=True)
    for ax, (title, each) in zip(axes, panels.items()):
        for k, method in enumerate(SHOWN):
            for i, t in enumerate(each):
                if arm(t, method) in table.arms:
                    x, y = _points(table, arm(t, method), WORLDS[t.split(", depth")[0]].mark)
                    ax.plot(i + 0.14 * (k - 2.5) + x, y, "os^DvP"[k], color=f"C{k}", markersize=3, alpha=0.6)
        ax.axhline(1.3 * config.steps, color="0.5", linewidth=1)
        ax.set(yscale="log", title=title, ylabel="steps", xticks=range(len(each)))
        ax.set_xticklabels([t.removeprefix(f"{title}, ") for t in each])
        ax.set_yticks([config.steps // 10, config.steps, 2 * config.steps])
        ax.set_yticklabels([f"{config.steps // 10:,}", f"{config.steps:,}", "never"])
        ax.minorticks_off()
    for k, method in enumerate(SHOWN):
        axes[0].plot([], [], "os^DvP"[k], color=f"C{k}", label=method)
    fig.legend(loc="outside upper center", ncols=3)
    return fig


def _points(table: Table, name: str, mark: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the runs of an arm are drawn: a little apart, and above the line where never solved."""
    steps, returns = table.curve(name, "greedy_return")
    first, apart = first_time(steps, returns, mark, SUSTAINED), np.linspace(-0.05, 0.05, len(returns))
    return apart, np.where(np.isfinite(first), np.maximum(first, steps[1]), 2 * steps[-1])


def answer(findings: Findings) -> str:
    """The share of runs that epsilon-greedy solves, by depth, for three sets of actions, and on the car."""
    depths = sorted({int(k.split("depth ")[1].split(":")[0]) for k in findings if k.startswith(f"{ONE}, ")})
    solved = [[findings[arm(f"{w}, depth {n}", ANY)].said(100, "%") for w in WAYS] for n in depths]
    said = [f"{', '.join(x[:-1])} and {x[-1]} at depth {n}" for n, x in zip(depths, solved)]
    cars = [f"{findings[arm(c, ANY)].said(100, '%')} on the {c}" for c in CARS if arm(c, ANY) in findings]
    return (
        "Of the runs with two actions, with a grid over one continuous dimension and with a grid over three, "
        f"epsilon-greedy solves {'; '.join(said)}." + (f" It solves {' and '.join(cars)}." if cars else "")
    )


STUDY = Study(
    title="Does epsilon-greedy fail at continuous actions, at depth, or in many dimensions?",
    claim="Epsilon-greedy exploration works for discrete actions and fails in continuous control.",
    claim_id="O6",
    section="Observations",
    regime=(
        "Ascent of depth 5 to 20, two levels of thrust or five, one engine or three; Q-learning on a table, "
        "120,000 steps (quick: depth 4 to 16, 30,000). Beside it DeepSea and the continuous mountain car."
    ),
    presets={
        "smoke": Config((2, 3, 4), 60, 2, known=False),
        "quick": Config((4, 8, 16), 30_000, 4, known=False),
        "full": Config(),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={"solved": (0.0, 1.0), "right actions": (0.0, 1.0), "best return": (-1.0, 1.0)},
    seeds={"smoke": 2, "quick": 16, "full": 20},
)

if __name__ == "__main__":
    main_study(__file__)
