"""Is structure that tasks share the reason why meta-learning works? (I9)

Claim. MAML gains by what tasks share: turn that down, and its gain over methods without meta-learning
shrinks, to zero where nothing is shared.

Design. Two families of tasks, each with a dial from 0 (all is shared) to 1 (nothing is).
- Directions: five Gaussian classes in 16 dimensions, one example of each. Two directions tell the classes
  apart; the dial is the fraction of them that is a task's own. Told its directions, a task is as easy at 1
  as at 0, and so it is from scratch: the dial changes what is shared and nothing else.
- Sinusoids (Finn et al. 2017), 10 points. The dial is the fraction of the variance of y that is a random
  function of each task. The notes put the claim so, and it has a trap: the error that nobody can avoid grows,
  so a relative gain must shrink. The trend is therefore judged on the gain as a part of what who is told the
  task avoids. Support sets grow noisy as well: this is the weaker evidence. Where targets are random nobody
  can gain, so this end is a control and no prediction.

Arms, anew at each position of the dial: MAML, a network trained on all tasks pooled, and a fresh network.
Each has three starts (inner rates, outer rates, scales of the first weights) and from each the same two heads
(its own, zeros), five rates and numbers of steps. The mean loss on validation tasks decides on these, and on
the better baseline. MAML and pooled compute equally many gradients of an example, so pooled takes 4/3
(directions) or 2 (sinusoids) times as many steps. Of a task's loss no more than 100 is counted.

Set beforehand. A quarter of the loss is a gain for which one would use MAML; a twentieth counts as none, and
the gate asks for more than that where all is shared. Not blind: margins and families are of an earlier
version, seen on seeds 0 to 9 and 100 to 109; sizes, rates, scales come from pilots on 1000 to 1009, where all
held. ``quick`` takes a minute on two cores, ``full`` 13 minutes of one; ``paper`` has not been run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from lrn import check, figures, nets
from lrn.cli import main_study
from lrn.meta.adapt import InnerConfig
from lrn.meta.compute import maml_gradients, pooled_gradients
from lrn.meta.dial import Arm, Dial
from lrn.meta.families.directions import directions, posterior
from lrn.meta.families.sinusoid import shared_part, sinusoid
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.menu import Menu
from lrn.meta.own_episodes import own_episodes
from lrn.meta.pooled import PooledConfig, pooled
from lrn.meta.problem import classification, regression
from lrn.meta.scratch import ScratchConfig, scratch
from lrn.study import Cell, Control, Equivalence, Findings, Regime, Study, Superiority, Trend, Within
from lrn.study.context import Context
from lrn.study.controls import equal_budgets
from lrn.study.select import interior_choice, select
from lrn.table import Table

DIALS, METHODS = (0.0, 0.33, 0.67, 1.0), ("MAML", "pooled", "scratch")
TURNED, SINE, WAYS, ARMS = "directions", "sinusoids", 5, (*METHODS, "told")
EXAMPLES = {TURNED: (WAYS, 5 * WAYS), SINE: (10, 10)}  # of a task: support, query
COSTS = {k: {"MAML": maml_gradients(*n), "pooled": pooled_gradients(*n)} for k, n in EXAMPLES.items()}
VARIANCE = (5**3 - 0.1**3) / (3 * 4.9) / 2  # of a sinusoid's y, its amplitude uniform in [.1, 5]
LARGE, NONE, CAP = 0.25, 0.05, 100.0  # relative gains; the most that a task's loss counts
GAIN, PART, LOSS = "relative gain", "part of the avoidable", "loss"
BEFORE, MISLED = f"{LOSS} before adaptation", f"{LOSS} by a wrong support set"


@dataclass(frozen=True)
class Config:
    """Settings.

    training_steps: of MAML; a multiple of 3, for pooled to have equal compute. tasks: a step. rate: of Adam
    for MAML, the highest for pooled. steps: of adaptation, the most. validation, tests: tasks a seed.
    """

    training_steps: int = 300
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


def dial_of(family: str, config: Config) -> Dial:
    """The tasks of a family along its dial, and the settings that every method chooses from."""
    if family == TURNED:
        classes = classification(nets.mlp(None, (64,)), WAYS)
        menu = Menu(classes, (0.01, 0.03, 0.1, 0.3, 1.0), config.steps, CAP)
        return Dial(lambda d: directions(WAYS, unshared=d), DIALS, menu, lambda e, _: posterior(e, WAYS))
    waves = regression(nets.mlp(None, (40, 40), activation="tanh"))
    menu = Menu(waves, (0.003, 0.01, 0.03, 0.1, 0.3), config.steps, CAP)
    return Dial(lambda d: sinusoid(10, 10, unshared=d), DIALS, menu, shared_part)


def at(family: str, dial: float, method: str = "") -> str:
    """The name of an arm: a method at a position of the dial, or what concerns several."""
    return f"{family} {dial:g}" + (f": {method}" if method else "")


def trainings(family: str, config: Config, method: str) -> dict[str, Arm]:
    """Three starts of a method at each position of the dial."""
    scales = (0.1, 0.3, 1.0)
    outer, inner = tuple(s * config.rate for s in scales), dial_of(family, config).menu.rates[1:-1]
    starts = {"MAML": inner, "pooled": outer, "scratch": scales}[method]
    return {f"{at(family, d, method)}, start {s:.2g}": Arm(d, s) for d in DIALS for s in starts}


def over(said: str, better: Cell | float, worse: Cell | float, margin: float = 0.0, key: str = "") -> Any:
    """One value exceeds another."""
    return Superiority(statement=said, key=key, better=better, worse=worse, margin=margin)


def alike(said: str, one: Cell, other: Cell | float, margin: float, key: str = "") -> Equivalence:
    """One value lies within a margin of another."""
    return Equivalence(statement=said, key=key, one=one, other=other, margin=margin)


def falls(name: str, what: str, dials: tuple[float, ...]) -> Trend:
    """A gain falls along the dial."""
    cells, said = [Cell(at(name, d), what) for d in dials], f"{name}: the {what} falls as less is shared."
    key, way = f"{what}, {name}", "decreasing"
    return Trend(statement=said, key=key, over=tuple(cells), levels=dials, direction=way)


def regime(name: str) -> Regime:
    """There is a gain, it falls with what is shared, and it is gone where nothing is."""
    first, last = (Cell(at(name, dial), GAIN) for dial in (0, 1))
    some = over(f"{name}: where all is shared MAML saves over a twentieth of the loss.", first, 0.0, NONE)
    large = over(f"{name}: it saves over a quarter there.", first, 0.0, LARGE, f"gain, {name}")
    gone = alike(f"{name}: where nothing is shared it saves none (.05).", last, 0.0, NONE, f"end, {name}")
    relative, part = falls(name, GAIN, DIALS), falls(name, PART, DIALS if name == TURNED else DIALS[:-1])
    if name == TURNED:
        return Regime(name=name, gate=some, primary=(large, relative, gone), secondary=(part,))
    return Regime(name=name, gate=some, primary=(large, part), secondary=(relative, gone))


def controls(config: Config) -> Sequence[Control]:
    """Told the task one does best, adaptation uses the support set, and the dial is what it says."""
    checks, treated = [], []
    for name in COSTS:
        first, chosen = at(name, 0), [at(name, d, m) for d in DIALS for m in METHODS]
        loss, misled, before = (Cell(f"{first}: MAML", m) for m in (LOSS, MISLED, BEFORE))
        checks += [
            over(f"{first}: who is told the task loses less than MAML.", loss, Cell(f"{first}: told", LOSS)),
            over(f"{first}: a wrong support set is worse for MAML than none.", misled, before),
        ]
        trained = [arm for method in COSTS[name] for arm in trainings(name, config, method)]
        treated += [equal_budgets("gradients", trained), equal_budgets("candidates", chosen)]
        treated += [interior_choice(arm) for arm in chosen[: len(METHODS)]]
    for who in ("told", "scratch"):
        one, other = (Cell(at(TURNED, dial, who), LOSS) for dial in (0, 1))
        checks += [alike(f"directions: {who}, as easy at both ends, within .1.", one, other, 0.1)]
    said, told = "sinusoids: told random targets, the loss is their variance within 10%.", at(SINE, 1, "told")
    checks += [
        Within(statement=said, cell=Cell(told, LOSS), low=0.9 * VARIANCE, high=1.1 * VARIANCE),
        over("sinusoids: of random targets MAML saves less than .05.", 0.0, Cell(at(SINE, 1), GAIN), -NONE),
    ]
    return [*map(Control, checks), *treated]


def run(config: Config, context: Context) -> None:
    """Train, choose on validation tasks, judge on others."""
    for name in COSTS:
        dial = dial_of(name, config)
        each = (np.asarray(context.seeds, np.uint32), _starts(name, config, context))
        losses = context.per_seed(f"validation on {name}", partial(dial.validated, config.validation), each)
        menus = [{m: np.moveaxis(losses[m][:, i], 0, -1) for m in METHODS} for i in range(len(DIALS))]
        choices = [select(menu, "lower") for menu in menus]
        places = {m: np.array([choice[m].place for choice in choices]) for m in METHODS}
        found = context.per_seed(f"test on {name}", partial(dial.judged, config.tests), each, places)
        for i, choice in enumerate(choices):
            for m in METHODS:
                context.chosen(at(name, DIALS[i], m), choice[m], menus[i][m][..., 0].size)
            best = min(METHODS[1:], key=lambda m, choice=choice: choice[m].score)
            _record(context, name, DIALS[i], best, {k: x[:, i] for k, x in found.items()})


def _starts(family: str, config: Config, context: Context) -> dict[str, Any]:
    """Parameters to adapt from, by method, leaves [seeds, dials, starts, ...]."""
    starts, shape = {}, (len(context.seeds), len(DIALS), 3)
    for method in METHODS:
        arms, cost = trainings(family, config, method), COSTS[family].get(method, 0)
        steps = config.training_steps * COSTS[family]["MAML"] // cost if cost else 1
        make, name = partial(_learner, family, config, method), f"{method} on {family}"
        fit = context.fit(make, arms, name=name, steps=steps)
        for arm in arms:
            context.given(arm, {"gradients": steps * config.tasks * cost})
        states = [fit.arm(arm).meta for arm in arms]
        starts[method] = jax.tree.map(
            lambda *x, s=shape: np.stack(x, 1).reshape(*s, *x[0].shape[1:]), *states
        )
    return starts


def _learner(family: str, config: Config, method: str, arm: Arm) -> Any:
    """One training, or for scratch the first weights."""
    dial = dial_of(family, config)
    learners = {
        "MAML": maml(dial.menu.problem, MAMLConfig(InnerConfig(rate=arm.setting), config.rate)),
        "pooled": pooled(dial.menu.problem, PooledConfig(meta_rate=arm.setting)),
        "scratch": scratch(dial.menu.problem, ScratchConfig(scale=arm.setting)),
    }
    return own_episodes(learners[method], dial.family(arm.position), config.tasks)


def _record(context: Context, name: str, dial: float, best: str, found: dict[str, np.ndarray]) -> None:
    """What came out at one position of the dial; ``best`` is the baseline that validation chose."""
    for metric, values in found.items():
        who, what = metric.split(": ")
        context.record(at(name, dial, who), what, values)
    ours, other, told = (found[f"{who}: loss"] for who in ("MAML", best, "told"))
    context.record(at(name, dial), GAIN, (other - ours) / other)
    if name == TURNED or dial < 1:
        context.record(at(name, dial), PART, (other - ours) / (other - told))


def figure(table: Table, config: Config) -> Figure:
    """Along the dial, the loss on test tasks and MAML's gain, with a point for each seed."""
    fig, axes = figures.subplots(2, 2, width=6.4, height=6.4, sharex=True)
    for (left, right), name in zip(axes, (TURNED, SINE)):
        gains = [table.final(at(name, d), GAIN) for d in DIALS]
        losses = {m: np.array([table.final(at(name, d, m), LOSS) for d in DIALS]).T for m in ARMS}
        own = {"MAML": np.array(gains).T}
        figures.curves(left, DIALS, losses, title=f"{name}: loss", legend=name == TURNED, xlabel="not shared")
        right.axhspan(-NONE, NONE, color="gray", alpha=0.25, linewidth=0)
        right.plot(DIALS, gains, ".", color="gray", alpha=0.6, markersize=4)
        figures.curves(right, DIALS, own, title="MAML's gain", legend=False, xlabel="not shared")
    return fig


