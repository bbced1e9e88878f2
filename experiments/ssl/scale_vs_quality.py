"""Do large batches and many negatives help, and what do they cost? (T1)

Claim. Large batches and many negatives improve a contrastive representation, and cost computation.

Design. SimCLR trains a small one-dimensional CNN on MNIST-1D with batches of 32, 128 and 512, and with all
others of the batch as negatives (2 B - 2 of them), or only those of groups of 32 examples (62). A linear
probe judges the features. Each arm is judged at three budgets, and its rate is chosen on validation rows
for each budget anew, from the same menu (one shared rate would favor the batch for which it was made):
- equal samples, where a batch of 512 takes a sixteenth of the steps of one of 32;
- equal seconds of one core, by the cost of a sample that was measured: 9.9 microseconds in a batch of 32, 9.6
  in one of 128, 15.5 in one of 512, where the similarities, which grow as B^2, are half of the work, and 7.0
  there in groups of 32 (COSTS). All negatives of a large batch cost half of its samples;
- equal steps, where it sees sixteen times as many.
An accelerator lies between the first and the last: shown are equal seconds where a step takes as long as
128 + B samples do. The rate is constant, so that one training passes all its budgets: the weights at the last
step of each are kept. Half of the samples are shown too.

Primaries. "Help" is over three points of the probe. At each of the three budgets the largest batch beats the
smallest; at the largest batch, all negatives beat groups of 32 at equal samples and at equal seconds. What
they cost is what the advantage at equal steps loses on the way to equal samples and equal seconds.
Set beforehand. Three points of accuracy, as in C1. Temperature .2.
No pilot was run; only the cost of a step was measured.
Controls: the smallest batch beats the untrained encoder; a training whose two views are of different examples
(a planted error) is worse; budgets are equal where they are called equal. A batch of 32 has no more negatives
than its group, so it is one arm.
After the run: the rate lies at the upper edge of its menu for a batch of 512 at equal steps, so its advantage
may be larger there, and for its groups of 32 at equal seconds and steps, so that of all negatives smaller.

    python -m experiments.ssl.scale_vs_quality --preset quick     # full: 227 s of processor time
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.ssl._passed import Lane, judged, learner
from experiments.ssl._tasks import task
from lrn import check, figures
from lrn.cli import main_study
from lrn.data.sampler import minibatch
from lrn.study import Cell, Control, Findings, Regime, Study, Superiority
from lrn.study.context import Context
from lrn.study.controls import equal_budgets, no_overlap
from lrn.study.select import interior_choice, select
from lrn.table import Table

BATCHES, GROUP, RATES, LEAD = (32, 128, 512), 32, (1e-3, 3e-3, 1e-2, 3e-2), 0.03
SAMPLES, HALF = "equal samples", "half of the samples"
SECONDS, DEVICE, STEPS = "equal seconds of one core", "equal seconds of an accelerator", "equal steps"
OVERHEAD = 128  # of a step of the accelerator, in samples
COSTS = {(512, 0): 1.6, (512, GROUP): 0.7}  # of a sample on one core, over that of a small batch; others 1
BUDGETS = (HALF, SAMPLES, SECONDS, DEVICE, STEPS)
PROBE, RATE, RANDOM, STRANGERS = "probe", "chosen rate", "random encoder", "views of strangers"
SMALL, LARGE, TINY = BATCHES[0], BATCHES[-1], 1e-12


@dataclass(frozen=True)
class Config:
    """Settings.

    sizes: training, validation and test rows. labels: of the probe. samples: of the budget of equal samples,
    a multiple of twice the largest batch. steps: of the budget of equal steps.
    """

    sizes: tuple[int, int, int] = (2500, 500, 1000)
    labels: int = 300
    samples: int = 16_384
    steps: int = 50

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "labels", "samples", "steps")
        if self.samples % (2 * LARGE):
            raise check.InputError(f"samples must be a multiple of {2 * LARGE}, got {self.samples}.")

    def steps_at(self, budget: str, batch: int, group: int = 0) -> int:
        """The number of steps that a batch takes in a budget; seconds are those of the middle batch."""
        if budget == STEPS:
            return self.steps
        shares = {HALF: 0.5, SAMPLES: 1.0, SECONDS: 1 / COSTS.get((batch, group), 1.0)}
        shares[DEVICE] = (1 + OVERHEAD / BATCHES[1]) / (1 + OVERHEAD / batch)
        return round(shares[budget] * self.samples / batch)


def arm(batch: int, group: int = 0, budget: str = "") -> str:
    """The name of a batch with its negatives, at a budget."""
    return f"batch {batch}" + (f" in groups of {group}" if group else "") + (f", {budget}" if budget else "")


ARMS = (*((b, 0) for b in BATCHES), (LARGE, GROUP))


def over(said: str, better: str, worse: str, key: str = "") -> Superiority:
    """The probe of one arm exceeds another's by three points."""
    return Superiority(
        statement=f"{said} by over three points.",
        key=key,
        better=Cell(better, PROBE),
        worse=Cell(worse, PROBE),
        margin=LEAD,
    )


