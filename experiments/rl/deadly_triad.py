"""Is it bootstrapping, approximation and off-policy data together that are unstable? (I6)

Claim. Tabular learning converges; bootstrapping, function approximation and off-policy data together are
unstable: learning diverges or overfits.

Design. All arms learn the values of one fixed policy, so that "off-policy" means one thing only: which states
and actions are updated. Three factors are switched one by one, with all else equal: the target is the reward
plus an estimate, or a whole return; values are a table (a grid where states are continuous), linear in 64
random Fourier features, or a network; data come from random actions and starts anywhere, or from the policy
itself. Regimes:
- random problems: expected linear TD on a hundred random MDPs a seed, where eigenvalues tell whether learning
diverges at every rate. States are weighted by weights drawn uniformly from all weights;
- a network on FourRooms (finite), a network on MountainCar and Fourier features on MountainCar (continuous).

A run is unstable if some |Q| of its data ever exceeds what any policy can earn by over a quarter (soft
divergence; van Hasselt et al. 2018), or if its final error on the policy's own states is over .1 of their
values above the lowest on the way (overfitting). Slow learning is neither. A rate of three is chosen for each
arm, by the final error in trainings on other seeds: what a better rate cures is no instability of the method.
The other reading, at any one rate, is secondary, and so are a quarter and a half of the budget, and
Q-learning.

In a regime the claim is true if with all three factors over half of the runs are unstable ("are unstable"),
and if under a fifth of the seeds have any unstable run among the three arms that lack one factor each; so the
worst of these decides and no mean hides it. Each part can fail. For expected linear TD the second part is a
theorem (Tsitsiklis & Van Roy 1997) and a control.

Controls. On Baird's star TD diverges and TDC does not (in expectation, theorems). At a thousandth of the rate
almost nothing is learned, and that does not count as unstable; at a thousand times the rate regression on
returns must. A network that regresses on returns of the policy's own data learns.

Set beforehand. Half, a fifth, .1, and the quarter, since networks that only regress overshoot the bound too.
Not blind: an older study of these tasks, at one rate, was seen on seeds 0 to 9 and 1000 to 1003: linear
features were stable, networks on FourRooms unstable in 4 of 10 runs, and on MountainCar in all, on the
policy's own data too. Random problems and chosen rates are new. A pilot on seeds 0 to 11 with 2000 updates
then showed outcomes like those of the older study. It changed the rates of linear features, which were chosen
at the edge, and the number of seeds. `quick` takes two minutes of one core, `full` five.

    python -m experiments.rl.deadly_triad --preset quick
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.rl import _triad_tasks as tasks
from experiments.rl._triad_arms import (
    ANY,
    ERROR,
    EVALUATIONS,
    EXCESS,
    GREEDY,
    KINDS,
    LESS,
    PEAK,
    PLACES,
    RATES,
    REGRESSION,
    SHARE,
    TRIAD,
    UNSTABLE,
    arm,
    at,
    collected,
    extremes,
    menu,
    trained,
)
from experiments.rl._triad_learner import NET, TABLE
from experiments.rl._triad_tasks import BEHAVIORS, WALKERS
from lrn import check, figures, stats
from lrn.cli import main_study
from lrn.study import Above, Below, Cell, Control, Exact, Findings, Prediction, Regime, Share, Study
from lrn.study.context import Context
from lrn.study.controls import equal_budgets
from lrn.study.select import interior_choice
from lrn.table import Table


@dataclass(frozen=True)
class Config:
    """Settings.

    updates: gradient steps of a training, a multiple of 20. batch: transitions in a step. transitions: of a
    data set, a multiple of 128. rollouts: steps of a return, at most. size: of the grid, the features, the
    layers. selection: seeds that choose rates. worlds: random problems a seed.
    """

    updates: int = 4000
    batch: int = 32
    transitions: int = 4096
    rollouts: int = 300
    size: tuple[int, int, int] = (24, 64, 32)
    selection: int = 4
    worlds: int = 100

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "updates", "batch", "transitions", "rollouts", "selection", "worlds")
        if self.transitions % WALKERS or self.updates % EVALUATIONS:
            raise check.InputError(
                f"transitions must be a multiple of {WALKERS} and updates of {EVALUATIONS}, got "
                f"{self.transitions} and {self.updates}; round them."
            )


def share(name: str, side: Any, bound: float, step: int, key: str = "", said: str = "") -> Prediction:
    """In a share of the runs an arm is unstable by a step."""
    text = said or f"{name}: {'over' if side == 'above' else 'under'} {bound:.0%} of the runs are unstable"
    cell = Cell(name, UNSTABLE, step)
    return Share(statement=f"{text} by step {step:,}.", key=key, cell=cell, bound=bound, side=side)


def regimes(config: Config) -> Sequence[Regime]:
    """All three factors are unstable, and with one less no arm is."""
    end, problems = config.updates, "random problems"
    more = [Above(statement=f"{problems}, {b}: over half diverge.", key=b, cell=Cell(b, SHARE), bound=0.5)
            for b in BEHAVIORS]  # fmt: skip
    found = [Regime(name=f"{problems}, linear", primary=(more[0],), secondary=(more[1],))]
    for task, kind in PLACES:
        triad, less = arm(task, kind, TRIAD), arm(task, kind, ANY)
        said = f"{less} factor: under a fifth of the seeds have an unstable run"
        primary = (share(triad, "above", 0.5, end, triad), share(less, "below", 0.2, end, less, said))
        shown = [share(triad, "above", 0.5, end // k) for k in (4, 2)]
        shown += [share(at(triad, i), "above", 0.5, end, at(triad, i)) for i in range(3)]
        lacking = [arm(task, kind, what) for what in LESS[:2]] + [arm(task, TABLE, LESS[2])]
        shown += [share(name, "below", 0.2, end, f"{kind}, {name}") for name in lacking]
        if kind == NET:
            for name, side, bound in zip((arm(task, NET, k) for k in GREEDY), ("above", "below"), (0.5, 0.2)):
                shown.append(share(name, side, bound, end, name))
        found.append(Regime(name=f"{task}, {kind}", primary=primary, secondary=tuple(shown)))
    return found


def controls(config: Config) -> Sequence[Control]:
    """What shows that the experiment, or its measure of instability, is broken."""
    real = "least real part"
    checks: list[Prediction] = [
        Below(
            statement="Baird's star: TD diverges in expectation.", cell=Cell("star, TD", real), bound=-0.01
        ),
        Exact(statement="Baird's star: TDC does not.", cell=Cell("star, TDC", real), value=0.0, atol=1e-6),
    ]
    checks += [
        Exact(statement=f"Random problems, {what}: none diverges.", cell=Cell(what, SHARE), value=0.0)
        for what in LESS
    ]
    budgets, flags = [], []
    for task, kinds in KINDS.items():
        for kind in kinds:
            names = [arm(task, kind, what) for what in menu(kind)]
            tried = [at(name, i) for name in names for i in range(3)] + [*extremes(task, kind)]
            budgets += [equal_budgets(what, tried) for what in ("steps", "samples")]
            flags += [interior_choice(name) for name in names]
            for name, c in extremes(task, kind).items():
                slow, least = c.rate < min(RATES[kind]), Cell(name, ERROR)
                said = f"{name}: every run is {'not ' if slow else ''}unstable."
                cell = Cell(name, UNSTABLE, config.updates)
                checks.append(Exact(statement=said, cell=cell, value=0.0 if slow else 1.0))
                if slow:
                    checks.append(Above(statement=f"{name}: the error stays over .7.", cell=least, bound=0.7))
        regression = Cell(arm(task, NET, REGRESSION), ERROR)
        checks.append(
            Below(statement=f"{task}: regression learns, error below .5.", cell=regression, bound=0.5)
        )
        chosen = [arm(task, kind, what) for kind in kinds for what in menu(kind)]
        budgets.append(equal_budgets("candidates", chosen))
    return [*map(Control, checks), *budgets, *flags]


def run(config: Config, context: Context) -> None:
    """Random problems, then the factors on each task."""
    for name, least in tasks.star().items():
        context.record(f"star, {name}", "least real part", np.full(len(context.seeds), least))
    with jax.enable_x64(True):
        draw = partial(tasks.random_problems, config.worlds, 20, 10)
        matrices = context.per_seed("random problems", draw, np.asarray(context.seeds, np.uint32))
    for name, each in matrices.items():
        context.record(name, SHARE, tasks.diverges(each).mean(-1))
    for task, kinds in KINDS.items():
        made = partial(tasks.data_of, tasks.task_of(task), config.transitions, config.rollouts)
        others = [(seed + 2**31) % 2**32 for seed in context.seeds[: config.selection]]
        data = context.once(f"{task} data", partial(collected, made, [*context.seeds, *others]))
        found = {}
        for kind in kinds:
            found |= trained(config, context, task, kind, others, data)
        for kind in kinds[1:]:
            lacking = [found[arm(task, k, w)] for k, w in zip((kind, kind, TABLE), LESS)]
            context.record(arm(task, kind, ANY), UNSTABLE, np.max(lacking, 0), config.updates)


def figure(table: Table, config: Config) -> Figure:
    """By regime the share of unstable runs with what is claimed, each run, and the share at each rate."""
    fig, axes = figures.subplots(len(PLACES) + 1, 2, width=9.5, height=11.5)
    for (left, right), (task, kind) in zip(axes, PLACES):
        names = {what: arm(task, TABLE if what == LESS[2] else kind, what) for what in (TRIAD, *LESS)}
        for i, (what, name) in enumerate(names.items()):
            peak, lost = table.final(name, PEAK), table.final(name, UNSTABLE) > 0
            x = i + np.linspace(-0.3, 0.3, len(peak))
            left.plot(x[lost], peak[lost], "o", color=f"C{i}", markersize=4, alpha=0.8)
            left.plot(x[~lost], peak[~lost], "o", color=f"C{i}", markersize=4, fillstyle="none")
            said, place = f"{lost.mean():.0%}", left.get_xaxis_transform()
            left.text(i, 0.93, said, ha="center", color=f"C{i}", transform=place)
            shares = [table.final(at(name, k), UNSTABLE).mean() for k in range(3)]
            right.plot(range(3), shares, "os^D"[i] + "-", color=f"C{i}", label=what)
        left.axhline(EXCESS, color="0.5", linestyle=":", linewidth=1)
        left.set(yscale="log", title=f"{kind}, {task}", ylabel="largest |Q| over the bound", xticks=range(4))
        left.set_ylim(top=left.get_ylim()[1] * 2)
        left.set_xticklabels([what.replace(" ", "\n", 1) for what in names])
        right.axhline(0.5, color="C0", linestyle=":", linewidth=1)
        right.axhline(0.2, color="0.5", linestyle=":", linewidth=1)
        right.set(ylabel="share unstable", ylim=(-0.03, 1.03), xlabel="rate (table: .1, .3, 1)")
        right.set_xticks(range(3), [f"{r:g}" for r in RATES[kind]])
    axes[0][0].set_title(f"{PLACES[0][1]}, {PLACES[0][0]} (filled: unstable)")
    fig.legend(*axes[0][1].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    margins, problems = axes[-1]
    for i, what in enumerate((*BEHAVIORS, "on-policy")):
        x = table.final(what, SHARE)
        place, color = i + np.linspace(-0.2, 0.2, len(x)), ("C4", "C5", "C2")[i]
        problems.plot(place, x, "o", color=color, markersize=3, alpha=0.7)
    problems.axhline(0.5, color="C0", linestyle=":", linewidth=1)
    problems.set(title="linear, random problems", ylabel="share diverging", ylim=(-0.03, 1.03))
    problems.set_xticks(range(3), [*BEHAVIORS, "on-policy"])
    shares = [table.final(arm(*place, what), UNSTABLE) for place in PLACES for what in (TRIAD, ANY)]
    labels = [f"{kind}, {task}{less}" for task, kind in PLACES for less in ("", ", one less")]
    spans = [stats.share_interval(int(x.sum()), len(x)) for x in shares]
    regions = [(0.5, 1.0), (0.0, 0.2)] * len(PLACES)
    title, label = "all three, and any with one less", "share, claimed range shaded"
    figures.intervals(margins, labels, spans, regions=regions, reference=None, title=title, xlabel=label)
    return fig


def answer(findings: Findings) -> str:
    """How often all three factors are unstable, and arms that lack one."""
    weighted, acting = (findings[b].said(100, "%") for b in BEHAVIORS)
    said = []
    for task, kind in PLACES:
        triad, less = (findings[arm(task, kind, what)].said(100, "%") for what in (TRIAD, ANY))
        said.append(f"{kind} on {task} {triad} (an arm with one factor less: {less})")
    return (
        "With all three factors and the best of three rates, this share of the runs is unstable: "
        f"{'; '.join(said)}. Of random linear problems, {weighted} diverge at every rate where states have "
        f"random weights, and {acting} with the data of a random policy."
    )


STUDY = Study(
    title="Is it bootstrapping, approximation and off-policy data together?",
    claim=(
        "Tabular learning converges; bootstrapping, function approximation and off-policy data together are "
        "unstable."
    ),
    claim_id="I6",
    section="Insights",
    regime=(
        "Expected linear TD on random MDPs; gymnax's FourRooms and MountainCar, discount .99, values of a "
        "fixed policy, 4096 transitions, a 32-32 network or 64 Fourier features, 6000 updates (quick: 1200)."
    ),
    presets={
        "smoke": Config(20, 8, 128, 20, (4, 4, 4), 2, 2),
        "quick": Config(1200),
        "full": Config(6000),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={UNSTABLE: (0.0, 1.0), SHARE: (0.0, 1.0), ERROR: (0.0, 10.0), "least real part": (-10.0, 10.0)},
    seeds={"smoke": 2, "quick": 20, "full": 30},
)

if __name__ == "__main__":
    main_study(__file__)
