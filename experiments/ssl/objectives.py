"""Do contrastive, masked and clustering objectives all learn features that beat raw inputs? (C1)

Claim. Contrastive objectives, masked prediction and clustering all learn useful features without labels: a
linear probe on them beats one on raw inputs, and one on the features of a random encoder.

Design. One trunk for all: a transformer over the places of a grid, of one block over 16 patches of an image
and of two over 8 segments of a sequence. Features are the tokens of an image side by side, and the mean token
of a sequence, whose label does not change with a shift. Families: contrastive (SimCLR, NCE, MoCo), masked
(MAE that hides a half; its loss counts hidden places only), clustering (SwAV, DeepCluster-v2). Each has six
candidates (methods x rates), and the mean validation accuracy of the probe chooses. Every training costs the
same number of passes of an example through the trunk, a backward pass counting two: so for a step of the
methods of two views, MoCo takes 1.5 and MAE 2.7 (images) or 3.2 (sequences).
Regimes: images (MNIST at 16 x 16 pixels) and sequences (MNIST-1D). In each, the chosen method of each family
exceeds the better of the two references, in each seed, by over three points.

Set beforehand. Three points are the notes'. The probe sees 100 labels, ten a class, of thousands of examples:
features are pretrained for where labels are few. With as many labels as images pixels give a linear probe
nearly all it can use, and the question becomes one of a large trunk; four times as many labels are shown.
Features are judged by a linear probe; nearest neighbors, which often misjudge masked prediction, are shown.
Masks: the error at hidden places, over that of the best interpolation by inverse powers of distance, is to
be under .9, or no features are needed. On a hidden Markov model the gap to the known optimum is shown.
Not blind: single trainings, seeds 0 and 1. On images SimCLR was nine points above pixels after 600 steps, one
after 180 of half the batch; MAE was level with pixels; mean tokens were twenty points below them. On
sequences SimCLR was nine points above the references. NCE, MoCo and clustering were not tried.
Controls: a probe of shuffled labels is at chance; SimCLR whose two views are of different examples (a planted
error) lies below SimCLR by three points; equal passes and candidates; no test row was trained on.

    python -m experiments.ssl.objectives --preset quick     # full: about 40 minutes of one core
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.ssl._masked_chain import gap
from experiments.ssl._patches import halved
from experiments.ssl._pretexts import (
    FAMILIES,
    MAE,
    MASKED,
    PAIR,
    RANDOM,
    RATES,
    SIMCLR,
    STRANGERS,
    arm,
    cost,
    families,
    judged,
    steps_of,
    trained,
    tried,
    trunk,
)
from experiments.ssl._tasks import task
from lrn import check, figures
from lrn.cli import main_study
from lrn.study import Below, Cell, Control, Findings, Regime, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import equal_budgets, no_overlap
from lrn.study.select import interior_choice, select
from lrn.table import Table

IMAGES, SEQUENCES, CHAIN = "images", "sequences", "hidden Markov model"
LEAD, NEAR = 0.03, 0.9
PROBE, MORE, KNN, ERROR, GAP = "probe", "probe with more labels", "kNN", "error over interpolation", "gap"
LEFT = "share of the avoidable that is left"
RAW, SHUFFLED, BETTER = "raw inputs", "shuffled labels", "the better reference"
NAMED = {"test": PROBE, "more": MORE, "kNN": KNN}


@dataclass(frozen=True)
class Config:
    """Settings.

    images: the set of images; "" leaves images out. sizes, sequence_sizes: training, validation and test rows
    of images and of sequences. labels: of the probe. batch: of every step. steps: of a method of two views, a
    multiple of 6; others take as many as cost the same. width: of the trunk. methods: of a family, at
    most. chain: the steps on the hidden Markov model; 0 leaves it out.
    """

    images: str = "digits"
    sizes: tuple[int, int, int] = (1000, 300, 400)
    sequence_sizes: tuple[int, int, int] = (2500, 500, 1000)
    labels: int = 100
    batch: int = 64
    steps: int = 120
    width: int = 32
    depths: tuple[int, int] = (1, 2)
    methods: int = 3
    chain: int = 300

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "labels", "batch", "steps", "width", "methods")
        check.integer("chain", self.chain, 0)
        check.choice("images", self.images, ("", "digits", "mnist", "fashion_mnist"))
        if self.steps % 30:
            raise check.InputError(f"steps must be a multiple of 30, for equal costs, got {self.steps}.")

    def depth(self, place: str) -> int:
        """The number of blocks of the trunk in a regime."""
        return self.depths[place == SEQUENCES]

    @property
    def places(self) -> tuple[str, ...]:
        """The regimes."""
        return (IMAGES, SEQUENCES) if self.images else (SEQUENCES,)


def over(said: str, better: Cell, worse: Cell, margin: float = LEAD, key: str = "") -> Superiority:
    """One value exceeds another."""
    return Superiority(statement=said, key=key, better=better, worse=worse, margin=margin)


def regimes(config: Config) -> Sequence[Regime]:
    """Images and sequences."""
    return [_regime(place, bool(config.chain)) for place in config.places]


def _regime(place: str, chain: bool) -> Regime:
    primary, secondary = [], []
    for family in FAMILIES:
        name = arm(place, family)
        said = f"{name}: over three points better than raw inputs and a random encoder."
        primary.append(over(said, Cell(name, PROBE), Cell(arm(place, BETTER), PROBE), key=name))
        for metric in (PROBE, MORE, KNN):
            for other in (RAW, RANDOM):
                said, worse = f"{name}, {metric}: over three points better than {other}.", arm(place, other)
                secondary.append(
                    over(said, Cell(name, metric), Cell(worse, metric), key=f"{said[:-1]} ({metric})")
                )
    if place == SEQUENCES and chain:
        said = "Masked tokens: the cross-entropy is under 2% above the Bayes optimum."
        secondary.append(Below(statement=said, key=GAP, cell=Cell(CHAIN, GAP), bound=0.02))
    return Regime(name=place, primary=tuple(primary), secondary=tuple(secondary))


def controls(config: Config) -> Sequence[Control]:
    """A probe of nothing finds nothing, a planted error is seen, and the arms are alike."""
    found = []
    for place in config.places:
        chance = Cell(arm(place, SHUFFLED), PROBE)
        said = f"{chance.arm}: at chance within five points."
        found.append(Control(Within(statement=said, cell=chance, low=0.05, high=0.15)))
        same, strange = (Cell(arm(place, what), PROBE) for what in (SIMCLR, STRANGERS))
        found.append(Control(over(f"{strange.arm}: below {SIMCLR} by three points.", same, strange)))
        said, cell = f"{place}: interpolation does not solve the mask.", Cell(arm(place, MASKED), ERROR)
        found.append(Control(Below(statement=said, cell=cell, bound=NEAR), "flag"))
        families = [arm(place, family) for family in FAMILIES]
        found += [equal_budgets(what, families) for what in ("gradients", "candidates")]
        found += [*(interior_choice(name) for name in families), no_overlap(arm(place, MASKED))]
    return found


def run(config: Config, context: Context) -> None:
    """Train all, judge all, choose a method of each family."""
    for place in config.places:
        _place(config, context, place)
    if config.chain:
        seeds = {"seed": np.asarray(context.seeds, np.uint32)}
        found = context.per_seed(CHAIN, gap(config.chain, config.batch), seeds)
        context.record(CHAIN, {GAP: found["gap"], LEFT: found["left"]})


def _place(config: Config, context: Context, place: str) -> None:
    """Train and judge in one regime."""
    name, sizes = (config.images, config.sizes) if place == IMAGES else ("mnist1d", config.sequence_sizes)
    of = task(name, context.seeds, sizes)
    of = halved(of) if place == IMAGES and of.data["image"].shape[1] == 28 else of
    nets = trunk(of, config.width, config.depth(place))
    lanes = tried(config.methods)
    measure = judged(nets, (config.labels, 4 * config.labels), of.classes)
    own = trained(context, of, nets, place, lanes, config.steps, config.batch, config.depth(place))
    found = context.per_seed(f"probes, {place}", measure, own, of.data)
    masked = iter(found.pop("error").T)
    by_lane = {}
    for i, what in enumerate(what for own in lanes.values() for what in own):
        by_lane[what] = {k: found[k][:, i] for k in ("validation", *NAMED)}
        if what in lanes[MAE]:
            by_lane[what]["error"] = next(masked)
    by_lane[RAW] = {k: found[f"raw {k}" if k != "test" else "raw"] for k in NAMED}
    for what in (RAW, RANDOM, STRANGERS):
        _record(context, arm(place, what), by_lane[what])
    context.record(arm(place, SHUFFLED), PROBE, found["shuffled"])
    context.record(arm(place, BETTER), PROBE, np.maximum(by_lane[RAW]["test"], by_lane[RANDOM]["test"]))
    context.judged_on_rows(arm(place, MASKED), of.rows["test"], of.rows["train"])
    for family in FAMILIES:
        _choose(config, context, place, family, by_lane)


def _choose(
    config: Config, context: Context, place: str, family: str, by_lane: dict[str, dict[str, np.ndarray]]
) -> None:
    """The method and the rate of a family, and the rate of each method."""
    name, methods = arm(place, family), families(config.methods)[family]
    lanes = [[by_lane[f"{m}, rate {r:g}"] for r in RATES[len(methods)]] for m in methods]
    scores = np.array([[lane["validation"] for lane in own] for own in lanes])
    choice = select({name: scores}, "higher", free=(0,))[name]
    best = methods[choice.place[0]]
    context.chosen(name, choice, scores[..., 0].size)
    depth = config.depth(place)
    passes = steps_of(best, depth, config.steps) * cost(best, depth) / PAIR
    context.given(name, {"gradients": config.batch * passes})
    _record(context, name, lanes[choice.place[0]][choice.place[1]])
    for i, method in enumerate(methods):
        _record(context, arm(place, method), lanes[i][int(scores[i].mean(1).argmax())])
        context.record(name, f"chosen: {method}", np.full(len(context.seeds), float(method == best)))


def _record(context: Context, name: str, found: dict[str, Any]) -> None:
    context.record(name, {(NAMED | {"error": ERROR})[k]: v for k, v in found.items() if k != "validation"})


def figure(table: Table, config: Config) -> Figure:
    """The probe of each method and reference, a point for each seed; dashed is what the claim asks for."""
    fig, axes = figures.subplots(1, len(config.places), width=8.0, height=4.2)
    rows = [RAW, RANDOM, STRANGERS, *(m for own in families(config.methods).values() for m in own)]
    for ax, place in zip(np.atleast_1d(axes), config.places):
        references = np.maximum(*(table.final(arm(place, w), PROBE) for w in (RAW, RANDOM)))
        ax.axvline(references.mean() + LEAD, color="0.4", linestyle="--", linewidth=1)
        for i, what in enumerate(rows):
            y = table.final(arm(place, what), PROBE)
            ax.plot(y, np.full(len(y), len(rows) - i), ".", alpha=0.6, color="C0" if i > 2 else "0.5")
            ax.plot(y.mean(), len(rows) - i, "|", markersize=14, color="C3")
        ax.set_yticks(
            range(len(rows), 0, -1), rows if place == config.places[0] else [""] * len(rows), fontsize="small"
        )
        ax.set(title=place, xlabel=f"accuracy of a linear probe, {config.labels} labels")
    return fig


def answer(findings: Findings) -> str:
    """The lead of each family in both regimes."""

    def lead(place: str) -> str:
        return ", ".join(f"{f} {findings[arm(place, f)].said(100, digits=1)}" for f in FAMILIES)

    said = "; ".join(f"on {place} {lead(place)}" for place in findings.regimes)
    said = f"With ten labels a class, in points above the better of raw inputs and a random encoder: {said}."
    if GAP in findings:
        said += f" Masked prediction ends {findings[GAP].said(100, '%', 1)} above a Markov model's optimum."
    return said


STUDY = Study(
    title="Do contrastive, masked and clustering objectives all learn features?",
    claim="Contrastive, masked and clustering objectives learn features that beat inputs, random encoders.",
    claim_id="C1",
    section="Concepts",
    regime="MNIST at 16 x 16 pixels and MNIST-1D; a transformer of one or two blocks; ten labels a class.",
    presets={
        "smoke": Config("", sequence_sizes=(300, 100, 100), labels=50, steps=30, width=8, methods=1, chain=0),
        "quick": Config(),
        "full": Config("mnist", (4000, 500, 1500), batch=128, steps=300, chain=600),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={**dict.fromkeys((PROBE, MORE, KNN), (0.0, 1.0)), ERROR: (0.0, 100.0), GAP: (-1.0, 10.0)},
    seeds={"smoke": 2, "quick": 8, "full": 8},
)

if __name__ == "__main__":
    main_study(__file__)