def larger(budget: str, small: int = SMALL, large: int = LARGE) -> Superiority:
    """The larger batch wins at a budget."""
    said = f"{budget}: a batch of {large} beats {small}"
    return over(said, arm(large, 0, budget), arm(small, 0, budget), f"{budget}, {large} over {small}")


def negatives(budget: str) -> Superiority:
    """All negatives win at a budget."""
    said = f"{budget}: at a batch of {LARGE} all negatives beat groups of {GROUP}"
    return over(said, arm(LARGE, 0, budget), arm(LARGE, GROUP, budget), f"{budget}, negatives")


REGIMES = (
    Regime(
        name="samples",
        primary=(larger(SAMPLES),),
        secondary=(larger(HALF), larger(SAMPLES, BATCHES[1])),
    ),
    Regime(name="seconds", primary=(larger(SECONDS),), secondary=(larger(DEVICE),)),
    Regime(name="steps", primary=(larger(STEPS),), secondary=(larger(STEPS, SMALL, BATCHES[1]),)),
    Regime(
        name="negatives",
        primary=(negatives(SAMPLES), negatives(SECONDS)),
        secondary=(negatives(HALF), negatives(STEPS)),
    ),
)


def controls(config: Config) -> Sequence[Control]:
    """Training helps, a planted error does not, and the budgets are what they are called."""
    best = arm(SMALL, 0, SAMPLES)
    middle = arm(BATCHES[1], 0, SAMPLES)
    found = [
        Control(over(f"{best} beats the {RANDOM}", best, RANDOM)),
        Control(over(f"{middle} beats {STRANGERS}", middle, STRANGERS)),
        no_overlap(best),
    ]
    for budget in BUDGETS:
        names = [arm(*each, budget) for each in ARMS]
        if budget not in (SECONDS, DEVICE):
            found.append(equal_budgets("steps" if budget == STEPS else "samples", names))
        found += [equal_budgets("candidates", names), *map(interior_choice, names)]
    return found


