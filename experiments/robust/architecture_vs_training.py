"""Does robustness follow the architecture more than the training procedure? (O4)

Claim. How robust a network is depends on its architecture more than on the procedure that trains it.

Design. Six architectures with equally many parameters (a multilayer perceptron; convolutions with max pooling
and with strides; a wide residual network; a vision transformer; an MLP-Mixer) are trained by eight
procedures. The levels of a factor decide such a comparison, so they come from stated populations: the
families that the literature compares on images, one member of each; and procedures for which papers report
robustness. Six of these use no adversarial examples: cross-entropy, label smoothing, mixup, noise, weight
decay, random shifts. Two do: PGD and TRADES.

Robustness is the mean accuracy under APGD (cross-entropy and targeted) over three radii in Linf, so that no
single radius decides. Each seed gives a table of architectures by procedures. Its variance has three
components (two-way analysis of variance, random levels): between architectures, between procedures, and the
rest, which is interaction and chance. The estimates are unbiased, hence may lie below zero. Secondary: the
same without the level whose absence favors the claim least, and the same for clean accuracy.

Set beforehand. "More" is a tenth of the variance more: less would change nobody's choice. Steps are equal.
Strengths are those of the papers (smoothing .1, mixup 1, decay .05, beta 6); the noise's deviation is the
radius of training. Not blind: each architecture has the learning rate of .003, .01 and .03 that was best by
clean plus attacked validation accuracy, under cross-entropy and PGD, in pilots on seeds from 1000 on. No
pilot computed the shares, so the number of seeds is a guess. ``full`` takes about ten minutes on two cores.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.robust._levels import ARCHITECTURES, KINDS, PLAIN, PROCEDURES, RATES, learner, setting
from lrn import check, figures, nets, stats
from lrn.cli import main_study
from lrn.data.resize import mean_of_blocks
from lrn.data.sampler import minibatch
from lrn.data.seeded import Parts, for_seeds
from lrn.robust import validity
from lrn.robust.attack import no_attack
from lrn.robust.auto_attack import AutoAttackConfig, standard
from lrn.robust.curve import robustness_curve
from lrn.robust.evaluate import robust_accuracy
from lrn.robust.pgd import PGDConfig
from lrn.robust.square import SquareConfig, square
from lrn.study import Above, Cell, Exact, Findings, Regime, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import Control, equal_budgets, no_overlap
from lrn.supervised.learner import weights
from lrn.table import Table
from lrn.types import Array, Net

REGIMES = {"all procedures": PROCEDURES, "no adversarial examples": PLAIN}
ROBUST, CLEAN, FACTORS, RADII = "robustness", "clean", ("architecture", "procedure", "rest"), (0.05, 0.1, 0.2)
LEAST, SHUFFLED, MARGIN, SQUARE = "least difference", "shuffled", 0.1, "Square"


@dataclass(frozen=True)
class Config:
    """Settings.

    dataset: digits (8x8), or fashion_mnist, averaged to 12x12. architectures: names.
    radii: three in Linf, ascending; networks train at the last but one. parameters: of every network, within
    a tenth. clean: accuracy that cross-entropy must reach. images: to attack.
    """

    dataset: str = "digits"
    architectures: tuple[str, ...] = ("MLP", "CNN, strides", "MLP-Mixer")
    radii: tuple[float, ...] = RADII
    parameters: int = 10_000
    training_steps: int = 200
    clean: float = 0.9
    steps: int = 10
    images: int = 100

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.choice("dataset", self.dataset, ("digits", "fashion_mnist"))
        for name in self.architectures:
            check.choice("architecture", name, tuple(ARCHITECTURES))
        if len(self.radii) != 3 or not 0 < self.radii[0] < self.radii[1] < self.radii[2] <= 1:
            raise check.InputError(f"radii must be three in (0, 1], ascending, got {self.radii}.")
        check.counts(self, "parameters", "training_steps", "steps", "images")
        check.between("clean", self.clean, 0.0, 1.0)

    @property
    def eps(self) -> float:
        """The radius of training."""
        return self.radii[1]


def arm(architecture: str, procedure: str) -> str:
    """The name of a cell of the table."""
    return f"{architecture}, {procedure}"


def regime(where: str) -> Regime:
    """The claim over all procedures, or over those without adversarial examples."""

    def more(what: str, key: str) -> Superiority:
        said = f"{where}: of {what}'s variance the architecture has a tenth more than the procedure."
        mine, other = (Cell(where, f"{what}: {factor}") for factor in FACTORS[:2])
        return Superiority(statement=said, key=key, better=mine, worse=other, margin=MARGIN)

    said = f"{where}: the architecture has more, whichever level is left out."
    least = Above(statement=said, cell=Cell(where, LEAST), bound=0.0)
    half, names = f"{where}: the {{}} has over half of the variance.", {f: f"{f}, {where}" for f in FACTORS}
    cells = {f: Cell(where, f"{ROBUST}: {f}") for f in FACTORS[:2]}
    halves = [Above(statement=half.format(f), key=names[f], cell=c, bound=0.5) for f, c in cells.items()]
    secondary = (least, more(CLEAN, f"clean, {where}"), *halves)
    return Regime(name=where, primary=(more(ROBUST, f"difference, {where}"),), secondary=secondary)


def controls(config: Config) -> Sequence[Control]:
    """Networks have one size and learn, attacks work, and shuffled architectures have no share."""
    names = [arm(a, p) for a in config.architectures for p in PROCEDURES]
    low, high = (share * config.parameters for share in (0.9, 1.1))
    guards, flags = [], []
    for a in config.architectures:
        plain, pgd_trained = (Cell(arm(a, p), ROBUST) for p in ("standard", "PGD"))
        size, learns = Cell(a, "parameters"), Cell(arm(a, "standard"), CLEAN)
        guards += [
            Above(statement=f"{a}: cross-entropy learns.", cell=learns, bound=config.clean),
            Superiority(statement=f"{a}: PGD protects.", better=pgd_trained, worse=plain),
            Within(statement=f"{a}: it has the wanted size within a tenth.", cell=size, low=low, high=high),
        ]
    for name in names:
        spares, masked = f"{name}: PGD at will spares none.", f"{name}: Square beats APGD by no 2 points."
        guards.append(Exact(statement=spares, cell=Cell(name, "unbounded"), value=0.0, atol=0.01))
        white, black = Cell(name, f"{ROBUST} at {config.eps:g}"), Cell(name, SQUARE)
        flags.append(Superiority(statement=masked, better=black, worse=white, margin=-0.02))
    for where in REGIMES:
        said = f"{where}: architectures shuffled within each procedure have no share (.1)."
        guards.append(Within(statement=said, cell=Cell(where, SHUFFLED), low=-0.1, high=0.1))
    alike = [equal_budgets("steps", names), equal_budgets("samples", names)]
    return [*map(Control, guards), *(Control(f, "flag") for f in flags), *alike, *map(no_overlap, names)]


def run(config: Config, context: Context) -> None:
    """Train and choose by architecture, attack, then divide the variance."""
    parts = _parts(config, context)
    rows = [_row(config, context, a, parts) for a in config.architectures]
    for where, names in REGIMES.items():
        columns = [PROCEDURES.index(p) for p in names]
        for what in (ROBUST, CLEAN):
            tables = np.stack([row[what][:, columns] for row in rows], 1)
            by_factor = np.array([stats.variance_shares(table) for table in tables]).T
            context.record(where, {f"{what}: {f}": x for f, x in zip(FACTORS, by_factor)})
            if what == ROBUST:
                fewer = [[x.rows - x.columns for x in stats.without_each_level(table)] for table in tables]
                context.record(where, LEAST, np.min(fewer, axis=1))
                context.record(where, SHUFFLED, [shuffled(table) for table in tables])


def shuffled(table: np.ndarray, times: int = 200) -> float:
    """The mean share of architectures after they are shuffled within each procedure: 0, but for chance."""
    rng = np.random.default_rng(0)
    return float(np.mean([stats.variance_shares(rng.permuted(table, axis=0)).rows for _ in range(times)]))


def _parts(config: Config, context: Context) -> Parts:
    """The images: digits, split anew for each seed, or the middle of Fashion-MNIST's at half resolution."""
    if config.dataset == "digits":
        return for_seeds("digits", context.seeds, drawn=True, most=config.images)
    parts = for_seeds("fashion_mnist", context.seeds, most=config.images)
    half = [{**x, "image": mean_of_blocks(x["image"][:, 2:26, 2:26], 2)} for x in (parts.train, parts.test)]
    return parts._replace(train=half[0], test=half[1])


