"""Does MAML find an initialization from which few steps adapt? (I8)

Claim. MAML finds an initialization from which few gradient steps on few examples solve a new task.

Design. Sinusoids of 10 points (Finn et al. 2017), and five characters of Omniglot with one drawing each. MAML
(one inner step in training), a network trained on all tasks pooled (on Omniglot to classify all training
characters, with a new head at test: Chen et al. 2019), and a fresh network adapt by gradient descent within 1
step or within 5, the regimes of each family.

Readings. *Few steps adapt*: within so many steps MAML saves over a quarter of the loss of the better method
without meta-learning, and that method has a higher loss even within ten times as many steps. The second is
what "few" says: without meta-learning more steps would do the same. The claim is false in a regime where the
advantage is smaller or others catch up. Whether this is adaptation or reuse of features (Raghu et al. 2020)
is secondary: MAML with its body frozen at test, tuned like all others.

Arms. Each method has three starts (inner rates, outer rates, scales of the first weights), from each two
heads (its own, zeros), five rates, and any number of steps within the limit. The mean loss on validation
tasks decides on these, and on the better baseline, for each limit separately. MAML and pooled compute equally
many gradients of an example; the wide head of 206 characters makes an example of pooled count twice. Of a
task's loss no more than 100 is counted, so none is left out.

Set beforehand. A quarter is the margin of the study of shared structure (I9). Not blind: an earlier version,
on seeds 0 to 9 and 1000 to 1002, had baselines near MAML on letters after ten steps. Pilots of this one, on
seeds 1000 to 1002, set rates; there MAML saved most of the loss on sinusoids and nothing on Omniglot.

    python -m experiments.meta.rapid_adaptation --preset quick     # a minute on two cores
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.meta import _rapid as rapid
from experiments.meta._rapid import COSTS, FROZEN, METHODS, MORE, PICTURES, SINE, STEPS, starts_of
from lrn import check, figures
from lrn.cli import main_study
from lrn.meta.episode import episodes
from lrn.study import Above, Cell, Control, Findings, Regime, Study, Superiority
from lrn.study.context import Context
from lrn.study.controls import equal_budgets, no_overlap
from lrn.study.select import interior_choice, select
from lrn.table import Table

FAMILIES, LIMITS = (SINE, PICTURES), tuple(sorted({k * n for k in STEPS for n in (1, MORE)}))
LARGE = 0.25
GAIN, LEFT, LOSS, REUSE = "relative gain", "lead over ten times the steps", "loss", "part by the head alone"
BEFORE, MISLED = f"{LOSS} before adaptation", f"{LOSS} by a wrong support set"


@dataclass(frozen=True)
class Config:
    """Settings.

    training_steps: of MAML, on sinusoids and on Omniglot, in multiples of 6. tasks: a step. validation,
    tests: tasks a seed. families: sinusoids, Omniglot or both. real: Omniglot, not letters.
    """

    training_steps: tuple[int, int] = (240, 120)
    tasks: int = 8
    validation: int = 20
    tests: int = 60
    families: tuple[str, ...] = FAMILIES
    real: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "tasks")
        check.counts(self, "validation", "tests", low=2)
        for n in self.training_steps:
            check.integer("training_steps", n, low=1)
            if n % 6:
                raise check.InputError(f"training_steps must be multiples of 6, got {n}; round it.")


def arm(family: str, method: str, within: int) -> str:
    """The name of a method that adapts within so many steps."""
    return f"{family}, {method} within {within}"


def trainings(family: str, method: str) -> dict[str, float]:
    """Three trainings of a method."""
    return {f"{family}, {method}, start {s:.2g}": s for s in starts_of(family, method)}


def regimes(config: Config) -> Sequence[Regime]:
    """Each family within one step and within five."""
    return [_regime(family, k) for family in config.families for k in STEPS]


def _regime(family: str, k: int) -> Regime:
    name, ours = f"{family}, {k} step{'s' if k > 1 else ''}", arm(family, "MAML", k)
    large = f"{ours}: it saves over a quarter of the loss of the best method without meta-learning."
    left = f"{ours}: within {MORE * k} steps that method still has a higher loss."
    reuse = f"{ours}: with the body frozen, over half of the gain over a fresh network is left."
    return Regime(
        name=name,
        primary=(
            Above(statement=large, key=f"{name}: gain", cell=Cell(ours, GAIN), bound=LARGE),
            Above(statement=left, key=f"{name}: left", cell=Cell(ours, LEFT), bound=0.0),
        ),
        secondary=(Above(statement=reuse, key=f"{name}: reuse", cell=Cell(ours, REUSE), bound=0.5),),
    )


def controls(config: Config) -> Sequence[Control]:
    """The support set is used, nobody beats who is told the task, all are treated alike."""
    found: list[Control] = []
    for family in config.families:
        for k in STEPS:
            ours = arm(family, "MAML", k)
            misled, before, right = (Cell(ours, m) for m in (MISLED, BEFORE, LOSS))
            said = f"{ours}: a wrong support set costs over .1."
            found.append(Control(Superiority(statement=said, better=misled, worse=right, margin=0.1)))
            said = f"{ours}: adaptation brings something."
            found.append(Control(Superiority(statement=said, better=before, worse=right)))
        trained = [a for m in METHODS[:2] for a in trainings(family, m)]
        found.append(equal_budgets("gradients", trained))
        for k in LIMITS:
            chosen = [arm(family, m, k) for m in (*METHODS, FROZEN)]
            found += [equal_budgets("candidates", chosen), *map(interior_choice, chosen)]
        if family == SINE:
            said, best = "sinusoids: who is told the wave has no loss.", Cell(SINE, "told")
            found.append(Control(Superiority(statement=said, better=0.0, worse=best, margin=-1e-3)))
        else:
            found += [no_overlap(name) for name in trainings(family, "MAML")]
    return found


def run(config: Config, context: Context) -> None:
    """Train, choose on validation tasks, judge on others."""
    pictures = rapid.pictures(config.real)
    for family in config.families:
        data = pictures if family == PICTURES else {}
        starts = {m: _trained(config, context, family, m, data) for m in METHODS}
        starts[FROZEN] = starts["MAML"]
        each = (np.asarray(context.seeds, np.uint32), starts)
        validated = partial(rapid.validated, family, config.validation)
        losses = context.per_seed(f"validation on {family}", validated, each, data)
        menus = {k: {m: np.moveaxis(x[..., 1 : k + 1], 0, -1) for m, x in losses.items()} for k in LIMITS}
        choices = {k: select(menu, "lower", free=(3,)) for k, menu in menus.items()}
        places = {m: np.array([choices[k][m].place for k in LIMITS], np.int32) for m in starts}
        judged = partial(rapid.judged, family, config.tests)
        found = context.per_seed(f"test on {family}", judged, each, (data, places))
        for i, k in enumerate(LIMITS):
            for m in starts:
                context.chosen(arm(family, m, k), choices[k][m], menus[k][m][..., 0].size)
                context.record(arm(family, m, k), LOSS, found[m][:, i])
        best = [min(METHODS[1:], key=lambda m, c=choices[k]: c[m].score) for k in LIMITS]
        for k in STEPS:
            _record(context, family, k, best, found)
        if family == SINE:
            context.record(SINE, "told", found["told"])


def _record(context: Context, family: str, k: int, best: list[str], found: dict[str, np.ndarray]) -> None:
    """Gains against the baseline that validation chose within so many steps, and within ten times as many."""
    i, more = LIMITS.index(k), LIMITS.index(MORE * k)
    ours, frozen, fresh = (found[m][:, i] for m in ("MAML", FROZEN, "scratch"))
    other, later = (found[best[n]][:, n] for n in (i, more))
    values = {GAIN: (other - ours) / other, LEFT: (later - ours) / later}
    values |= {BEFORE: found["before"][:, i], MISLED: found["misled"][:, i]}
    context.record(arm(family, "MAML", k), {**values, REUSE: (fresh - frozen) / (fresh - ours)})


def _trained(config: Config, context: Context, family: str, method: str, data: Any) -> Any:
    """Parameters to adapt from, leaves [seeds, starts, ...]."""
    arms, cost = trainings(family, method), COSTS[family].get(method, 0)
    steps = config.training_steps[FAMILIES.index(family)]
    taken = steps * COSTS[family]["MAML"] // cost if cost else 1
    classes = len(data["train"]) if data else 0
    fit = context.fit(
        partial(rapid.learner, family, method, classes),
        arms,
        name=f"{method}, {family}",
        steps=taken,
        data=data,
        sampler=episodes(partial(rapid.tasks, family, "train"), config.tasks),
    )
    for name in arms:
        context.given(name, {"gradients": taken * config.tasks * cost})
        if data and method == "MAML":
            test = data["test"].reshape(-1, *data["test"].shape[2:]) / np.float32(255)
            context.judged_on(name, test)
    states = jax.tree.map(lambda *x: np.stack(x, 1), *(fit.arm(name).meta for name in arms))
    return rapid.adaptable(method, states)


def figure(table: Table, config: Config) -> Figure:
    """The loss within so many steps, and MAML's gains with a point for each seed."""
    height = 3.2 * len(config.families)
    fig, axes = figures.subplots(len(config.families), 2, width=8.4, height=height, squeeze=False)
    for (left, right), family in zip(axes, config.families):
        shown = {
            m: np.array([table.final(arm(family, m, k), LOSS) for k in LIMITS]).T for m in (*METHODS, FROZEN)
        }
        figures.curves(left, LIMITS, shown, title=f"{family}: loss", legend=False, xlabel="steps, at most")
        left.set(xscale="log", yscale="log")
        right.axhline(LARGE, color="gray", linewidth=1, linestyle="--")
        right.axhline(0, color="gray", linewidth=1)
        names = [(k, what) for k in STEPS for what in (GAIN, LEFT)]
        look = figures.arm_style(right, "MAML")
        for x, (k, what) in enumerate(names):
            values = table.final(arm(family, "MAML", k), what)
            right.plot(np.full(len(values), x), values, ".", color=look.color, alpha=0.6)
            right.plot([x - 0.2, x + 0.2], [values.mean()] * 2, color=look.color)
        labels = [
            f"{k} step{'s' if k > 1 else ''}\nagainst {k if what == GAIN else MORE * k}" for k, what in names
        ]
        right.set_xticks(range(len(names)), labels, fontsize="x-small")
        right.set(title=f"{family}: MAML's gain", ylabel="part of the other's loss")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return fig


