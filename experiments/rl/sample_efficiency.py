"""Does a learned model save real steps, and is it biased for that? (T4)

DOC
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import numpy as np
from matplotlib.figure import Figure

from experiments.rl import _efficiency_arms as arms
from experiments.rl._efficiency_arms import (
    BASED,
    BIAS,
    DECIDED,
    FALSE,
    FLATTERY,
    FREE,
    LAST_PLACE,
    LASTING,
    LEVELS,
    MAZE,
    ONE,
    PARTS,
    PENDULUM,
    RANDOM,
    SAVING,
    SMALL,
    SOLVED,
    TRUE,
    arm,
    over,
    to,
)
from experiments.rl._efficiency_nets import HORIZONS
from experiments.rl._efficiency_tables import WORTH
from lrn import check, figures
from lrn.cli import main_study
from lrn.study import (
    Above,
    Below,
    Cell,
    Control,
    Exact,
    Findings,
    Prediction,
    Regime,
    Share,
    Study,
    Superiority,
    Trend,
)
from lrn.study.context import Context
from lrn.study.controls import equal_budgets
from lrn.study.findings import Found
from lrn.study.select import interior_choice
from lrn.table import Table

FOLD, OFF = 3.0, 0.1


@dataclass(frozen=True)
class Config:
    """Settings.

    table_steps, net_steps: real steps of a training, multiples of the evaluations, and of five times as many.
    table_updates: between two real steps, with a table. updates, rates: the menus of the networks. batch:
    transitions in a gradient step. selection: seeds that choose settings. evaluations: of a training with a
    table, a multiple of 8; half as many of one with networks.
    """

    table_steps: int = 9600
    net_steps: int = 960
    table_updates: int = 20
    updates: tuple[int, ...] = (8, 32)
    rates: tuple[float, ...] = (1e-3, 3e-3)
    batch: int = 64
    selection: int = 3
    evaluations: int = 64

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "table_steps", "net_steps", "table_updates", "batch", "selection")
        for name, unit in (
            ("evaluations", 8),
            ("table_steps", self.evaluations),
            ("net_steps", 5 * self.evaluations),
        ):
            if getattr(self, name) % unit:
                raise check.InputError(f"{name} must be a multiple of {unit}, got {getattr(self, name)}.")

    @property
    def steps(self) -> dict[str, int]:
        """The real steps of a training at each place."""
        return {MAZE: self.table_steps, RANDOM: self.table_steps, PENDULUM: self.net_steps}


def saves(place: str, fold: float, level: float = LEVELS[-1], rival: str = FREE, key: str = "") -> Above:
    """In most runs model-free learning takes so many times as many real steps to a level of worth."""
    said = f"{place}: to {level:.0%} of the best worth, {rival} takes over {fold:g} times the real steps."
    cell = Cell(arm(place, rival), to(level))
    return Above(statement=said, key=key, cell=cell, bound=log2(fold), of="median")


def off(place: str, who: str, at: int | None = None, key: str = "") -> Above:
    """In most runs a learner misjudges its policy by over a tenth, on arrival or after some steps."""
    when = f"after {at:,} steps" if at else "on arrival"
    said = f"{place}: what {who} tells of its policy {when} is off by over {OFF:.0%} of what is at stake."
    cell = Cell(arm(place, who), LASTING if at else BIAS, at)
    return Above(statement=said, key=key, cell=cell, bound=OFF, of="median")


def regimes(config: Config) -> Sequence[Regime]:
    """At each place the model saves steps, and is off at the end."""
    return [_regime(place, steps) for place, steps in config.steps.items()]


def _regime(place: str, steps: int) -> Regime:
    helps = f"{place}: with the true model in the model's place the saving is over {FOLD:g}-fold."
    possible = Above(statement=helps, cell=Cell(arm(place, TRUE), SAVING), bound=log2(FOLD), of="median")
    saved, biased = (f"{place}: {what}" for what in ("saving", "bias"))
    others: list[Prediction] = [saves(place, 10.0), *(saves(place, FOLD, level) for level in LEVELS[:-1])]
    others += [off(place, BASED, steps // part, f"{biased} after 1/{part}") for part in PARTS]
    flatters = f"{place}: the model tells over {OFF:.0%} too much."
    others.append(
        Above(statement=flatters, key=f"{place}: flattery", cell=Cell(arm(place, BASED), FLATTERY), bound=OFF)
    )
    truth, learned = (Cell(arm(place, who), arms.FINAL) for who in (TRUE, BASED))
    lasting = (
        f"{place}: in the end the true model's policy is worth over {OFF:.0%} more than the learned one's."
    )
    others.append(
        Superiority(statement=lasting, key=f"{place}: cost", better=truth, worse=learned, margin=OFF)
    )
    long = f"{place}: over half of the model-free runs need over {steps:,} real steps."
    others.append(Share(statement=long, cell=Cell(arm(place, FREE), SOLVED), bound=0.5, side="below"))
    if place == PENDULUM:
        cells = tuple(Cell(arm(place, BASED), over(h)) for h in HORIZONS)
        longer = f"{place}: over a longer horizon the model is further off, per step."
        others.append(Trend(statement=longer, over=cells, levels=tuple(map(log2, HORIZONS))))
        small, large = (Cell(arm(place, who), LASTING) for who in (SMALL, BASED))
        smaller = f"{place}: a model with three units a layer is off by over {OFF:.0%} more."
        others.append(
            Superiority(statement=smaller, key=f"{place}: small", better=small, worse=large, margin=OFF)
        )
    else:
        others.append(saves(place, FOLD, rival=ONE, key=f"{place}: one update"))
        others.append(off(place, FREE, key=f"{place}: own values"))
    return Regime(
        name=place,
        gate=possible,
        primary=(saves(place, FOLD, key=saved), off(place, BASED, key=biased)),
        secondary=tuple(others),
    )


def controls(config: Config) -> Sequence[Control]:
    """The truth in the model's place is not off and serves, a wrong model does neither, all are alike."""
    found = []
    for place in config.steps:
        true = arm(place, TRUE)
        said, exact = f"{true} is not off.", 0.02 if place == PENDULUM else 1e-3
        found.append(Control(Exact(statement=said, cell=Cell(true, BIAS), value=0.0, atol=exact)))
        said = f"{true}: over half of the runs arrive."
        found.append(Control(Share(statement=said, cell=Cell(true, SOLVED), bound=0.5)))
        said = f"{place}: in over half of the runs it is known whether the saving is {FOLD:g}-fold."
        found.append(Control(Share(statement=said, cell=Cell(arm(place, FREE), DECIDED), bound=0.5)))
        said = f"{place}: before learning the policy is worth under half."
        found.append(Control(Below(statement=said, cell=Cell(arm(place, BASED), WORTH, 0), bound=0.5)))
        chosen = [arm(place, who) for who in ((FREE, BASED) if place == PENDULUM else (FREE, ONE, BASED))]
        found += [equal_budgets("candidates", chosen), *map(interior_choice, chosen)]
        found.append(equal_budgets("environment steps", [*chosen, true]))
        compute = "gradient steps" if place == PENDULUM else "updates"
        found.append(equal_budgets(compute, [arm(place, FREE), arm(place, BASED)]))
        if place != PENDULUM:
            false = arm(place, FALSE)
            said = f"{false}: under half of the runs arrive."
            found.append(Control(Share(statement=said, cell=Cell(false, SOLVED), bound=0.5, side="below")))
            said = f"{false} is off by over {OFF:.0%}."
            found.append(Control(Above(statement=said, cell=Cell(false, BIAS), bound=OFF)))
    return found


