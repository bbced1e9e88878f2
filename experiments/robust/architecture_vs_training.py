"""Does robustness follow the architecture more than the training procedure? (O4)

Claim. How robust a network is depends on its architecture more than on the procedure that trains it.

Design. Six architectures with equally many parameters (a multilayer perceptron; convolutions with max pooling
and with strides; a wide residual network; a vision transformer; an MLP-Mixer) are trained by nine procedures.
The levels of a factor decide such a comparison, so they come from stated populations: the families that the
literature compares on images, one member of each; and procedures for which papers report robustness. Six of
these use no adversarial examples: cross-entropy, label smoothing, mixup, noise, weight decay, random shifts.
Three do: PGD, PGD with half of the loss on clean images, TRADES.

Robustness is the mean accuracy under APGD (cross-entropy and targeted) over four radii in Linf, so that no
single radius decides. Each seed gives a table of architectures by procedures, whose variance has three
components (two-way analysis of variance, random levels): between architectures, between procedures, and the
rest, which is interaction and chance. The estimates are unbiased, hence may lie below zero. The claim is
asked of all procedures, and of the six without adversarial examples. Secondary: the same without the level
whose absence favors the claim least, and the same for clean accuracy.

Set beforehand. "More" is a tenth of the variance more: less would change nobody's choice. Each cell chooses
among three learning rates by clean plus attacked accuracy on validation images; all take equal steps.
Strengths are those of the papers (smoothing .1, mixup 1, decay .05, beta 6); noise has the deviation of the
radius of training. Not blind: sizes and rates come from pilots on seeds from 1000 on. DURATION
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

from experiments.robust._levels import ADVERSARIAL, ARCHITECTURES, PLAIN, PROCEDURES, learner, setting
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
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.square import SquareConfig, square
from lrn.study import Above, Cell, Exact, Findings, Regime, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import Control, equal_budgets, no_overlap
from lrn.study.select import interior_choice, select
from lrn.table import Table
from lrn.types import Array, Net

REGIMES = {"all procedures": PROCEDURES, "no adversarial examples": PLAIN}
ROBUST, CLEAN, FACTORS = "robustness", "clean", ("architecture", "procedure", "rest")
LEAST, SHUFFLED, MARGIN, SQUARE = "least difference", "shuffled", 0.1, "Square"
RADII = (0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Config:
    """Settings.

    dataset: digits (8x8), or fashion_mnist, whose images are averaged to 14x14. architectures: names.
    radii: four in Linf, ascending; networks train at the third. parameters: of every network, within a tenth.
    rates: the menu of learning rates. clean: accuracy that cross-entropy must reach. images: to attack.
    """

    dataset: str = "digits"
    architectures: tuple[str, ...] = ("MLP", "CNN, pooling", "transformer", "MLP-Mixer")
    radii: tuple[float, ...] = RADII
    parameters: int = 10_000
    training_steps: int = 300
    rates: tuple[float, ...] = (0.001, 0.003, 0.01)
    clean: float = 0.9
    steps: int = 20
    images: int = 200

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.choice("dataset", self.dataset, ("digits", "fashion_mnist"))
        for name in self.architectures:
            check.choice("architecture", name, tuple(ARCHITECTURES))
        if len(self.radii) != 4 or self.radii[0] <= 0 or (np.diff(self.radii) <= 0).any():
            raise check.InputError(f"radii must be four, ascending and above 0, got {self.radii}.")
        check.counts(self, "parameters", "training_steps", "steps", "images")
        check.between("clean", self.clean, 0.0, 1.0)

    @property
    def eps(self) -> float:
        """The radius of training."""
        return self.radii[2]


def arm(architecture: str, procedure: str, rate: float | None = None) -> str:
    """The name of a cell of the table, or of one of its trainings."""
    return f"{architecture}, {procedure}" + ("" if rate is None else f", rate {rate:g}")


def regimes(config: Config) -> Sequence[Regime]:
    """Over all procedures, and over those without adversarial examples."""
    return [_regime(where) for where in REGIMES]


def _regime(where: str) -> Regime:
    def more(what: str, key: str) -> Superiority:
        said = (
            f"{where}: the architecture has over a tenth more of the variance of {what} than the procedure."
        )
        mine, other = (Cell(where, f"{what}: {factor}") for factor in FACTORS[:2])
        return Superiority(statement=said, key=key, better=mine, worse=other, margin=MARGIN)

    said = f"{where}: the architecture has more, whichever level is left out."
    halves = [
        Above(f"{where}: the {f} has over half of the variance.", f"{f}, {where}",
              cell=Cell(where, f"{ROBUST}: {f}"), bound=0.5)
        for f in FACTORS[:2]
    ]  # fmt: skip
    least = Above(statement=said, cell=Cell(where, LEAST), bound=0.0)
    secondary = (least, more(CLEAN, f"clean, {where}"), *halves)
    return Regime(name=where, primary=(more(ROBUST, f"difference, {where}"),), secondary=secondary)


def controls(config: Config) -> Sequence[Control]:
    """Networks have one size and learn, attacks work, and shuffled architectures have no share."""
    names = [arm(a, p) for a in config.architectures for p in PROCEDURES]
    trained = [arm(a, p, r) for a in config.architectures for p in PROCEDURES for r in config.rates]
    low, high = (share * config.parameters for share in (0.9, 1.1))
    guards, flags = [], []
    for a in config.architectures:
        plain, pgd_trained = (Cell(arm(a, p), ROBUST) for p in ("standard", "PGD"))
        size, learns = Cell(a, "parameters"), Cell(arm(a, "standard"), CLEAN)
        guards += [
            Above(statement=f"{a}: cross-entropy learns.", cell=learns, bound=config.clean),
            Superiority(statement=f"{a}: PGD protects.", better=pgd_trained, worse=plain),
            Within(
                statement=f"{a}: its size is within a tenth of the wanted.", cell=size, low=low, high=high
            ),
        ]
    for name in names:
        said, masked = (
            f"{name}: PGD without a limit spares none.",
            f"{name}: Square beats APGD by no 2 points.",
        )
        guards.append(Exact(statement=said, cell=Cell(name, "unbounded"), value=0.0, atol=0.01))
        cells = {"better": Cell(name, SQUARE), "worse": Cell(name, f"{ROBUST} at {config.eps:g}")}
        flags.append(Superiority(statement=masked, **cells, margin=-0.02))
    for where in REGIMES:
        said = f"{where}: architectures shuffled within each procedure have no share (.1)."
        guards.append(Within(statement=said, cell=Cell(where, SHUFFLED), low=-0.1, high=0.1))
    alike = [equal_budgets("steps", trained), equal_budgets("samples", trained)]
    each = [control(name) for name in names for control in (no_overlap, interior_choice)]
    marks = [Control(flag, "flag") for flag in flags]
    return [*map(Control, guards), *marks, *alike, equal_budgets("candidates", names), *each]


def run(config: Config, context: Context) -> None:
    """Train and choose by architecture, attack, then divide the variance."""
    parts, validation = _parts(config, context)
    rows = [_row(config, context, a, parts, validation) for a in config.architectures]
    for where, names in REGIMES.items():
        columns = [PROCEDURES.index(p) for p in names]
        for what in (ROBUST, CLEAN):
            tables = np.stack([row[what] for row in rows], 1)[
                :, :, columns
            ]  # [seeds, architectures, procedures]
            by_factor = np.array([_shares(table) for table in tables]).T
            context.record(where, {f"{what}: {f}": x for f, x in zip(FACTORS, by_factor)})
            if what == ROBUST:
                context.record(where, LEAST, [least_difference(table) for table in tables])
                context.record(where, SHUFFLED, [shuffled(table) for table in tables])


def _shares(table: np.ndarray) -> tuple[float, float, float]:
    """The shares of `FACTORS` in one seed's table; NaN where a training is lost."""
    return stats.variance_shares(table) if np.isfinite(table).all() else (np.nan,) * 3


