"""Does randomized smoothing certify robustness, and what does it cost? (I2)

Claim. Smoothing certifies, with a chance of error alpha, that no perturbation within an L2 radius changes the
class, and it costs clean accuracy.

Design. A network is trained on images with Gaussian noise of deviation sigma, and smoothed with the same
noise (Cohen et al. 2019). The dial is sigma. One network that is trained without noise is smoothed with every
sigma too. All have the same first weights, batches, steps, optimizer and rate for each seed. A certificate
takes 100 noisy copies of an image to select a class, and n others to bound its chance. Accuracy is that of
the smoothed classifier: the share of images with a certificate, of any radius, of the true class; who
abstains is wrong. That of a network itself only serves as the reference of the cost.

Set beforehand. With n copies no radius exceeds sigma Phi^-1(alpha^(1/n)), 2.70 sigma for n = 2000. The sigma
of a radius is the smallest one of the menu that can certify it: theory chooses, and no data. Cohen et al.
certify 43% of CIFAR-10 at radius .5; MNIST is far easier, and under 60% smoothing would be of little use. A
constant answer is certified for 10% of the images; under twice that share a certificate is worthless. Two
points of cost double the error of such a network on MNIST.

Controls. An attack inside of the certificates (PGD on the smoothed classifier) may break as many as alpha
allows; with three times the radius, a planted error, it must break more. 100 copies, too few for the radius,
must certify nothing there. Almost no noise must leave the accuracy as it was.

Not blind. Rate and sizes are from pilots on seeds 900 to 903. ``quick`` takes a minute on two cores, ``full``
about ten; ``paper`` wants a GPU, and has not been run.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import binom

from experiments.robust import _smoothed as smoothed
from experiments.robust import _trainings as trainings
from experiments.robust._smoothed import ACCURACY, ALPHA, BASE, OUTSIDE, SELECTION, at, reach
from experiments.robust._trainings import CLEAN, NETS
from lrn import check, figures
from lrn.cli import main_study
from lrn.data.sampler import minibatch
from lrn.data.seeded import Parts
from lrn.robust.noise_training import NoiseTrainingConfig, noise_training
from lrn.study import Above, Below, Cell, Equivalence, Exact, Findings, Regime, Study, Superiority, Trend
from lrn.study.context import Context
from lrn.study.controls import Control, equal_budgets, no_overlap
from lrn.table import Table

BATCH, TOO_FAR, SLIGHT = 100, 3.0, 0.01  # training images; times the radius; sigma of almost no noise
MANY, FEW, COST, SMALL = 0.6, 0.2, 0.02, 0.05  # shares of images
CURVE = tuple(np.arange(0, 2.01, 0.125).tolist())  # radii
SETS, SIGMAS = ("mnist", "fashion_mnist"), (0.12, 0.25, 0.5, 1.0)
EXCESS, FALSE = "certificates broken beyond alpha", f"broken at {TOO_FAR:g} times the radius"


@dataclass(frozen=True)
class Config:
    """Settings.

    names: data sets. sigmas: the dial. radii: the one that must be certified, and the one whose sigma shows
    the cost. network: "mlp" or "cnn". rate: of Adam. updates: of the weights. draws: n, even. images: judged
    for a seed; the attack takes the first half.
    """

    names: tuple[str, ...] = ("digits",)
    sigmas: tuple[float, ...] = (0.06, 0.12, 0.25, 0.5)
    radii: tuple[float, float] = (0.25, 0.5)
    network: str = "mlp"
    rate: float = 4e-3
    updates: int = 600
    draws: int = 2000
    images: int = 100

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in self.names:
            check.choice("data set", name, tuple(CLEAN))
        check.choice("network", self.network, tuple(NETS))
        check.positive("rate", self.rate)
        check.counts(self, "updates", "draws")
        check.integer("images", self.images, 2)
        most = reach(self.draws) * max(self.sigmas)
        if max(self.radii) >= most:
            raise check.InputError(f"radii must be below {most:.2f}, got {self.radii}; take more draws.")

    def sigma_for(self, radius: float) -> float:
        """The smallest sigma of the menu that can certify the radius."""
        return min(s for s in self.sigmas if reach(self.draws) * s > radius)


def arm(name: str, training: str, sigma: float = 0.0) -> str:
    """The name of an arm: a training, smoothed with sigma; 0 is the network itself."""
    return f"{name}: {training}" + (f", sigma {sigma:g}" if sigma else "")


def over(said: str, better: Cell, worse: Cell, margin: float = 0.0, key: str = "") -> Superiority:
    """One share exceeds another by a margin."""
    return Superiority(statement=said, key=key, better=better, worse=worse, margin=margin)


def regimes(config: Config) -> Sequence[Regime]:
    """Both halves of the claim on each data set."""
    return [regime for name in config.names for regime in _both(config, name)]


def _both(config: Config, name: str) -> tuple[Regime, Regime]:
    (near, far), (low, high) = config.radii, map(config.sigma_for, config.radii)
    noisy, plain = (Cell(arm(name, training, low), at(near)) for training in ("noise", "standard"))
    dial = tuple(Cell(arm(name, "noise", s), ACCURACY) for s in config.sigmas)
    whole, costly = Cell(arm(name, "standard"), BASE), Cell(arm(name, "noise", high), ACCURACY)
    spot, at_far = f"{name} at radius {near:g}", Cell(costly.arm, at(far))
    half, abstained = Cell(noisy.arm, at(near, config.draws // 2)), Cell(costly.arm, "abstained")
    many = f"{noisy.arm}: radius {near:g} is certified for over 60% of the images."
    few = f"{plain.arm}: radius {near:g} is certified for under 20% of the images."
    farther = f"{costly.arm}: radius {far:g} is certified for over 50% of the images."
    enough = f"{noisy.arm}: half of the copies certify under 5 points less."
    trend = f"{name}: trained on noise, the smoothed classifier is less accurate the larger sigma is."
    costs = f"{costly.arm}: it is over 2 points less accurate than a network without noise."
    itself = f"{costly.arm}: the network itself is more accurate than its smoothed classifier."
    answers = f"{costly.arm}: it abstains on under 5% of the images."
    certifies = (
        Above(statement=many, key=f"noise, {spot}", cell=noisy, bound=MANY),
        Below(statement=few, key=f"standard, {spot}", cell=plain, bound=FEW),
    )
    reaches = (Above(statement=farther, cell=at_far, bound=0.5), over(enough, half, noisy, -SMALL))
    paid = (
        Trend(statement=trend, over=dial, levels=config.sigmas, direction="decreasing"),
        over(costs, whole, costly, COST, f"cost, {name} at sigma {config.sigma_for(far):g}"),
    )
    base, answered = Cell(costly.arm, BASE), Below(statement=answers, cell=abstained, bound=SMALL)
    return (
        Regime(name=f"{name}: certifies", primary=certifies, secondary=reaches),
        Regime(
            name=f"{name}: costs accuracy", primary=paid, secondary=(over(itself, base, costly), answered)
        ),
    )


def relations(config: Config) -> Sequence[Superiority]:
    """Certified accuracy falls with the radius."""
    near, low = config.radii[0], config.sigma_for(config.radii[0])
    arms = [arm(name, training, low) for name in config.names for training in ("noise", "standard")]
    return [over(f"{a}: by definition.", Cell(a, ACCURACY), Cell(a, at(near))) for a in arms]


def controls(config: Config) -> Sequence[Control]:
    """Certificates are as true and as large as theory says, and the attack on them works."""
    return [control for name in config.names for control in _controls(config, name)]


def _controls(config: Config, name: str) -> list[Control]:
    near, itself = config.radii[0], arm(name, "standard")
    noisy = [arm(name, "noise", s) for s in config.sigmas]
    low, high = (arm(name, "noise", config.sigma_for(r)) for r in config.radii)
    slight, whole = Cell(arm(name, "standard", SLIGHT), ACCURACY), Cell(itself, BASE)
    learns = f"{itself}: over {CLEAN[name]:.0%} of the images are right."
    same = f"{slight.arm}: as accurate as the network itself, within 2 points."
    few, false = Cell(low, at(near, SELECTION)), [Cell(a, FALSE) for a in dict.fromkeys((low, high))]
    exact = [few, *(Cell(a, what) for a in noisy for what in (EXCESS, OUTSIDE))]
    checks = [
        Above(statement=learns, cell=whole, bound=CLEAN[name]),
        Equivalence(statement=same, one=slight, other=whole, margin=0.02),
        *(Exact(statement=f"{c.arm}: no {c.metric}.", cell=c, value=0.0) for c in exact),
        *(Above(statement=f"{c.arm}: over 5% are {FALSE}.", cell=c, bound=SMALL) for c in false),
    ]
    alike = [equal_budgets(what, [itself, *noisy]) for what in ("steps", "samples")]
    return [*map(Control, checks), *alike, no_overlap(itself)]


def run(config: Config, context: Context) -> None:
    """On each data set train, certify, and attack inside of the certificates and beyond."""
    net, dial = NETS[config.network], len(config.sigmas)
    sigmas = np.asarray([*config.sigmas, SLIGHT, *config.sigmas], np.float32)
    certify = functools.partial(smoothed.certified, net, sigmas, config.draws, CURVE)
    attack = functools.partial(smoothed.attacked, net, sigmas[:dial], TOO_FAR)
    for name in config.names:
        parts = trainings.own_images(name, context.seeds, config.images)
        networks, lost = _trained(config, context, name, parts)
        each = np.asarray(context.seeds, np.uint32), networks, parts.test_rows
        found = context.per_seed(f"{name}: certificates", certify, each, parts.test)
        first = jax.tree.map(lambda x: x[:, :dial], (networks, found["label"], found["radius"]))
        broken = context.per_seed(f"{name}: attacks", attack, (each[0], *first, each[2]), parts.test)
        some = np.maximum(broken["certified"], 1)
        allowed = binom.ppf(0.999, some, 2 * ALPHA)  # a certificate errs, or the prediction that breaks it
        both = {EXCESS: np.maximum(broken["inside"] - allowed, 0), FALSE: broken["beyond"] / some}
        shares = {k: x for k, x in found.items() if x.ndim == 2}
        lanes = [arm(name, training, s) for training in ("noise", "standard") for s in config.sigmas]
        for i, lane in enumerate([*lanes[:dial], arm(name, "standard", SLIGHT), *lanes[dial:]]):
            own = {k: x[:, i] for k, x in (shares | both if i < dial else shares).items()}
            context.record(lane, {k: np.where(lost, np.nan, x) for k, x in own.items()})
        context.record(arm(name, "standard"), BASE, np.where(lost, np.nan, found[BASE][:, dial]))
        trainings.record_overlap(context, arm(name, "standard"), name, parts)


def _trained(config: Config, context: Context, name: str, parts: Parts) -> tuple[Any, np.ndarray]:
    """The parameters of all lanes, leaves [seeds, lanes, ...], and which seeds were lost."""
    net, own, updates = NETS[config.network], arm(name, "standard"), config.updates
    options: Any = {"data": parts.train, "per_seed": {"rows": parts.train_rows}, "steps": updates}
    options["sampler"] = minibatch(BATCH, rows="rows")
    make = functools.partial(trainings.learner_of, net, "standard", config.rate, updates)
    plain = context.fit(make, {own: 0.0}, **options)
    arms = {arm(name, "noise", s): s for s in config.sigmas}
    noisy = context.fit(functools.partial(_on_noise, config), arms, name=f"{name}: noise", **options)
    copies = [plain.arm(own).params] * (1 + len(arms))
    networks = jax.tree.map(lambda *x: np.stack(x, 1), *(noisy.arm(a).params for a in arms), *copies)
    return networks, np.any([plain.lost(own), *(noisy.lost(a) for a in arms)], axis=0)


def _on_noise(config: Config, sigma: Any) -> Any:
    settings = NoiseTrainingConfig(trainings.adam(config.rate, config.updates), sigma=sigma)
    return noise_training(NETS[config.network], settings)


def figure(table: Table, config: Config) -> Figure:
    """Certified accuracy over the radius, by sigma: left trained on noise, right without."""
    many, sides = len(config.names), {"noise": "trained on noise", "standard": "trained without"}
    fig, axes = figures.subplots(many, 2, height=3.8 * many, sharex=True, sharey=True, squeeze=False)
    for row, name in zip(axes, config.names):
        for ax, (training, said) in zip(row, sides.items()):
            own = {f"sigma {s:g}": arm(name, training, s) for s in config.sigmas}
            lines = {k: np.stack([table.final(a, at(r)) for r in CURVE], 1) for k, a in own.items()}
            figures.curves(ax, CURVE, lines, title=f"{name.replace('_', ' ')}, {said}", xlabel="L2 radius")
        row[0].set(ylabel="certified share", ylim=(-0.02, 1.02))
    return fig


def answer(findings: Findings) -> str:
    """The shares certified, and the cost."""

    def at_each(what: str) -> str:
        keys = [key for key in findings if key.startswith(f"{what}, ")]
        found = (f"{findings[k].said(100)} on {k.removeprefix(f'{what}, ')}" for k in keys)
        return " and ".join(found).replace("_", " ")

    return (
        "In percent of the test images: trained on noise, a smoothed network is certified for "
        f"{at_each('noise')}; trained without noise, for {at_each('standard')}. The accuracy of the smoothed "
        f"network lies under that of a network without noise, in points, by {at_each('cost')}."
    )


STUDY = Study(
    title="Does randomized smoothing certify robustness, and what does it cost?",
    claim="Randomized smoothing certifies robustness with a chance of error, and costs clean accuracy.",
    claim_id="I2",
    section="Insights",
    regime="8x8 digits (full: MNIST and Fashion-MNIST), two layers of 128, L2; paper: a small CNN.",
    presets={
        "smoke": Config(updates=10, draws=400, images=10),
        "quick": Config(),
        "full": Config(SETS, SIGMAS, (0.5, 1.0), updates=1500),
        "paper": Config(SETS, SIGMAS, (0.5, 1.0), "cnn", 2e-3, 6000, 10_000, 500),
    },
    regimes=regimes,
    controls=controls,
    relations=relations,
    run=run,
    figure=figure,
    answer=answer,
    ranges=dict.fromkeys((ACCURACY, BASE, FALSE, *(at(r) for r in CURVE[1:])), (0.0, 1.0)),
    seeds={"smoke": 2},
)

if __name__ == "__main__":
    main_study(__file__)