def _row(config: Config, context: Context, a: str, parts: Parts) -> dict[str, np.ndarray]:
    """All procedures of one architecture: accuracies [seeds, procedures]."""
    shape, seeds = parts.train["image"].shape[1:], np.asarray(context.seeds, np.uint32)
    build = functools.partial(ARCHITECTURES[a], 2 if shape[0] == 8 else 4)
    net = nets.of_size(build, shape, config.parameters)
    states: dict[str, Any] = {}
    for kind in KINDS:
        arms = {arm(a, p): setting(p, RATES[a], config.training_steps, config.eps) for p in kind}
        fit = context.fit(
            functools.partial(learner, net, config.eps), arms, steps=config.training_steps, data=parts.train,
            sampler=minibatch(64, rows="rows"), per_seed={"rows": parts.train_rows},
        )  # fmt: skip
        states |= {p: weights(fit.arm(arm(a, p))) for p in kind}
    each = (seeds, jax.tree.map(lambda *x: np.stack(x, 1), *states.values()), parts.test_rows)
    found = context.per_seed(f"attacks on {a}", functools.partial(_judged, config, net), each, parts.test)
    for i, p in enumerate(PROCEDURES):
        context.record(arm(a, p), {what: x[:, i] for what, x in found.items()})
        context.judged_on_parts(arm(a, p), parts, "image")
    context.record(a, "parameters", np.full(len(seeds), nets.parameter_count(net, shape)))
    return found