def least_difference(table: np.ndarray) -> float:
    """The architecture's share less the procedure's, without the level whose absence favors it least."""
    if min(table.shape) < 3 or not np.isfinite(table).all():
        return np.nan
    return min(one.rows - one.columns for one in stats.without_each_level(table))


def shuffled(table: np.ndarray, times: int = 200) -> float:
    """The mean share of architectures after they are shuffled within each procedure: 0, but for chance."""
    rng = np.random.default_rng(0)
    return float(np.mean([_shares(rng.permuted(table, axis=0))[0] for _ in range(times)]))


def _parts(config: Config, context: Context) -> tuple[Parts, np.ndarray]:
    """The images, and the validation rows of each seed, which are not trained on."""
    small = config.dataset == "digits"
    parts = for_seeds(config.dataset, context.seeds, drawn=small, most=config.images)
    if not small:
        train, test = ({**x, "image": mean_of_blocks(x["image"], 2)} for x in (parts.train, parts.test))
        parts = parts._replace(train=train, test=test)
    rows = parts.train_rows
    return parts._replace(train_rows=rows[:, : -config.images]), rows[:, -config.images :]


def _row(
    config: Config, context: Context, a: str, parts: Parts, validation: np.ndarray
) -> dict[str, np.ndarray]:
    """All procedures of one architecture: accuracies [seeds, procedures]."""
    shape, seeds = parts.train["image"].shape[1:], np.asarray(context.seeds, np.uint32)
    net = nets.of_size(ARCHITECTURES[a], shape, config.parameters)
    states, lost = _trained(config, context, a, net, parts)
    score, judge = (functools.partial(f, config, net) for f in (_validated, _judged))
    scores = context.per_seed(f"validation of {a}", score, (seeds, states, validation), parts.train)["score"]
    menus = np.where(lost, np.nan, scores)
    choices = select({p: menus[:, i].T for i, p in enumerate(PROCEDURES)}, "higher")
    best = np.array([choices[p].only for p in PROCEDURES])
    states = jax.tree.map(lambda x: x[:, np.arange(len(best)), best], states)
    found = context.per_seed(f"attacks on {a}", judge, (seeds, states, parts.test_rows), parts.test)
    for i, p in enumerate(PROCEDURES):
        context.chosen(arm(a, p), choices[p], len(config.rates))
        context.record(arm(a, p), {what: x[:, i] for what, x in found.items()})
        context.judged_on_parts(arm(a, p), parts, "image")
    context.record(a, "parameters", np.full(len(seeds), nets.parameter_count(net, shape)))
    return found


