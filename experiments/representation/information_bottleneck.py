"""Does an information bottleneck find what it looks for, and does it generalize better? (C8)

Claim. A representation that pays for its information about the input is the information bottleneck's, and it
generalizes better than one that does not pay, more so than by dropout or by fixed noise of equal size.

Design.
- The curve. A random joint of 16 inputs and 4 outputs for each seed, whose information curve is known (Blahut
  and Arimoto). The variational bottleneck (VIB) trains on the whole joint, at five prices beta, with a code
  in two dimensions, so that I(X;T) and I(T;Y) of its noisy encoder are known by quadrature. The learning rate
  is that of the least objective. How far below the curve does it lie?
- The known joint. Six bits, four classes, 100 labeled draws. The error is exact, over all inputs.
- MNIST with 1,000 labels, a network with two hidden layers, 5,000 test images of each seed's own.
In both, nine candidates a method, chosen by the mean error over seeds on validation rows: VIB (three prices,
three rates), no bottleneck (nine rates), dropout (three shares, three rates), fixed noise. The fixed noise is
in each dimension of the code a share of its standard deviation, such that the capacity sum_d log(1 + 1 /
share^2) / 2 is the mean capacity of the VIB candidate that it stands for. For both this is a bound of I(X;T),
tight for independent dimensions alone; VIB spreads it unevenly over dimensions and inputs, the fixed noise
evenly. So equal capacity is not equal information. No noise is drawn when a network is tested. No statement
rests on I(X;T) of a network without noise, which is infinite.

Primaries. The curve: the encoder is nowhere more than a twentieth of I(X;Y) below the curve. Elsewhere: VIB
has an error that is over .2 points below that without a bottleneck; and VIB's error is below that of dropout,
and below that of fixed noise. Secondary: weight decay; 12 draws; noise in the inputs and FGSM (MNIST).

Set beforehand: a twentieth of I(X;Y), and .2 points, a fiftieth of the error on MNIST. Not blind: pilots
(seeds 0 to 15, 32 to 34) showed that VIB is about a twentieth below the curve with a third of the steps and a
little closer with all, that it errs half a point less than the others on MNIST and not on the known joint,
and that all methods want higher rates on MNIST, so the menu has them now. Seeds: at the spread of the pilot
32 decide a difference of half a point in four of five runs.
Controls: nothing lies above the curve or below the Bayes error; the rate is at least I(X;T); a price above 1
leaves nothing; equal samples and candidates; the tasks are learned.
After the run: eight of ten choices lie at the edge of a menu. On the known joint validation chose the lowest
price, but the most dropout, noise and decay, and the bottleneck has the largest error of all five (weight
decay the least); on MNIST it has the least error, and the largest of all under noisy inputs and under FGSM.

    python -m experiments.representation.information_bottleneck --preset quick     # full: 1349 s of CPU
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.representation import _bottlenecks as trainings
from experiments.representation import _curve as exact
from experiments.representation._bottlenecks import ATTACKED, CHOICE, DRAWN, ERROR, METHODS, NOISY
from experiments.representation._curve import BELOW, CLOSED, OF_X, OF_Y, SPENT, WHOLE
from lrn import check, figures
from lrn.cli import main_study
from lrn.study import Below, Cell, Control, Findings, Regime, Study, Superiority
from lrn.study.context import Context
from lrn.study.controls import equal_budgets, no_overlap
from lrn.study.select import interior_choice, select
from lrn.table import Table

VIB, NONE, DROPOUT, NOISE, DECAY = METHODS
JOINT, DIGITS = trainings.PLACES
POINTS, SHARE, NUMERICAL = 0.002, 0.05, 0.01  # of error; of I(X;Y); nats of quadrature and of interpolation
CURVE, BAYES, MOST = "curve", "Bayes", "largest share of I(X;Y) below the curve"


@dataclass(frozen=True)
class Config:
    """Settings.

    prices: of the curve. curve_steps: of its trainings. places: where methods are compared.
    draws, joint_steps, joint_width: training and validation rows, steps, units of the known joint.
    images, image_steps, image_width: training, validation and test rows, steps and units of MNIST.
    """

    prices: tuple[float, ...] = (0.01, 0.03, 0.1, 0.2, 0.3)
    curve_steps: int = 1000
    places: tuple[str, ...] = (JOINT, DIGITS)
    draws: tuple[int, int] = (100, 200)
    joint_steps: int = 300
    joint_width: int = 64
    images: tuple[int, int, int] = (1000, 1000, 5000)
    image_steps: int = 300
    image_width: int = 128

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "curve_steps", "joint_steps", "joint_width", "image_steps", "image_width")
        if min(self.prices) < exact.PRICES[0] or max(self.prices) >= 1 or len(self.prices) < 3:
            raise check.InputError(f"three or more prices, from {exact.PRICES[0]} to 1: {self.prices}.")


def arm(place: str, method: str) -> str:
    """The arm of a method."""
    return f"{place}, {method}"


def priced(place: str, beta: float) -> str:
    """The arm of a price."""
    return f"{place}, beta {beta:g}"


def over(
    said: str, better: Cell | float, worse: Cell | float, margin: float = 0.0, key: str = ""
) -> Superiority:
    """One value exceeds another."""
    return Superiority(statement=said, key=key, better=better, worse=worse, margin=margin)


def regimes(config: Config) -> Sequence[Regime]:
    """The curve, and the two tasks."""
    said = "At every price the encoder is less than a twentieth of I(X;Y) below the curve."
    near = over(said, SHARE, Cell(CURVE, MOST), key=CURVE)
    at = {b: priced(CURVE, b) for b in config.prices}
    points = [over(f"{a}: nats below.", Cell(a, BELOW), 0.0, key=f"below {b:g}") for b, a in at.items()]
    said = "{}: the rate exceeds I(X;T)."
    spent = [over(said.format(a), Cell(a, SPENT), Cell(a, OF_X), key=f"spent {b:g}") for b, a in at.items()]
    most = over("The largest share of I(X;Y) below.", Cell(CURVE, MOST), 0.0, key=f"{CURVE}, most")
    first = Regime(name="the curve", primary=(near,), secondary=(most, *points, *spent))
    return [first, *(_task(place) for place in config.places)]


def _task(place: str) -> Regime:
    def gain(other: str, margin: float = 0.0, metric: str = ERROR, said: str = "") -> Superiority:
        statement = f"{place}: {said or f'the bottleneck errs less than with {other}'}, {metric}."
        key = f"{place}, {other}, {metric}"
        return over(statement, Cell(arm(place, other), metric), Cell(arm(place, VIB), metric), margin, key)

    primary = (gain(NONE, POINTS), gain(DROPOUT), gain(NOISE))
    levels = [
        over(f"{name}: the error.", Cell(name, ERROR), 0.0, key=f"{name}: error")
        for name in (arm(place, m) for m in METHODS)
    ]
    own = Cell(arm(place, VIB), ERROR), Cell(arm(place, VIB), DRAWN)
    draws = over(f"{place}: twelve draws err less than the mean code.", *own, key=f"{place}, draws")
    others = [gain(DECAY), draws, *levels]
    if place == DIGITS:
        others += [gain(m, metric=metric) for metric in (NOISY, ATTACKED) for m in (NONE, DROPOUT, NOISE)]
    return Regime(name=place, primary=primary, secondary=tuple(others))


def controls(config: Config) -> Sequence[Control]:
    """Theorems, a price that leaves nothing, and equal treatment."""
    found = []
    for b in config.prices:
        at = priced(CURVE, b)
        said = f"{at}: not above the curve."
        found.append(Control(over(said, Cell(at, BELOW), 0.0, -NUMERICAL)))
        said = f"{at}: the rate is at least I(X;T)."
        found.append(Control(over(said, Cell(at, SPENT), Cell(at, OF_X), -NUMERICAL)))
    said = f"A price of {CLOSED:g} leaves nothing."
    found.append(Control(Below(statement=said, cell=Cell(priced(CURVE, CLOSED), OF_X), bound=NUMERICAL)))
    for place in config.places:
        arms = [arm(place, m) for m in METHODS]
        found += [equal_budgets("candidates", arms), equal_budgets("samples", trainings.trained(place))]
        found += [*map(interior_choice, arms), *([no_overlap(place)] if place == DIGITS else [])]
        said = f"{place}: without a bottleneck the task is learned."
        found.append(Control(Below(statement=said, cell=Cell(arm(place, NONE), ERROR), bound=0.4)))
        if place == JOINT:
            for name in arms:
                said = f"{name}: not below the error of Bayes."
                found.append(Control(over(said, Cell(name, ERROR), Cell(BAYES, ERROR), -1e-5)))
    return found


def run(config: Config, context: Context) -> None:
    """The curve, then the two tasks."""
    found, curve = exact.against_the_curve(context, config.prices, config.curve_steps)
    for b, values in found.items():
        context.record(priced(CURVE, b), values)
    shares = np.stack([found[b][BELOW] / found[b][WHOLE] for b in config.prices])
    context.record(CURVE, MOST, shares.max(0))
    for i, axis in enumerate(("x", "y")):
        for j, values in enumerate(curve[axis].T):
            context.record(CURVE, (OF_X, OF_Y)[i], values, step=j)
    for name in config.places:
        _compare(config, context, name)


def _compare(config: Config, context: Context, name: str) -> None:
    if name == JOINT:
        place = trainings.known_joint(context.seeds, config.draws, config.joint_width, 8)
        context.record(BAYES, ERROR, 1 - place.per_seed["known"].max(2).mean(1))
        steps = config.joint_steps
    else:
        place = trainings.digits(context.seeds, "mnist", config.images, config.image_width, 16)
        steps = config.image_steps
        context.judged_on_rows(name, place.per_seed["test"], place.per_seed["train"])
    found = trainings.compared(context, name, place, steps)
    rates = len(trainings.RATES[name])
    size = {m: (-1,) if m == NONE else (-1, rates) for m in METHODS}
    scores = {m: found[m][CHOICE].reshape(*size[m], len(context.seeds)) for m in METHODS}
    for m, choice in select(scores, "lower").items():
        context.chosen(arm(name, m), choice, scores[m][..., 0].size)
        best = int(np.ravel_multi_index(choice.place, scores[m].shape[:-1]))
        context.record(arm(name, m), {k: v[best] for k, v in found[m].items()})
    rows = np.arange(len(trainings.BETAS))
    rate = scores[VIB].mean(-1).argmin(1)
    for b, i in zip(trainings.BETAS, rows * rates + rate):
        context.record(priced(name, b), {k: v[i] for k, v in found[VIB].items()})


def figure(table: Table, config: Config) -> Figure:
    """VIB beside the curve, its distance, and the error over the price."""
    fig, axes = figures.subplots(1, 2 + len(config.places), width=3.4 * (2 + len(config.places)), height=3.8)
    steps = range(len(exact.PRICES))
    x, y = (np.stack([table.by_seed(CURVE, m, j)[1] for j in steps], 1).mean(0) for m in (OF_X, OF_Y))
    axes[0].plot(x, y, "-", color="0.5", label="exact curve (mean)")
    own = [[table.final(priced(CURVE, b), m).mean() for b in config.prices] for m in (OF_X, OF_Y)]
    axes[0].plot(*own, "o", label="VIB (mean)")
    axes[0].set(title="Information, nats", xlabel=OF_X, ylabel=OF_Y)
    figures.legend_above(axes[0])
    lines = {BELOW: np.stack([table.final(priced(CURVE, b), BELOW) for b in config.prices], 1)}
    figures.curves(axes[1], np.array(config.prices), lines, title="VIB", xlabel="beta", ylabel=BELOW)
    for ax, place in zip(axes[2:], config.places):
        lines = {VIB: np.stack([table.final(priced(place, b), ERROR) for b in trainings.BETAS], 1)}
        figures.curves(ax, np.array(trainings.BETAS), lines, title=place, xlabel="beta", ylabel=ERROR)
        for m, style in zip((NONE, DROPOUT, NOISE, DECAY), (":", "--", "-.", "-")):
            ax.axhline(table.final(arm(place, m), ERROR).mean(), color="0.5", ls=style, lw=1, label=m)
        figures.legend_above(ax)
    for ax in axes[1:]:
        ax.set_xscale("log")
    return fig


def answer(findings: Findings) -> str:
    """The distance from the curve, and the gains in error."""
    prices = sorted(float(k.split()[1]) for k in findings if k.startswith("below "))
    worst = max(prices, key=lambda b: findings[f"below {b:g}"].effect)
    most = findings[f"{CURVE}, most"]

    def gains(place: str, metric: str, others: Sequence[str]) -> str:
        return ", ".join(
            f"{'no bottleneck' if m == NONE else m} {findings[f'{place}, {m}, {metric}'].said(100, digits=2)}"
            for m in others
        )

    tasks = [place for place in (JOINT, DIGITS) if place in findings.regimes]
    held = [place for place in tasks if findings.regimes[place] == "holds"]
    rivals = NONE, DROPOUT, NOISE
    said = [f"{place}: {gains(place, ERROR, (*rivals, DECAY))}" for place in tasks]
    if DIGITS in tasks:
        said += [f"{DIGITS}, {metric}: {gains(DIGITS, metric, rivals)}" for metric in (NOISY, ATTACKED)]
    return (
        f"Trained on the whole joint, the variational bottleneck lies at most {most.said(100, digits=1)} "
        f"percent of I(X;Y) below the exact curve (at beta {worst:g}, "
        f"{findings[f'below {worst:g}'].said(digits=3)} nats). Trained on few labels, its test error is "
        f"below that of no bottleneck, dropout and fixed noise on {' and '.join(held) or 'no task'}. Points "
        f"by which its error is below that of a rival (negative: above it): {'; '.join(said)}."
    )


STUDY = Study(
    title="Does an information bottleneck find what it looks for, and does it generalize better?",
    claim="A representation that pays for its information about the input is the information bottleneck's, "
    "and generalizes better than others, more so than by dropout or fixed noise.",
    claim_id="C8",
    section="Concepts",
    regime="Random joints of 16 inputs; draws of a joint on six bits; MNIST, 1,000 labels; small networks.",
    presets={
        "smoke": Config((0.03, 0.1, 0.3), 20, (JOINT,), (60, 40), 10, 8, (50, 50, 50), 4, 8),
        "quick": Config(),
        "full": Config(curve_steps=3000, joint_steps=600, image_steps=600),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={
        **dict.fromkeys((ERROR, DRAWN, NOISY, ATTACKED), (0.0, 1.0)),
        **dict.fromkeys((SPENT, OF_X, OF_Y), (0.0, 20.0)),
        BELOW: (-0.1, 1.5),
        MOST: (-0.1, 1.0),
    },
    seeds={"smoke": 2, "quick": 8, "full": 32},
)

if __name__ == "__main__":
    main_study(__file__)