def _judged(config: Config, net: Net, one: Any, test: Any) -> dict[str, Any]:
    """Accuracies of a seed's networks on its test images, each [procedures]."""
    seed, states, rows = one
    x, y = jnp.asarray(test["image"][rows], jnp.float32) / 255, test["label"][rows]
    radii, apgd = (
        np.asarray(config.radii),
        AutoAttackConfig(steps=config.steps, targets=2, attacks=("apgd_ce", "apgd_t")),
    )
    limitless = validity.unbounded(PGDConfig(config.eps, step_size=config.eps / 4, steps=5 * config.steps))
    black_box = square(SquareConfig(eps=config.eps, queries=10 * config.steps))
    others = {CLEAN: no_attack, "unbounded": limitless, SQUARE: black_box}

    def accuracies(state: tuple[Any, Any]) -> dict[str, Array]:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1))

        def logits_fn(z: Array) -> Array:
            return net.apply(state[0], state[1], z)[0]

        curve = robustness_curve(keys[0], logits_fn, x, y, radii, standard(apgd, 10))
        right = curve.robust.mean(1, dtype=jnp.float32)
        named = {f"{ROBUST} at {r:g}": right[i] for i, r in enumerate(config.radii)}
        return {**robust_accuracy(keys[1], logits_fn, x, y, others), **named, ROBUST: right.mean()}

    return jax.lax.map(accuracies, states)


def figure(table: Table, config: Config) -> Figure:
    """The table of robustness, and the shares of its variance."""
    fig, (upper, lower) = figures.subplots(2, 1, height=7.6)
    values = np.stack([[table.final(arm(a, p), ROBUST) for p in PROCEDURES] for a in config.architectures])
    names = [p.replace(" ", "\n", 1) for p in PROCEDURES]
    figures.matrix(
        upper, values, config.architectures, names, title="Mean accuracy under attack, three radii"
    )
    shares = np.stack([[table.final(where, f"{ROBUST}: {f}") for f in FACTORS] for where in REGIMES])
    figures.matrix(lower, shares, tuple(REGIMES), FACTORS, title="Share of the variance of robustness")
    return fig


def answer(findings: Findings) -> str:
    """The shares of both factors, in both regimes."""
    every, plain = ([findings[f"{f}, {where}"].said(100) for f in FACTORS[:2]] for where in REGIMES)
    return (
        f"Over all procedures the architecture explains {every[0]} percent of the variance of robustness, "
        f"the procedure {every[1]}. Among procedures without adversarial examples the architecture "
        f"explains {plain[0]} percent, the procedure {plain[1]}."
    )


STUDY = Study(
    title="Does robustness follow the architecture or the training?",
    claim="How robust a network is depends on its architecture more than on the procedure that trains it.",
    claim_id="O4",
    section="Observations",
    regime="8x8 digits, three architectures of 10,000 parameters; full: Fashion-MNIST, 12x12, six of 15,000.",
    presets={
        "smoke": Config("digits", ("MLP", "CNN, strides"), RADII, 6000, 10, 0.9, 2, 30),
        "quick": Config(),
        "full": Config("fashion_mnist", tuple(ARCHITECTURES), (0.02, 0.05, 0.1), 15_000, 150, clean=0.7),
    },
    regimes=tuple(map(regime, REGIMES)),
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={
        **{f"{what}: {f}": (-1.0, 1.0) for what in (ROBUST, CLEAN) for f in FACTORS},
        **dict.fromkeys((ROBUST, CLEAN), (0.0, 1.0)), LEAST: (-2.0, 2.0), SHUFFLED: (-1.0, 1.0),
    },
    seeds={"smoke": 2, "quick": 10, "full": 8},
)  # fmt: skip

if __name__ == "__main__":
    main_study(__file__)