def _trained(config: Config, context: Context, a: str, net: Net, parts: Parts) -> tuple[Any, np.ndarray]:
    """Weights, leaves [seeds, procedures, rates, ...], and which trainings became non-finite."""
    make, fits = functools.partial(learner, net, config.eps), []
    steps, eps = config.training_steps, config.eps
    for procedures in (PLAIN, *ADVERSARIAL):
        arms = {arm(a, p, r): setting(p, r, steps, eps) for p in procedures for r in config.rates}
        fit = context.fit(
            make, arms, name=f"{a}: {procedures[0]}", steps=steps, data=parts.train,
            sampler=minibatch(64, rows="rows"), per_seed={"rows": parts.train_rows},
        )  # fmt: skip
        fits += [(fit.arm(name), fit.lost(name)) for name in arms]
    shape = (len(context.seeds), len(PROCEDURES), len(config.rates))
    weights = [(state.params, state.net_state) for state, _ in fits]
    states = jax.tree.map(lambda *x: np.stack(x, 1).reshape(*shape, *x[0].shape[1:]), *weights)
    return states, np.stack([lost for _, lost in fits], 1).reshape(shape)


def _validated(config: Config, net: Net, one: Any, train: Any) -> dict[str, Any]:
    """Clean plus attacked accuracy on a seed's validation images, [procedures, rates]."""
    seed, states, rows = one
    x, y = jnp.asarray(train["image"][rows], jnp.float32) / 255, train["label"][rows]
    weak = {CLEAN: no_attack, "PGD": pgd(PGDConfig(eps=config.eps, step_size=config.eps / 4, steps=10))}

    def score(weights: Any) -> Array:
        found = robust_accuracy(jax.random.key(seed), lambda z: net.apply(*weights, z)[0], x, y, weak)
        return found[CLEAN] + found["PGD"]

    return {"score": jax.lax.map(lambda row: jax.lax.map(score, row), states)}