def answer(findings: Findings) -> str:
    """What MAML saves within few steps, and against ten times as many."""
    said = []
    for family in FAMILIES:
        for k in STEPS:
            name = f"{family}, {k} step{'s' if k > 1 else ''}"
            gain, left = (findings[f"{name}: {what}"].said(100) for what in ("gain", "left"))
            said.append(f"{name}: {gain} and {left}")
    return (
        "MAML saves, in percent of the loss of the best method without meta-learning within as many steps, "
        f"and within ten times as many: {'; '.join(said)}."
    )


STUDY = Study(
    title="Does MAML find an initialization from which few steps adapt?",
    claim="MAML finds an initialization from which few steps adapt.",
    claim_id="I8",
    section="Insights",
    regime="Sinusoids of 10 points, two layers of 40; Omniglot at 14x14, 5 ways, one shot, one layer of 64.",
    presets={
        "smoke": Config((12, 12), 2, 2, 4, (PICTURES,), real=False),
        "quick": Config(),
        "full": Config((2100, 1500), validation=30, tests=200),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={
        **dict.fromkeys((LOSS, BEFORE, MISLED), (0.0, 100.0)),
        **dict.fromkeys((GAIN, LEFT), (-1e3, 1.0)),
    },
    seeds={"smoke": 2, "quick": 8, "full": 10},
)

if __name__ == "__main__":
    main_study(__file__)
