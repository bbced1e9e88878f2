"""Do tabular methods reach the exact solution, at the rates that theory gives? (C4)

Claim. Tabular methods reach the exact solution of a finite MDP, at the rates that theory gives.

Design. Each seed draws an MDP (a Garnet of 5 states and 2 actions, discount .8). TD(0), TD(lambda), SARSA and
Q-learning learn from one stream of experience, cut into episodes of ten steps, and are compared with the
exact solution: the root mean squared error over entries and over replicates on the same MDP. Step sizes fall
with the number n of visits of an entry:
- 1/(1 + (1 - discount)(n - 1)), the rescaled step, for which theory promises the best rate: the error falls
like t^-1/2, and theory gives the level too (`_tabular_laws.left_error`, without a free constant);
- n^-.6, slower: t^-.3, with a level; and 1/n, to be avoided: t^-(1 - discount) or, with traces, t^-(1 -
discount)/(1 - discount lambda), since the initial error dominates.

Reading. That the errors vanish in the limit, at these rates, is a theorem. Theory says nothing about the
budget at which its limit begins, so the claim is asked at a budget that one can pay. In each regime, a
method, it is true if with the rescaled step all three hold, and false if one fails: the error ends below 1%
of the largest value; over the last decade it falls with an exponent of -.5, within .1; and it ends at
theory's level, within a quarter. The budget is a dial: a tenth of the steps, and a hundredth. The other step
sizes are secondary, each with its own law. Nothing is chosen: theory prescribes all step sizes.

Theorems are controls: a sweep of value iteration contracts errors by the discount and ends where policy
iteration does, which ends exactly at the optimum; the exact values of each method solve its own equation.
Further controls: with a step size that does not fall the error stops falling (exponent 0, within .1); a
learner that takes cuts for ends stays over 10% off; entries are visited as often as theory says.

Set beforehand. One percent is exact for most purposes; .1 tells 1/2 from .3; a quarter of the level is worth
half of the budget. Not blind: an older study of the same MDPs was seen on seeds 0 to 9, and a pilot (`quick`,
seeds 0 to 9) gave the number of seeds. In both SARSA and Q-learning fell faster than theory over the last
decade of 100,000 steps, since part of the initial error was left. `full` has ten times as many steps. It
takes nine minutes of one core, `quick` one.

After the run. Numbers are of single precision. In 3 of the 20 judged MDPs Q-learning ends at 1.8 to 4 times
theory's error: a step size times a target's noise has come close to the spacing of floats, and small updates
are lost. In double precision a Q-learner in plain code ends at .91 to 1.05 times theory's error on the same
three MDPs.

    python -m experiments.rl.tabular_convergence --preset quick
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.rl import _tabular_runs as runs
from experiments.rl._tabular_laws import TD, TRACES, Entries, left_error, visits
from experiments.rl._tabular_runs import (
    CHUNKS,
    CONSTANT,
    CUT,
    DISCOUNT,
    HARMONIC,
    LAMBDA,
    METHODS,
    POWER,
    RESCALED,
    STEPS,
    kinds,
)
from lrn import check, figures, stats
from lrn.cli import main_study
from lrn.study import Above, Below, Cell, Control, Exact, Findings, Prediction, Regime, Study, Within
from lrn.study.context import Context
from lrn.study.controls import equal_budgets, exact_budget
from lrn.table import Table

ERROR, SLOPE, LEVEL = "relative error", "exponent", "log2 of error over theory"
SOLVED, NEAR, QUARTER = 0.01, 0.1, 0.322  # a share of the largest value; of an exponent; log2(1.25)


@dataclass(frozen=True)
class Config:
    """Settings.

    steps: of the environment, a multiple of 100. replicates: runs on each MDP. states, actions, branching: of
    the MDP. solved: states of the MDP on which value and policy iteration are checked. sweeps: of the former.
    """

    steps: int = 100_000
    replicates: int = 24
    states: int = 5
    actions: int = 2
    branching: int = 3
    solved: int = 50
    sweeps: int = 200

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "replicates", "states", "actions", "branching", "solved", "sweeps")
        check.integer("steps", self.steps, low=CHUNKS)
        if self.steps % CHUNKS:
            raise check.InputError(f"steps must be a multiple of {CHUNKS}, got {self.steps}; round it.")


def arm(method: str, kind: str) -> str:
    """The name of an arm."""
    return f"{method}, {kind}"


def law(method: str, kind: str) -> float:
    """The exponent that theory gives to the error, to two digits."""
    decay = (1 - DISCOUNT) / (1 - DISCOUNT * LAMBDA if method == TRACES else 1)
    return {RESCALED: -0.5, POWER: -0.3, HARMONIC: -round(decay, 2), CONSTANT: 0.0}[kind]


def falls(method: str, kind: str, at: int, key: str = "") -> Prediction:
    """The exponent of an arm over the decade that ends at a step is that of theory."""
    rate = law(method, kind)
    said = (
        f"{arm(method, kind)}: the exponent over the decade up to step {at:,} is {rate:g}, within {NEAR:g}."
    )
    cell = Cell(arm(method, kind), SLOPE, at)
    return Within(statement=said, key=key, cell=cell, low=round(rate - NEAR, 2), high=round(rate + NEAR, 2))


def reaches(method: str, at: int, key: str = "") -> Prediction:
    """The error of the rescaled step is below one percent at a step."""
    said = f"{method}: the error at step {at:,} is below {SOLVED:.0%} of the largest value."
    return Below(statement=said, key=key, cell=Cell(arm(method, RESCALED), ERROR, at), bound=SOLVED)


def level(method: str, kind: str, at: int, key: str = "") -> Prediction:
    """The error of an arm at a step is that of theory, within a quarter."""
    said = f"{arm(method, kind)}: the error at step {at:,} is that of theory, within a quarter."
    cell = Cell(arm(method, kind), LEVEL, at)
    return Within(statement=said, key=key, cell=cell, low=-QUARTER, high=QUARTER)


def regimes(config: Config) -> Sequence[Regime]:
    """The methods, with the rescaled step at the whole budget; the dial and other steps are secondary."""
    end, tenth, hundredth = (config.steps // k for k in (1, 10, 100))
    found = []
    for m in METHODS:
        primary = (
            reaches(m, end, f"error, {m}"),
            falls(m, RESCALED, end, f"exponent, {m}"),
            level(m, RESCALED, end, f"level, {m}"),
        )
        dial = (
            reaches(m, tenth),
            reaches(m, hundredth),
            level(m, RESCALED, tenth),
            falls(m, RESCALED, tenth),
        )
        others = (falls(m, POWER, end), level(m, POWER, end), falls(m, HARMONIC, end))
        found.append(Regime(name=m, primary=primary, secondary=(*dial, *others)))
    return found


def controls(config: Config) -> Sequence[Control]:
    """What shows that an exact solution, a learner or the measurement is broken."""
    zero = {
        ("value iteration", "excess over the discount"): 1e-9,
        ("value iteration", "gap to policy iteration"): 1e-8,
        ("policy iteration", "final error"): 1e-9,
        **{(m, "Bellman error"): 1e-4 for m in METHODS},
    }
    checks: list[Prediction] = [
        Exact(statement=f"{a}: the {m} is 0.", cell=Cell(a, m), value=0.0, atol=atol)
        for (a, m), atol in zero.items()
    ]
    said = "TD(0) for which cuts are ends stays over 10% off."
    checks.append(Above(statement=said, cell=Cell(arm(TD, CUT), ERROR, config.steps), bound=0.1))
    budgets = []
    for m in METHODS:
        checks.append(falls(m, CONSTANT, config.steps))
        said = f"{m}: with the rescaled step the shares of visits are those of theory, within .1 in sum."
        checks.append(Below(statement=said, cell=Cell(m, "wrong visits"), bound=0.1))
        names = [arm(m, k) for k in kinds(m)]
        budgets += [equal_budgets("updates", names), exact_budget("updates", names[0], config.steps)]
    return [*map(Control, checks), *budgets]


def run(config: Config, context: Context) -> None:
    """Solve exactly, then learn from samples, on a new MDP for each seed."""
    seeds = np.asarray(context.seeds, np.uint32)
    with jax.enable_x64(True):
        found = context.per_seed("solved exactly", partial(runs.solved, config), seeds)
    for name in ("value iteration", "policy iteration"):
        context.record(name, {k.split(": ")[1]: v for k, v in found.items() if k.startswith(name)})
    told = context.per_seed("laws", partial(runs.told, config), seeds)
    worlds = runs.played(told)
    for method in METHODS:
        law = runs.law_of(told, method)
        learned = context.per_seed(method, partial(runs.learn, config, method), (seeds, worlds, law.exact))
        record(context, config, method, law, learned)


def record(context: Context, config: Config, method: str, law: Entries, learned: Any) -> None:
    """Errors, exponents and levels of a method's arms, from what theory knows and what was learned."""
    each = [Entries(*(np.asarray(x[i], float) for x in law)) for i in range(len(context.seeds))]
    counts = np.asarray(learned["counts"], float)  # [seeds, runs, kinds, entries]
    shares = counts[:, :, kinds(method).index(RESCALED)].mean(1) / config.steps
    theirs = np.stack([np.asarray(visits(e)) for e in each])
    context.record(method, "wrong visits", np.abs(shares - theirs).sum(-1))
    context.record(method, "Bellman error", law.residual)
    times = config.steps // CHUNKS * np.arange(1, CHUNKS + 1)
    drawn = np.unique([*np.round(np.geomspace(1, CHUNKS, 24)).astype(int), CHUNKS // 10])
    largest, traced = np.abs(law.exact).max(-1), LAMBDA if method == TRACES else 0.0
    for k, kind in enumerate(kinds(method)):
        name, errors = arm(method, kind), np.sqrt(learned["squares"][:, k])
        context.given(name, {"updates": counts[:, :, k].sum(-1).mean(1)})
        for n in drawn:
            context.record(name, ERROR, errors[:, n - 1] / largest, int(times[n - 1]))
        for last in (CHUNKS // 10, CHUNKS):
            decade = drawn[(drawn >= last // 10) & (drawn <= last)] - 1
            fits = [np.polyfit(np.log(times[decade]), np.log(e[decade]), 1)[0] for e in errors]
            context.record(name, SLOPE, fits, int(times[last - 1]))
            if kind in (RESCALED, POWER):
                (_, rate, power), t = STEPS[kind], int(times[last - 1])
                theory = [left_error(e, power, rate, DISCOUNT, traced, t) for e in each]
                context.record(name, LEVEL, np.log2(errors[:, last - 1] / theory), t)


def figure(table: Table, config: Config) -> Figure:
    """The error of every arm along the steps, and exponents and levels with the margins, a point a seed."""
    fig, axes = figures.subplots(3, 2, width=9.0, height=10.0)
    for ax, method in zip(axes.flat, METHODS):
        curves = {k: table.curve(arm(method, k), ERROR) for k in kinds(method) if k != CUT}
        steps = curves[RESCALED][0]
        arms = {k: 100 * values for k, (_, values) in curves.items()}
        figures.curves(ax, steps, arms, title=method, xlabel="steps", ylabel="error, % of the largest value")
        ax.axhline(100 * SOLVED, color="0.5", linestyle=":", linewidth=1)
        ax.set(xscale="log", yscale="log")
    for ax, metric, middle, half in ((axes[2][0], SLOPE, -0.5, NEAR), (axes[2][1], LEVEL, 0.0, QUARTER)):
        points = [table.final(arm(m, RESCALED), metric) for m in METHODS]
        spans: Any = [stats.t_interval(x) if len(x) > 1 else (x[0],) * 3 for x in points]
        regions = [(middle - half, middle + half)] * len(METHODS)
        title = f"{RESCALED} step, margins shaded"
        figures.intervals(
            ax, METHODS, spans, regions=regions, points=points, reference=None, title=title, xlabel=metric
        )
    return fig


def answer(findings: Findings) -> str:
    """Error, exponent and level of each method."""
    said = []
    for m in METHODS:
        error, exponent, level = (findings[f"{what}, {m}"] for what in ("error", "exponent", "level"))
        ratios = [f"{2**x:.2f}" for x in (level.effect, level.low, level.high)]
        said.append(
            f"{m} ends {error.said(100, '%', 2)} off, falls with exponent {exponent.said(digits=2)} and ends "
            f"at {ratios[0]} [{ratios[1]}, {ratios[2]}] times the error that theory gives"
        )
    return f"With the step size that theory recommends, {'; '.join(said)}. Theory's exponent is -0.5."


STUDY = Study(
    title="Do tabular methods reach the exact solution, at theory's rates?",
    claim="Tabular methods reach the exact solution, at the rates that theory gives.",
    claim_id="C4",
    section="Concepts",
    regime="Garnet MDPs of 5 states, 2 actions, discount .8; one stream of a million steps (quick: 100,000).",
    presets={
        "smoke": Config(1000, 2, solved=8, sweeps=40),
        "quick": Config(),
        "full": Config(1_000_000, 16),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={ERROR: (0.0, 100.0), SLOPE: (-10.0, 10.0), LEVEL: (-30.0, 30.0), "wrong visits": (0.0, 2.0)},
    seeds={"smoke": 2, "quick": 12, "full": 20},
)

if __name__ == "__main__":
    main_study(__file__)