def run(config: Config, context: Context) -> None:
    """Train all, probe what they passed, choose a rate for each arm and budget."""
    of = task("mnist1d", context.seeds, config.sizes)
    kept, places, at = [], {}, {}  # at: from a training to the place of its first encoder
    for batch, group in ARMS:
        name, count = arm(batch, group), sum(jax.tree.leaves(each)[0].shape[1] for each in kept)
        steps = places[name] = sorted({config.steps_at(b, batch, group) for b in BUDGETS})
        lanes = {f"{name}, rate {r:g}": Lane(r) for r in RATES}
        if (batch, group) == (BATCHES[1], 0):
            lanes |= {RANDOM: Lane(TINY), STRANGERS: Lane(RATES[1], strangers=1.0)}
        fit = context.fit(
            partial(learner, group, tuple(steps)),
            {
                f"{what}, trained" if what in (RANDOM, STRANGERS) else what: lane
                for what, lane in lanes.items()
            },
            name=name,
            steps=steps[-1],
            data=of.data,
            per_seed=of.rows,
            sampler=minibatch(batch, rows="train", columns=(of.column,)),
            log_every=max(1, steps[-1] // 10),
        )
        at |= {what: count + i * len(steps) for i, what in enumerate(lanes)}
        kept.append(jax.tree.map(_by_seed, fit.state.kept))
    own = {**of.rows, "encoders": jax.tree.map(lambda *x: np.concatenate(x, 1), *kept)}
    found = context.per_seed("probes", partial(judged, config.labels, of.classes), own, of.data)
    context.judged_on_rows(arm(SMALL, 0, SAMPLES), of.rows["test"], of.rows["train"])
    for batch, group in ARMS:
        for budget in BUDGETS:
            name, steps = arm(batch, group, budget), config.steps_at(budget, batch, group)
            place = places[arm(batch, group)].index(steps)
            tried = [at[f"{arm(batch, group)}, rate {r:g}"] + place for r in RATES]
            choice = select({name: found["validation"][:, tried].T}, "higher")[name]
            context.chosen(name, choice, len(RATES))
            context.given(name, {"steps": steps, "samples": steps * batch})
            rate = np.full(len(context.seeds), RATES[choice.only])
            context.record(name, {PROBE: found["test"][:, tried[choice.only]], RATE: rate})
    middle = arm(BATCHES[1])
    for what in (RANDOM, STRANGERS):
        place = places[middle].index(config.steps_at(SAMPLES, BATCHES[1]))
        context.record(what, PROBE, found["test"][:, at[what] + place])


def _by_seed(x: np.ndarray) -> np.ndarray:
    """Leaves [lanes, seeds, places, ...] as [seeds, lanes * places, ...]."""
    return np.swapaxes(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])


def figure(table: Table, config: Config) -> Figure:
    """The probe over the batch at each budget, and over samples with all negatives and with few."""
    fig, (left, right) = figures.subplots(1, 2, width=8.4, height=4.0)
    for budget in (SAMPLES, SECONDS, DEVICE, STEPS):
        y = np.array([table.final(arm(b, 0, budget), PROBE) for b in BATCHES])
        left.plot(BATCHES, y.mean(1), "o-", label=budget)
    left.set(xlabel="batch", ylabel="accuracy of a linear probe", xscale="log", xticks=BATCHES)
    left.set_xticklabels(map(str, BATCHES))
    left.minorticks_off()
    left.axhline(table.final(RANDOM, PROBE).mean(), color="0.5", lw=1)
    for batch, group in ARMS:
        y = np.array([table.final(arm(batch, group, b), PROBE) for b in (HALF, SAMPLES)])
        x = config.samples * np.array([0.5, 1.0])
        right.plot(
            x, y.mean(1), "s:" if group else "o-", label=arm(batch, group), color=f"C{BATCHES.index(batch)}"
        )
    right.set(xlabel="samples", xticks=(config.samples // 2, config.samples))
    for ax in (left, right):
        figures.legend_above(ax)
    return fig


def answer(findings: Findings) -> str:
    """What the batch and the negatives bring at each budget."""

    def points(key: str) -> str:
        return findings[key].said(100, " points", 1)

    many, few = f"{LARGE} over {SMALL}", 2 * GROUP - 2
    return (
        f"A batch of {LARGE} instead of {SMALL} changes the probe by {points(f'{STEPS}, {many}')} at equal "
        f"steps, by {points(f'{SAMPLES}, {many}')} at equal samples, by {points(f'{SECONDS}, {many}')} at "
        f"equal seconds of one core. At a batch of {LARGE}, all negatives instead of {few} bring "
        f"{points(f'{SAMPLES}, negatives')} at equal samples and "
        f"{points(f'{SECONDS}, negatives')} at equal seconds."
    )


STUDY = Study(
    title="Do large batches and many negatives help, and what do they cost?",
    claim="Large batches and many negatives improve contrastive representations, and cost computation.",
    claim_id="T1",
    section="Trade-offs",
    regime="SimCLR with a small CNN on MNIST-1D; batches of 32 to 512, 62 to 1,022 negatives.",
    presets={
        "smoke": Config((600, 100, 100), 100, 1024, 2),
        "quick": Config(),
        "full": Config(samples=32_768, steps=100),
    },
    regimes=REGIMES,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={PROBE: (0.0, 1.0)},
    seeds={"smoke": 2, "quick": 8, "full": 8},
)

if __name__ == "__main__":
    main_study(__file__)