def answer(findings: Findings) -> str:
    """How much MAML gains at both ends, and how the gain falls."""
    gain, end, sine = (findings[k].said(100) for k in (f"gain, {TURNED}", f"end, {TURNED}", f"gain, {SINE}"))
    return (
        "In percent of the loss of the best method without meta-learning, MAML gains "
        f"{gain} where all tasks share the two directions that tell classes apart, and {end} where each task "
        f"has its own. On sinusoids it gains {sine} where all is shared; of the loss that can be avoided it "
        f"saves {findings[f'{PART}, {SINE}'].said(-100)} points less per unit of randomness in the targets."
    )


STUDY = Study(
    title="Does MAML's gain go with what the tasks share?",
    claim="Structure that tasks share is why MAML works: its gain shrinks to zero as they share less.",
    claim_id="I9",
    section="Insights",
    regime="Gaussian classes of one example, one layer of 64; sinusoids of 10 points, two layers of 40.",
    presets={
        "smoke": Config(training_steps=12, tasks=2, steps=3, validation=4, tests=8),
        "quick": Config(),
        "full": Config(training_steps=2100, steps=60, validation=60, tests=400),
        "paper": Config(training_steps=30_000, tasks=25, rate=1e-3, steps=60, validation=200, tests=600),
    },
    regimes=(regime(TURNED), regime(SINE)),
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={**dict.fromkeys((LOSS, BEFORE, MISLED), (0.0, CAP)), GAIN: (-1e3, 1.0)},
    seeds={"smoke": 2, "quick": 10, "full": 10},
)

if __name__ == "__main__":
    main_study(__file__)
