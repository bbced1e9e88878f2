"""Do methods without their guard find trivial solutions, which meet the objective and fail downstream? (F1)

Claim. Trivial solutions meet the objective of self-supervised learning and fail downstream.

Design. Five methods are trained with and without their guard, all else equal: SimCLR without negatives,
SimSiam without stop-gradient, BYOL without predictor, VICReg without the variance term, Barlow Twins without
the redundancy term. The *remaining loss* of a method is its loss without the guard, 0 at the least; both arms
have it. The guards of SimSiam and BYOL are no terms of a loss: there it is the loss that is trained. BYOL's
guard is its predictor, and the slow target stays: without target and stop-gradient BYOL is SimSiam.
Downstream is a linear probe of the features h, against the encoder before training, with the same first
weights. Each method's rate, of two, is chosen by the validation probe with the guard, and kept without it.
Regimes: content and style (labels of a hidden content; views redraw a hidden style; one hidden layer) with a
head between features and loss, as the methods have it, and without, since a head can collapse alone; and
MNIST-1D (a small CNN; views crop, scale, hide, add noise) with a head.
Detectors: the standard deviation, RankMe, and the ratio of the variances between and within examples, at the
features h and at the embeddings z; a low value is to mean collapse. The AUROC of a detector for "the probe is
below the random encoder's" is over all runs of a seed: methods, with and without guard, at both rates; where
there is a head, also with BatchNorm of its output.
A theorem is a control: a trivial embedding has the remaining loss 0 and chance accuracy; with the guard it
has the loss log(2 n - 1) (SimCLR) or 25 (.99) (VICReg), while the loss of SimSiam and BYOL cannot tell it;
RankMe does not see the scale of embeddings. Both ways can come out: whether features fall below a random
encoder's, whether a detector tells; a lower remaining loss is likely, as an arm without guard trains it.
Primaries of a regime. No method has a higher remaining loss without the guard (the least lead over methods,
of logarithms, in each seed). The probe falls below the random encoder's by over two points in most methods
(the median drop over methods, in each seed). The best detector, chosen for each seed on the other seeds, has
an AUROC over .9. Secondary: each method, each detector, and whether the best detector beats the standard
deviation of z by .1 behind output BatchNorm.
Set beforehand. Two points are about the standard error of a probe. Temperature .2, momentum .98, redundancy
.02, no weight decay. The probe standardizes features, so a collapse of their norm alone does no harm.
Not blind: on seeds 0 and 1, with other rates, probes fell below random for few methods on content and style
with a head, for three without, for most on MNIST-1D; RankMe did best, from .7 to 1. MNIST-1D without a head
was left out: methods with their guard hardly beat a random encoder, so the question does not arise.

    python -m experiments.ssl.collapse --preset quick     # a minute; full: 529 s of processor time
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.ssl import _detectors as detectors
from experiments.ssl import _guards as guards
from experiments.ssl._detectors import DETECTORS
from experiments.ssl._guards import BARE, DATA, METHODS, NORMED, PLAIN, TRIVIAL
from lrn import check, figures
from lrn.cli import main_study
from lrn.data.sampler import minibatch
from lrn.study import Above, Cell, Control, Exact, Findings, Prediction, Regime, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import equal_budgets, no_overlap
from lrn.study.select import select
from lrn.table import Table

RATES, POINTS, CLEAR, GAIN = (2e-3, 1e-2), 0.02, 0.9, 0.1
PROBE, LEFT, LEAD, DROP = "probe", "log10 remaining loss", "least lead of the loss", "median drop"
AUROC, BEHIND, BELOW = "AUROC", "AUROC behind BatchNorm", "share of runs below random"
RANDOM, BEST, FOOLED, TINY = "random encoder", "best detector of the other seeds", "std of z", 1e-12
PLACES = ((DATA[0], PLAIN), (DATA[0], BARE), (DATA[1], PLAIN))


@dataclass(frozen=True)
class Config:
    """Settings.

    places: data sets and heads. sizes: training, validation and test rows. batch, steps: of the training.
    examined: the test rows that the detectors see.
    """

    places: tuple[tuple[str, str], ...] = PLACES
    sizes: tuple[int, int, int] = (1000, 500, 1000)
    batch: int = 64
    steps: int = 300
    examined: int = 256

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "batch", "steps", "examined", low=2)


def arm(data: str, head: str, method: str, guard: bool = True) -> str:
    """The name of a method with or without its guard, at the rate that was chosen."""
    return f"{data}, {head}, {method}" + ("" if guard else " without guard")


def runs(data: str, head: str) -> dict[str, Any]:
    """All trainings of a data set and a head, by name; the first has a rate that changes no weight."""
    names = [(m, g, r) for m in METHODS for g in (True, False) for r in RATES]
    tried = {f"{arm(data, head, m, g)}, rate {r:g}": guards.lane(m, g, r) for m, g, r in names}
    return {f"{arm(data, head, RANDOM)}, not trained": guards.lane(METHODS[0], True, TINY), **tried}


def over(said: str, better: Cell | float, worse: Cell | float, margin: float, key: str = "") -> Superiority:
    """One value exceeds another."""
    return Superiority(statement=said, key=key, better=better, worse=worse, margin=margin)


def tells(name: str) -> Above:
    """A detector has an AUROC over .9."""
    return Above(statement=f"{name}: AUROC over .9.", key=name, cell=Cell(name, AUROC), bound=CLEAR)


def regimes(config: Config) -> Sequence[Regime]:
    """Each data set, with a head and without."""
    return [_regime(f"{data}, {head}", partial(arm, data, head)) for data, head in config.places]


def _regime(name: str, of: Callable[..., str]) -> Regime:
    random, best = Cell(of(RANDOM), PROBE), of(BEST)
    said = f"{name}: no remaining loss is higher without the guard."
    met = over(said, Cell(name, LEAD), 0.0, 0.0, f"{name}, loss")
    said = f"{name}: without the guard most methods fall below the random encoder by two points."
    fails = over(said, Cell(name, DROP), 0.0, POINTS, f"{name}, drop")
    others: list[Prediction] = [tells(of(d)) for d in DETECTORS]
    for m in METHODS:
        free = Cell(of(m, False), PROBE)
        said = f"{free.arm}: below the random encoder by two points."
        others.append(over(said, random, free, POINTS, free.arm))
        others.append(over(f"{free.arm}: below that with the guard.", Cell(of(m), PROBE), free, 0.0))
    if PLAIN in name.split(", "):
        said = f"{best}: behind output BatchNorm .1 better than the {FOOLED}."
        worse = Cell(of(FOOLED), BEHIND)
        others.append(over(said, Cell(best, BEHIND), worse, GAIN, f"{name}, fooled"))
    return Regime(name=name, primary=(met, fails, tells(best)), secondary=tuple(others))


def controls(config: Config) -> Sequence[Control]:
    """Trivial embeddings have the losses of theory; trainings are alike and work."""
    found = []
    for (name, metric), (value, near) in guards.known(config.batch).items():
        said = f"{name}: the {metric} is {value:.4g}."
        found.append(Control(Exact(statement=said, cell=Cell(name, metric), value=value, atol=near)))
    for data, head in config.places:
        name, simclr, random = f"{data}, {head}", arm(data, head, "SimCLR"), arm(data, head, RANDOM)
        chance, fresh = Cell(arm(data, head, TRIVIAL), PROBE), Cell(random, PROBE)
        found.append(Control(over(f"{name}: a trivial embedding is below random.", fresh, chance, POINTS)))
        works = over(f"{simclr}: better than the {RANDOM}.", Cell(simclr, PROBE), fresh, 0.0)
        found.append(Control(works, "invalid" if head == PLAIN else "flag"))
        said, share = f"{name}: 5% to 95% of the runs are below random.", Cell(name, BELOW)
        found.append(Control(Within(statement=said, cell=share, low=0.05, high=0.95), "flag"))
        trained = [run for each in guards.POPULATION[head] for run in runs(data, each)]
        found += [equal_budgets("steps", trained), equal_budgets("samples", trained)]
        chosen = [arm(data, each, m) for each in guards.POPULATION[head] for m in METHODS]
        found += [equal_budgets("candidates", chosen), no_overlap(random)]
    return found


def run(config: Config, context: Context) -> None:
    """Train all, judge all, choose the rates, score the detectors."""
    for name, values in guards.trivial(config.batch).items():
        context.record(name, {k: np.full(len(context.seeds), v) for k, v in values.items()})
    for data, head in config.places:
        found = {each: _population(config, context, data, each) for each in guards.POPULATION[head]}
        for each, values in found.items():
            _methods(context, data, each, values)
        parts = {AUROC: slice(None), BEHIND: slice(-1, None)}  # all heads, and the last
        for metric, name, values in detectors.scores(list(found.values()), RANDOM, parts, BEST):
            context.record(arm(data, head, name) if name else f"{data}, {head}", metric or BELOW, values)


def _population(config: Config, context: Context, data: str, head: str) -> dict[str, np.ndarray]:
    """What is measured of the runs, [seeds, methods, guards, rates], and of the random encoder, [seeds]."""
    of, arms = guards.scene(data, context.seeds, config.sizes, head), runs(data, head)
    fit = context.fit(
        partial(guards.learner, of),
        arms,
        name=f"{data}, {head}",
        steps=config.steps,
        data=of.task.data,
        per_seed=of.task.rows,
        sampler=minibatch(config.batch, rows="train", columns=(of.task.column,)),
        log_every=max(1, config.steps // 10),
    )
    if head != NORMED:
        context.judged_on_rows(arm(data, head, RANDOM), of.task.rows["test"], of.task.rows["train"])
    training = fit.state.training
    own = jax.tree.map(lambda x: x.swapaxes(0, 1), {"params": training.params, "states": training.net_state})
    own |= {"rows": of.task.rows, "seed": np.asarray(context.seeds, np.uint32)}
    found = context.per_seed(
        f"probes, {data}, {head}", detectors.judged(of, config.examined), own, of.task.data
    )
    context.record(arm(data, head, TRIVIAL), PROBE, found.pop(TRIVIAL))
    random, shape = found["test"][:, 0], (len(context.seeds), len(METHODS), 2, len(RATES))
    context.record(arm(data, head, RANDOM), PROBE, random)
    values = {k: v[:, 1:].reshape(shape) for k, v in found.items()}
    order = np.argsort(np.argsort(context.seeds))
    left = np.stack([fit.table.final(a, "remaining")[order] for a in arms][1:], 1).reshape(shape)
    return {**values, LEFT: np.log10(np.maximum(left, guards.LEAST)), RANDOM: random[:, None, None, None]}


def _methods(context: Context, data: str, head: str, found: dict[str, np.ndarray]) -> None:
    """The rate of each method, chosen with its guard, and what came out with and without the guard."""
    choices = select({m: found["validation"][:, i, 0].T for i, m in enumerate(METHODS)}, "higher")
    place = [choices[m].only for m in METHODS]
    at = {k: found[k][:, range(len(METHODS)), :, place] for k in ("test", LEFT)}  # [methods, seeds, guards]
    for i, m in enumerate(METHODS):
        context.chosen(arm(data, head, m), choices[m], len(RATES))
        for j, guard in enumerate((True, False)):
            context.record(arm(data, head, m, guard), {PROBE: at["test"][i, :, j], LEFT: at[LEFT][i, :, j]})
    context.record(f"{data}, {head}", LEAD, (at[LEFT][..., 0] - at[LEFT][..., 1]).min(0))
    context.record(f"{data}, {head}", DROP, np.median(found[RANDOM][:, 0, 0, 0] - at["test"][..., 1], 0))


def figure(table: Table, config: Config) -> Figure:
    """The probes with and without guard against the random encoder, and the AUROC of the detectors."""
    fig, axes = figures.subplots(len(config.places), 2, width=7.4, height=2.8 * len(config.places))
    for (left, right), (data, head) in zip(np.reshape(axes, (-1, 2)), config.places):
        for i, m in enumerate(METHODS):
            for guard, shift, color in ((True, -0.15, "C0"), (False, 0.15, "C3")):
                y = table.final(arm(data, head, m, guard), PROBE)
                name = "with the guard" if guard else "without the guard"
                left.plot(np.full(len(y), i + shift), y, ".", color=color, label=name if i == 0 else None)
        left.axhline(table.final(arm(data, head, RANDOM), PROBE).mean(), color="0.5", lw=1, label=RANDOM)
        left.set_xticks(range(len(METHODS)), METHODS, rotation=20, fontsize="x-small")
        left.set_title(f"{data}, {head}: the probe", fontsize="small")
        for i, d in enumerate((*DETECTORS, BEST)):
            y = table.final(arm(data, head, d), AUROC)
            right.plot(np.full(len(y), i), y, ".", color="C0" if d in DETECTORS else "C2")
        right.axhline(CLEAR, color="0.5", lw=1)
        right.set_xticks(range(7), (*DETECTORS, "chosen"), rotation=20, fontsize="x-small")
        right.set_title("AUROC of detectors", fontsize="small")
    figures.legend_above(np.reshape(axes, (-1, 2))[0, 0])
    return fig


def answer(findings: Findings) -> str:
    """How many methods fall below an untrained encoder, and how well detectors tell."""
    said = []
    for data, head in PLACES:
        name = f"{data}, {head}"
        if f"{name}, loss" in findings:
            drops = {m: findings[arm(data, head, m, False)] for m in METHODS}
            times, best = 10 ** findings[f"{name}, loss"].effect, findings[arm(data, head, BEST)].said(100)
            each = ", ".join(f"{m} {d.said(-100)}" for m, d in drops.items())
            below = sum(d.effect > 0 for d in drops.values())
            said.append(f"{name}: {below} of 5 ({each}); loss {times:.0f} times lower; AUROC {best}%")
    return (
        "Methods whose probe falls below the untrained encoder's without the guard (probe minus that "
        f"encoder's, in points), how far the remaining loss falls, the best detector: {'. '.join(said)}."
    )


STUDY = Study(
    title="Do trivial solutions meet the objective and fail downstream?",
    claim="Trivial solutions meet the objective of self-supervised learning and fail downstream.",
    claim_id="F1",
    section="Failure modes",
    regime="Five methods; content and style, MNIST-1D; one hidden layer; with a head or none.",
    presets={
        "smoke": Config(PLACES[1:2], (60, 40, 40), 16, 6, 20),
        "quick": Config(PLACES[:2], steps=100),
        "full": Config(),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={**dict.fromkeys((PROBE, AUROC, BEHIND, BELOW), (0.0, 1.0)), DROP: (-1.0, 1.0), LEAD: (-7.0, 7.0)},
    seeds={"smoke": 2, "quick": 8, "full": 8},
)

if __name__ == "__main__":
    main_study(__file__)