def _judged(config: Config, net: Net, one: Any, test: Any) -> dict[str, Any]:
    """Accuracies of a seed's networks on its test images, each [procedures]."""
    seed, states, rows = one
    x, y = jnp.asarray(test["image"][rows], jnp.float32) / 255, test["label"][rows]
    apgd = AutoAttackConfig(steps=config.steps, targets=3, attacks=("apgd_ce", "apgd_t"))
    limitless = validity.unbounded(PGDConfig(config.eps, step_size=config.eps / 4, steps=config.steps))
    black_box = square(SquareConfig(eps=config.eps, queries=10 * config.steps))
    others = {CLEAN: no_attack, "unbounded": limitless, SQUARE: black_box}

    def accuracies(weights: Any) -> dict[str, Array]:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1))
        attacked = (lambda z: net.apply(*weights, z)[0]), x, y
        curve = robustness_curve(keys[0], *attacked, jnp.asarray(config.radii), standard(apgd, 10))
        right = curve.robust.mean(1, dtype=jnp.float32)
        named = {f"{ROBUST} at {r:g}": right[i] for i, r in enumerate(config.radii)}
        return {**robust_accuracy(keys[1], *attacked, others), **named, ROBUST: right.mean()}

    return jax.lax.map(accuracies, states)


def figure(table: Table, config: Config) -> Figure:
    """The table of robustness, and the shares of its variance."""
    fig, (upper, lower) = figures.subplots(2, 1, height=7.6)
    values = np.stack([[table.final(arm(a, p), ROBUST) for p in PROCEDURES] for a in config.architectures])
    names = [p.replace(" ", "\n", 1) for p in PROCEDURES]
    figures.matrix(upper, values, config.architectures, names, title="Mean accuracy under attack, four radii")
    shares = np.stack([[table.final(where, f"{ROBUST}: {f}") for f in FACTORS] for where in REGIMES])
    figures.matrix(lower, shares, tuple(REGIMES), FACTORS, title="Share of the variance of robustness")
    return fig


def answer(findings: Findings) -> str:
    """The shares of both factors, in both regimes."""
    every, plain = ([findings[f"{f}, {where}"].said(100) for f in FACTORS[:2]] for where in REGIMES)
    return (
        f"Over all procedures the architecture explains {every[0]} percent of the variance of robust accuracy, "
        f"the training procedure {every[1]}. Among procedures without adversarial examples the architecture "
        f"explains {plain[0]} percent, the procedure {plain[1]}."
    )


STUDY = Study(
    title="Does robustness follow the architecture or the training?",
    claim="How robust a network is depends on its architecture more than on the procedure that trains it.",
    claim_id="O4",
    section="Observations",
    regime="8x8 digits, four architectures of 10,000 parameters; full: Fashion-MNIST, 14x14, six of 20,000.",
    presets={
        "smoke": Config("digits", ("MLP", "CNN, strides"), RADII, 6000, 10, (0.01,), 0.9, 2, 30),
        "quick": Config(),
        "full": Config("fashion_mnist", tuple(ARCHITECTURES), (0.01, 0.02, 0.05, 0.1), 20_000, clean=0.7),
    },
    regimes=regimes,
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