def run(config: Config, context: Context) -> None:
    """Train the learners with tables and those with networks, and record arrivals, savings and biases."""
    found = arms.in_tables(config, context) | arms.on_pendulum(config, context)
    for place, steps in config.steps.items():
        arms.record(context, found, place, steps, FOLD)


def figure(table: Table, config: Config) -> Figure:
    """By place: worth along the real steps, each run's saving, and how far off the models are."""
    fig, axes = figures.subplots(len(config.steps), 3, width=10.8, height=9.6, squeeze=False)
    for (along, saved, bias), (place, steps) in zip(axes, config.steps.items()):
        shown = [FREE, BASED, TRUE] + ([] if place == PENDULUM else [ONE])
        curves = {who: table.curve(arm(place, who), WORTH)[1] for who in shown}
        x = steps * np.linspace(0, 1, curves[FREE].shape[1])
        figures.curves(
            along,
            x,
            {who: np.clip(c, -0.5, 1.2) for who, c in curves.items()},
            title=place,
            xlabel="real steps",
            ylabel="worth",
            legend=place == MAZE,
        )
        along.axhline(LEVELS[-1], color="gray", linewidth=1, linestyle="--")
        rivals = [FREE] + ([] if place == PENDULUM else [ONE])
        for i, who in enumerate(rivals):
            values = table.final(arm(place, who), SAVING)
            never = values == LAST_PLACE
            y = 2.0 ** np.where(never, -3.0, values)
            look = figures.arm_style(along, who).color
            saved.plot(i + np.linspace(-0.2, 0.2, len(y)), y, "o", color=look, alpha=0.6, markersize=4)
            saved.plot([i - 0.3, i + 0.3], [2.0 ** np.median(values)] * 2, color=look, linewidth=2)
        saved.axhline(FOLD, color="gray", linewidth=1, linestyle="--")
        saved.set(yscale="log", title="saving over", ylabel="times the steps", xlim=(-0.6, 1.6))
        saved.set_xticks(range(len(rivals)), rivals)
        told = [BASED, FREE, TRUE, FALSE] if place != PENDULUM else [BASED, SMALL, TRUE]
        for i, who in enumerate(told):
            for j, part in enumerate((4, 2, 1)):
                y = table.by_seed(arm(place, who), LASTING, steps // part)[1]
                color = figures.arm_style(along, who).color
                bias.plot(
                    i + (j - 1) * 0.25 + np.linspace(-0.08, 0.08, len(y)),
                    y,
                    "o",
                    color=color,
                    alpha=0.3 + 0.3 * j,
                    markersize=3,
                )
        bias.axhline(OFF, color="gray", linewidth=1, linestyle="--")
        bias.set(title="off by, after 1/4, 1/2, all", yscale="symlog")
        bias.set_yscale("symlog", linthresh=0.1)
        bias.set_xticks(range(len(told)), told)
    return fig


def times(found: Found) -> str:
    """A saving in words; the interval's end is open where a run that never arrives is among the last."""
    low, middle, high = (2.0**x for x in (found.low, found.effect, found.high))
    return f"{middle:.1f} times [{low:.1f}, {high:.1f}]"


def answer(findings: Findings) -> str:
    """The saving at each place, how far off the models are, and the saving over one update a step."""
    places = list(findings.regimes)
    savings = ", ".join(f"{times(findings[f'{p}: saving'])} in {p}" for p in places)
    biases = ", ".join(f"{findings[f'{p}: bias'].said(100, '%')} in {p}" for p in places)
    late = ", ".join(f"{findings[f'{p}: bias after 1/1'].said(100, '%')}" for p in places)
    plain = ", ".join(f"{times(findings[f'{p}: one update'])} in {p}" for p in places if p != PENDULUM)
    return (
        f"To nine tenths of the best worth, model-free learning with replay takes {savings} the real steps of "
        f"learning through a model; Q-learning with one update a step takes at least {plain}. On arrival the "
        f"model misjudges its policy by {biases} of what is at stake; in the end by {late}."
    )


STUDY = Study(
    title="Does a learned model save real steps, and is it biased for that?",
    claim="Model-free learning needs many times the real steps of learning through a model, which is biased.",
    claim_id="T4",
    section="Trade-offs",
    regime=(
        "A slippery maze and random MDPs of 104 states, discount .95, with tables; Pendulum, SAC and MBPO with "
        "two layers of 32."
    ),
    presets={
        "smoke": Config(240, 240, 2, (1,), (3e-3,), 8, 1, 8),
        "quick": Config(6400, 960, 20, (8,), (3e-3,), selection=2),
        "full": Config(),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={
        SAVING: (LAST_PLACE, 10.0),
        **dict.fromkeys((BIAS, LASTING), (0.0, 100.0)),
        SOLVED: (0.0, 1.0),
        DECIDED: (0.0, 1.0),
    },
    seeds={"smoke": 2, "quick": 10, "full": 20},
)

if __name__ == "__main__":
    main_study(__file__)
