"""Does robustness cost clean accuracy, and does it need more capacity and more data? (T2)

Claim. Adversarial training costs accuracy on clean images, and robust networks need more capacity and more
data than others do.

Design. Networks with two hidden layers are trained by standard training and on PGD: of width times 1, 4 and
16 on images times 16, and of width times 16 on images times 1, 4 and 16. All take the same number of steps,
and the dial is this number: a quarter, half and all. Long training overfits, wide networks most, so that the
last weights are less robust again where the network is wide: each training keeps the weights with the best
accuracy on validation images, under its own attack. The same accuracy chooses one of several learning rates.
No test image takes part in a choice. Robust accuracy is what APGD with two losses and Square, which needs no
gradient, leave.
- Clean cost: at the largest width and set, PGD training has over one point less of clean accuracy.
- Capacity: from width x 1 to x 16, the robust accuracy of PGD training gains over two points more than the
  clean accuracy of standard training. Data: the same for the number of images.
A regime asks at all three numbers of steps, and holds where its prediction holds at each.

Set beforehand. A point is the cost at which a user begins to weigh robustness against accuracy; two points
are what some hundred test images resolve. The errors that are left bound a gain in points, and standard
training leaves fewer: so gains are shown in log odds too, which have no such bound, and not counted. A step
on PGD takes four gradients, a standard step one; PGD with four times the steps is shown. Not blind: pilots
on seeds 0 to 3 chose width, eps and rates. A first registered run was void, and its results were seen: with
layers of 16, PGD training ends with one class for every image in four of ten seeds, as small networks do in
Madry et al. (2018), and a guard took a network that no attack can change for a broken attack. Now the guards
on attacks hold for standard training and for the largest network, and are flags elsewhere; the menu of rates
reaches .3. No prediction was changed.
``quick`` takes about two minutes on two cores, ``full`` about ten; ``paper`` wants a GPU and was not run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.robust._grid import CROSS, SHARES, TIMES, cell, chosen
from experiments.robust._threats import Judge, Threats, attacked_in_ball
from experiments.robust._watched import images
from lrn import check, figures, nets
from lrn.cli import main_study
from lrn.study import Above, Cell, Exact, Findings, Regime, Study, Superiority
from lrn.study.context import Context
from lrn.study.controls import Control, equal_budgets, no_overlap
from lrn.study.select import interior_choice
from lrn.table import Table
from lrn.types import Net

TRAININGS, DIALS = ("standard", "PGD"), ("width", "data")
COST, MORE, NOISE = 0.01, 0.02, 0.02
CLEAN, ROBUST, BY_GRADIENTS, ODDS = "clean", "robust", "robust, without Square", ", log odds"


@dataclass(frozen=True)
class Config:
    """Settings.

    dataset: digits, mnist or fashion_mnist. eps: the Linf radius. clean: accuracy that standard training must
    reach. width, train: of x 1. valid, test: images of each seed; the first ``attacked`` test images are
    attacked. quarter: epochs of a quarter of the training, each of ``epoch`` steps. attack_steps: of PGD in
    training. steps, queries: of the judging attacks. rates: of SGD.
    """

    dataset: str = "digits"
    eps: float = 0.1
    clean: float = 0.9
    width: int = 16
    train: int = 60
    valid: int = 300
    test: int = 400
    attacked: int = 400
    quarter: int = 4
    epoch: int = 50
    attack_steps: int = 3
    steps: int = 20
    queries: int = 100
    rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.choice("dataset", self.dataset, ("digits", "mnist", "fashion_mnist"))
        check.counts(self, "width", "train", "valid", "test", "attacked", "quarter", "epoch", "attack_steps")
        check.counts(self, "steps", "queries")
        check.between("clean", self.clean, 0.0, 1.0)
        check.positive("eps", self.eps)

    def net(self, wider: int) -> Net:
        """The network of a width."""
        return nets.mlp(10, (self.width * wider, self.width * wider))

    @property
    def threats(self) -> Threats:
        """The ball and the budgets of the judging attacks."""
        return Threats(self.eps, steps=self.steps, queries=self.queries, few=self.attacked)

    @property
    def marks(self) -> tuple[int, ...]:
        """The epochs at which weights are kept."""
        return self.quarter, 2 * self.quarter, 4 * self.quarter


def gained(dial: str, share: str) -> str:
    """The arm of the gains from x 1 to x 16 of a dial, at x 16 of the other."""
    return f"{dial} x 16, {share}"


def over(said: str, cells: Iterable[Cell], margin: float, key: str = "") -> Superiority:
    """The first value exceeds the second by a margin."""
    better, worse = cells
    return Superiority(statement=said, key=key, better=better, worse=worse, margin=margin)


def regimes(config: Config) -> Sequence[Regime]:
    """The clean cost, and the gains by width and by data, at each number of steps."""
    costs = tuple(costs_clean(f"cost, {s}", s, s) for s in SHARES)
    rest = [costs_clean("cost, four times the steps", SHARES[0], SHARES[2])]
    rest += [costs_clean(f"cost, width x {w}, data x {n}", "all", "all", w, n) for w, n in ((1, 16), (16, 1))]
    return [Regime(name="clean cost", primary=costs, secondary=tuple(rest)), *map(_gains, DIALS)]


def costs_clean(key: str, standard: str, pgd: str, wider: int = 16, more: int = 16) -> Superiority:
    """PGD training has over a point less of clean accuracy, each training with its share of the steps."""
    arms = cell("standard", wider, more, standard), cell("PGD", wider, more, pgd)
    cells = (Cell(arm, CLEAN) for arm in arms)
    return over(f"{arms[0]}: clean accuracy a point over {arms[1]}.", cells, COST, key)


def _gains(dial: str) -> Regime:
    points, odds = [], []
    for share in SHARES:
        arm, said = gained(dial, share), f"{dial} x 16, {share} of the steps: robust accuracy gains"
        in_points, in_odds = ([Cell(arm, m + unit) for m in (ROBUST, CLEAN)] for unit in ("", ODDS))
        points.append(over(f"{said} two points more.", in_points, MORE, f"{dial}, {share}"))
        odds.append(over(f"{said} more in log odds.", in_odds, 0.0, f"{dial}, {share}{ODDS}"))
    alone = [
        Above(
            statement=f"{dial}: {m} accuracy gains.",
            key=f"{dial}, {m}",
            cell=Cell(gained(dial, "all"), m),
            bound=0.0,
        )
        for m in (ROBUST, CLEAN)
    ]
    return Regime(name=dial, primary=tuple(points), secondary=(*odds, *alone))


def controls(config: Config) -> Sequence[Control]:
    """What shows that an attack, or a training, is broken."""
    arms = {(t, w, n): cell(t, w, n) for t in TRAININGS for w, n in CROSS}
    learns = f"standard, largest: over {config.clean:.0%} of clean images are right."
    guards: list[Any] = [
        Above(statement=learns, cell=Cell(arms["standard", 16, 16], CLEAN), bound=config.clean)
    ]
    flags: list[Any] = [masked(arms["PGD", w, n]) for w, n in CROSS]
    for w, n in ((16, 16), (1, 16), (16, 1)):
        pair = (Cell(arms[t, w, n], ROBUST) for t in reversed(TRAININGS))
        protects = over(f"Width x {w}, data x {n}: PGD training protects.", pair, 0.0)
        (guards if w == n else flags).append(protects)
    for (t, w, n), arm in arms.items():
        said = f"{arm}: an attack at will spares none."
        spares = Exact(statement=said, cell=Cell(arm, "at will"), value=0.0, atol=0.005)
        (guards if t == "standard" or w == n else flags).append(spares)
    alike = [equal_budgets(what, [*arms.values()]) for what in ("steps", "samples", "candidates")]
    chosen, apart = map(interior_choice, arms.values()), map(no_overlap, arms.values())
    return [*map(Control, guards), *(Control(f, "flag") for f in flags), *alike, *chosen, *apart]


def masked(arm: str) -> Superiority:
    """Square alone fools under two points: gradients are not masked."""
    cells = (Cell(arm, metric) for metric in (ROBUST, BY_GRADIENTS))
    return over(f"{arm}: Square adds under two points.", cells, -NOISE)


def run(config: Config, context: Context) -> None:
    """Train, choose the rates on validation images, attack."""
    parts = images(config.dataset, context.seeds, 16 * config.train, config.valid, config.test)
    found: dict[str, dict[str, np.ndarray]] = {}
    for wider in TIMES:
        judge = Judge(config.net(wider), config.threats, parts, attacked_in_ball)
        (one, lost), (other, bad) = (chosen(config, context, parts, t, wider) for t in TRAININGS)
        found |= judge(context, one | other, lost | bad, f"attacks, width x {wider}")
    for arm, own in found.items():
        context.record(arm, own)
    few = {ROBUST: min(config.attacked, config.test), CLEAN: config.test}
    for dial, share in itertools.product(DIALS, SHARES):
        for training, metric in zip(TRAININGS, (CLEAN, ROBUST)):
            ends = [cell(training, *at, share) for at in ((16, 16), (1, 16) if dial == "width" else (16, 1))]
            high, low = (found[arm][metric] for arm in ends)
            context.record(gained(dial, share), metric, high - low)
            odds = log_odds(high, few[metric]) - log_odds(low, few[metric])
            context.record(gained(dial, share), metric + ODDS, odds)


def log_odds(accuracy: np.ndarray, count: int) -> np.ndarray:
    """The log odds of being right on one of ``count`` images, in nats; both sides get half an image more."""
    return np.log((accuracy * count + 0.5) / ((1 - accuracy) * count + 0.5))


def figure(table: Table, config: Config) -> Figure:
    """Accuracies along both dials with all the steps, and the gains at each number of steps."""
    fig, axes = figures.subplots(2, 2, height=7.0)
    shown = {
        "standard, clean": ("standard", CLEAN),
        "PGD, clean": ("PGD", CLEAN),
        "PGD, robust": ("PGD", ROBUST),
    }
    steps, times, metrics = np.array(config.marks) * config.epoch, np.log2(TIMES), (ROBUST, CLEAN)
    for (left, right), dial in zip(axes, DIALS):
        places, first = [(k, 16) if dial == "width" else (16, k) for k in TIMES], dial == "width"
        by_dial = {k: [table.final(cell(t, *at), m) for at in places] for k, (t, m) in shown.items()}
        by_steps = {f"gain, {m}": [table.final(gained(dial, s), m) for s in SHARES] for m in metrics}
        sides = (left, times, by_dial, (f"{dial}, times", "accuracy"))
        for ax, x, lines, (below, beside) in (
            sides,
            (right, steps, by_steps, ("steps", f"gain by {dial} x 16")),
        ):
            by_seed = {name: np.stack(values, 1) for name, values in lines.items()}
            figures.curves(ax, x, by_seed, xlabel=below, ylabel=beside, legend=first)
        left.set_xticks(times, [str(k) for k in TIMES])
    return fig


def answer(findings: Findings) -> str:
    """The cost, and both gains."""

    def at_each(what: str) -> str:
        few, half, everything = (findings[f"{what}, {share}"].said(100, digits=1) for share in SHARES)
        return f"{few}, {half} and {everything}"

    wide, large = (findings[f"{dial}, all{ODDS}"].said(digits=2) for dial in DIALS)
    return (
        f"PGD training costs {at_each('cost')} points of clean accuracy with a quarter, half and all of the "
        f"steps. By 16 times the width its robust accuracy gains {at_each('width')} points more than the "
        f"clean accuracy of standard training; by 16 times the images, {at_each('data')} more. In log odds, "
        f"which no ceiling bounds, it gains {wide} more by width, {large} by images, with all the steps."
    )


STUDY = Study(
    title="Does robustness cost clean accuracy, and need capacity and data?",
    claim="Adversarial training costs clean accuracy, and robust networks need more capacity and more data.",
    claim_id="T2",
    section="Trade-offs",
    regime="8x8 digits (full: Fashion-MNIST), layers of 16 to 256, 60 to 960 (full: 500 to 8,000) images.",
    presets={
        "smoke": Config(train=5, valid=20, test=20, attacked=20, quarter=1, epoch=2, attack_steps=1, steps=2),
        "quick": Config(),
        "full": Config("fashion_mnist", 0.05, 0.8, train=500, valid=500, test=1000, attacked=300),
        "paper": Config("fashion_mnist", 0.1, 0.85, 64, 3000, 5000, 5000, 1000, 100, 500, 20, 100, 5000),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges=dict.fromkeys((CLEAN, ROBUST, BY_GRADIENTS, "at will"), (-1.0, 1.0)),
    seeds={"smoke": 2, "quick": 8, "full": 10},
)

if __name__ == "__main__":
    main_study(__file__)
