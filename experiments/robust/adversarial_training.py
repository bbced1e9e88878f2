"""Does adversarial training give robustness that strong attacks confirm? (C2)

Claim. A network trained on attacked inputs withstands attacks, also those that are stronger than the attack
of its training: its accuracy under a common attack is no illusion.

Design. At each place (a data set and an eps in Linf) a network is trained in six ways, from the same weights
and on the same batches for each seed: on clean images; on PGD's (7 steps); "fast", on RS-FGSM's (one step
from a random start); by TRADES; by MART; and for free (8 updates on each batch, as many updates as the others
have batches). All have one optimizer and rate. FGSM, PGD (50 steps), APGD, Square and AutoAttack (its four
attacks, with fewer steps, targets and queries) attack all networks; `lrn.robust.audit` checks PGD.

Set beforehand. Networks on MNIST gain over 80 points (Madry et al. 2018); 30 is far from both that and none.
AutoAttack took 3.0 to 4.6 points from PGD-20 on published networks of PGD training (Croce & Hein 2020), so
over 5 would be an illusion. The same 5 points are the most that one would pay for a training of a quarter of
the cost. Eps is the largest of .05, .1, .15, .2 at which PGD training survived in the pilot: every network
held half of the images under AutoAttack. There fast training has its hardest test. It may end in catastrophic
overfitting: a gap of 20 points between the accuracies under RS-FGSM, its own attack, and under PGD.

Controls. The prediction's difference and the audit must see two planted illusions: standard training behind
rounded inputs, which have no gradient, and PGD with steps a hundred times too short.

Not blind. Rate, eps and sizes are from pilots on seeds 900 to 903. ``quick`` takes a minute and a half on two
cores, ``full`` a quarter of an hour; ``paper`` wants a GPU, and has not been run.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.robust import _trainings as trainings
from experiments.robust._attacked import ATTACKS, attacked
from experiments.robust._trainings import CLEAN, PASSES, REPLAYS
from lrn import check, figures
from lrn.cli import main_study
from lrn.data.sampler import minibatch
from lrn.data.seeded import Parts
from lrn.robust.auto_attack import AutoAttackConfig
from lrn.study import Above, Below, Cell, Exact, Findings, Prediction, Regime, Share, Study, Superiority
from lrn.study.context import Context
from lrn.study.controls import Control, equal_budgets, no_overlap
from lrn.table import Table

BATCH, JUDGED = 100, ("standard", "PGD", "fast")  # images in a step; arms of the primary predictions
NUMBERS = ("zero gradients", "black box is stronger", "not converged", "spared at will", "collapsed")
MASKED, WEAK = "standard, rounded inputs", "PGD, attacked by short steps"
PLANTED = {MASKED: "standard", WEAK: "PGD"}  # from an illusion to the training of its network
GAIN, CLOSE, COST, NOISE = 0.3, 0.05, 0.02, 0.02  # of accuracy


@dataclass(frozen=True)
class Config:
    """Settings.

    places: data sets, each with an eps. network: "mlp" or "cnn". rate: of Adam. arms: the trainings; the
    first three are needed. updates: of the weights in each training, a multiple of 8. steps, targets,
    queries: of the attacks in AutoAttack. images: attacked for a seed.
    """

    places: tuple[tuple[str, float], ...] = (("digits", 0.15),)
    network: str = "mlp"
    rate: float = 4e-3
    arms: tuple[str, ...] = tuple(PASSES)
    updates: int = 400
    steps: int = 20
    targets: int = 5
    queries: int = 300
    images: int = 100

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, eps in self.places:
            check.choice("data set", name, tuple(CLEAN))
            check.between("eps", eps, 1e-6, 1.0)
        check.choice("network", self.network, tuple(trainings.NETS))
        if self.arms[:3] != JUDGED or not set(self.arms) <= set(PASSES):
            raise check.InputError(f"arms must begin with standard, PGD and fast, got {self.arms}.")
        check.positive("rate", self.rate)
        check.counts(self, "updates", "steps", "targets", "queries", "images")
        if self.updates % REPLAYS:
            raise check.InputError(f"updates must be a multiple of {REPLAYS}, got {self.updates}.")


def place_of(name: str, eps: float) -> str:
    """The name of a place."""
    return f"{name.replace('_', ' ')} at eps {eps:g}"


def arm(place: str, training: str) -> str:
    """The name of an arm: a training, judged at a place."""
    return f"{training}, {place}"


def over(said: str, better: Cell, worse: Cell, margin: float = 0.0, key: str = "") -> Superiority:
    """One accuracy exceeds another by a margin."""
    return Superiority(statement=said, key=key, better=better, worse=worse, margin=margin)


def regimes(config: Config) -> Sequence[Regime]:
    """The claim, at each place."""
    return [_regime(place_of(*p), config.arms) for p in config.places]


def _regime(place: str, arms: Sequence[str]) -> Regime:
    held = {t: Cell(arm(place, t), "AutoAttack") for t in arms}
    standard, strong, fast = (held[t] for t in JUDGED)
    by_pgd, by_fgsm, clean = (Cell(strong.arm, attack) for attack in ("PGD-50", "FGSM", "clean"))
    collapses, before = Cell(fast.arm, "collapsed"), Cell(standard.arm, "clean")
    rare = f"{place}: under half of the fast trainings end in catastrophic overfitting."

    def after(said: str, better: Cell, worse: Cell, margin: float, key: str) -> Superiority:
        return over(f"{place}: {said}.", better, worse, margin, f"{key}, {place}")

    gains = "under AutoAttack PGD training holds over 30 points more than standard training"
    true = "of PGD training, PGD-50 spares under 5 points more than AutoAttack"
    more = "under AutoAttack {} holds more than PGD training"
    near = "under AutoAttack {} training falls under 5 points short of PGD training"
    secondary = [
        Share(statement=rare, key=f"collapsed, {place}", cell=collapses, bound=0.5, side="below"),
        after("PGD training costs over 2 points of clean accuracy", before, clean, COST, "cost"),
        after("of PGD training, FGSM spares under 5 points more", strong, by_fgsm, -CLOSE, "by FGSM"),
    ]
    said = {"TRADES": (more, 0.0), "MART": (more, 0.0), "free": (near, -CLOSE)}
    secondary += [after(said[t][0].format(t), held[t], strong, said[t][1], t) for t in arms[3:]]
    primary = (
        after(gains, strong, standard, GAIN, "gain"),
        after(true, strong, by_pgd, -CLOSE, "illusion"),
        after(near.format("fast"), fast, strong, -CLOSE, "fast"),
    )
    return Regime(name=place, primary=primary, secondary=tuple(secondary))


def controls(config: Config) -> Sequence[Control]:
    """What shows that an attack, a training, or the reading of an illusion is broken."""
    found: list[Control] = []
    for name, eps in config.places:
        names = {t: arm(place_of(name, eps), t) for t in config.arms}
        equal = [own for t, own in names.items() if t != "free"]
        found += map(Control, [*_planted(place_of(name, eps)), *_learns(names["standard"], CLEAN[name])])
        found += [control for t, own in names.items() for control in _attacked_well(own, t)]
        found += [equal_budgets("steps", equal), equal_budgets("samples", equal), no_overlap(names["PGD"])]
        found += [equal_budgets("gradients", [names["standard"], names[t]]) for t in names if t == "free"]
    return found


def _learns(standard: str, clean: float) -> list[Prediction]:
    learns, right = f"{standard}: over {clean:.0%} of clean images are right.", Cell(standard, "clean")
    taken = over(f"{standard}: AutoAttack takes over 30 points.", right, Cell(standard, "AutoAttack"), GAIN)
    return [Above(statement=learns, cell=right, bound=clean), taken]


def _planted(place: str) -> list[Prediction]:
    """Both planted illusions are seen by the difference that the prediction reads, and by the audit."""
    seen = ((MASKED, "zero gradients"), (MASKED, "black box is stronger"), (WEAK, "not converged"))
    cells = [Cell(arm(place, planted), number) for planted, number in seen]
    pairs = [[Cell(arm(place, planted), a) for a in ("PGD-50", "AutoAttack")] for planted in PLANTED]
    audited, spares = "the audit sees it", "PGD-50 spares over 5 points more than AutoAttack."
    return [
        *(Above(statement=f"{c.arm}: {audited} ({c.metric}).", cell=c, bound=CLOSE) for c in cells),
        *(over(f"{one.arm}: {spares}", one, other, CLOSE) for one, other in pairs),
    ]


def _attacked_well(own: str, training: str) -> list[Control]:
    """A stronger attack is stronger; only flags for arms that no primary prediction reads."""
    one, many, whole = (Cell(own, attack) for attack in ("FGSM", "PGD-50", "AutoAttack"))
    will, hidden = Cell(own, "spared at will"), Cell(own, "black box is stronger")
    honest = f"{own}: Square fools under 2% of the images that PGD-50 spares."
    guards = [
        over(f"{own}: PGD-50 is no stronger than AutoAttack by a point.", many, whole, -0.01),
        over(f"{own}: FGSM is no stronger than PGD-50 by a point.", one, many, -0.01),
        Exact(statement=f"{own}: PGD at will spares none.", cell=will, value=0.0),
    ]
    consequence = "invalid" if training in JUDGED else "flag"
    flag = Control(Below(statement=honest, cell=hidden, bound=NOISE), "flag")
    return [*(Control(guard, consequence) for guard in guards), flag]


def run(config: Config, context: Context) -> None:
    """At each place train the networks, then attack them and the planted illusions in one program."""
    for name, eps in config.places:
        place, parts = place_of(name, eps), trainings.own_images(name, context.seeds, config.images)
        weights = {t: _trained(config, context, (name, eps), t, parts) for t in config.arms}
        of = {**{t: t for t in config.arms}, **PLANTED}
        lanes = np.array([[t == MASKED, t == WEAK] for t in of], bool)
        networks = jax.tree.map(lambda *x: np.stack(x, 1), *(weights[t][0] for t in of.values()))
        each = (np.asarray(context.seeds, np.uint32), networks, parts.test_rows)
        strong = AutoAttackConfig(eps, steps=config.steps, targets=config.targets, queries=config.queries)
        attack = functools.partial(attacked, trainings.NETS[config.network], strong, lanes)
        found = context.per_seed(f"attacks, {place}", attack, each, parts.test)
        for i, (own, training) in enumerate(of.items()):
            values = {k: np.where(weights[training][1], np.nan, x[:, i]) for k, x in found.items()}
            context.record(arm(place, own), values)
        trainings.record_overlap(context, arm(place, "PGD"), name, parts)


def _trained(config: Config, context: Context, spot: Any, training: str, parts: Parts) -> Any:
    """The weights [seeds, ...] of a training, and which seeds were lost."""
    eps, own, net = spot[1], arm(place_of(*spot), training), trainings.NETS[config.network]
    steps = trainings.steps_of(training, config.updates)
    make = functools.partial(trainings.learner_of, net, training, config.rate, config.updates)
    options: Any = {"data": parts.train, "per_seed": {"rows": parts.train_rows}}
    fit = context.fit(make, {own: eps}, steps=steps, sampler=minibatch(BATCH, rows="rows"), **options)
    context.given(own, {"gradients": steps * BATCH * PASSES[training]})
    took = context.once(f"seconds, {own}", lambda: {"train": np.array(fit.timing["train"])})
    context.record(own, "seconds", np.full(len(context.seeds), float(took["train"]) / len(context.seeds)))
    state = getattr(fit.arm(own), "training", fit.arm(own))  # that of free training lies one level deeper
    return (state.params, state.net_state), fit.lost(own)


def figure(table: Table, config: Config) -> Figure:
    """The matrix of training by attack at each place; a dagger where PGD-50 spares five points too many."""
    arms, many = (*config.arms, *PLANTED), len(config.places)
    fig, axes = figures.subplots(many, 1, height=many * (0.75 * len(arms) + 1), squeeze=False)
    for ax, spot in zip(axes[:, 0], config.places):
        place = place_of(*spot)
        values = np.stack([[table.final(arm(place, t), a) for a in ATTACKS] for t in arms])
        mean = np.nanmean(values, -1)
        flagged = (mean - mean[:, -1:] > CLOSE) & (np.array(ATTACKS) == "PGD-50")
        cost = [table.final(arm(place, t), "given: gradients").mean() for t in config.arms]
        names = [*(f"{t}: {c / cost[0]:g}" for t, c in zip(config.arms, cost)), "rounded", "short steps"]
        figures.matrix(ax, values, names, ATTACKS, title=f"Accuracy, {place}", flagged=flagged)
        ax.set(xlabel="attacked by", ylabel="training: its cost in gradients")
    return fig


def answer(findings: Findings) -> str:
    """What PGD training gains, how far PGD-50 is off, and how far fast training falls short."""

    def at_each(what: str, scale: float = 100.0) -> str:
        keys = [key for key in findings if key.startswith(f"{what}, ")]
        return " and ".join(f"{findings[k].said(scale)} on {k.removeprefix(f'{what}, ')}" for k in keys)

    return (
        "All in points of accuracy: under AutoAttack PGD training holds more than standard training by "
        f"{at_each('gain')}, and loses on clean images {at_each('cost')}. PGD with 50 steps overstates its "
        f"accuracy under AutoAttack by {at_each('illusion', -100)}. Fast training, on attacks of one step, "
        f"falls short of PGD training by {at_each('fast', -100)}."
    )


STUDY = Study(
    title="Does adversarial training give robustness that strong attacks confirm?",
    claim="Adversarial training gives robustness that strong attacks confirm.",
    claim_id="C2",
    section="Concepts",
    regime="8x8 digits (full: MNIST and Fashion-MNIST), two layers of 128, Linf; paper: a small CNN.",
    presets={
        "smoke": Config((("digits", 0.15),), "mlp", 4e-3, JUDGED, 16, 2, 2, 5, 20),
        "quick": Config(),
        "full": Config((("mnist", 0.1), ("fashion_mnist", 0.1)), updates=800, steps=40, queries=600),
        "paper": Config((("mnist", 0.3),), "cnn", 5e-3, tuple(PASSES), 6000, 100, 9, 5000, 1000),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={"alignment": (-1.0, 1.0), **dict.fromkeys((*ATTACKS, *NUMBERS), (0.0, 1.0))},
    seeds={"smoke": 2, "full": 12},
)

if __name__ == "__main__":
    main_study(__file__)
