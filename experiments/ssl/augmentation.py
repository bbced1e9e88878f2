"""Does random cropping fail for sequences, or for labels that it changes? (O2)

Claim. The notes observe that random cropping works for images and fails for sequences. The study asks for the
reason: whether cropping helps follows from the label's invariance to it, not from the modality.

Design. 2 x 2: modality x whether the label is invariant to cropping. In both modalities an object lies at a
random place in a larger space: a garment (Fashion-MNIST, shrunk to 7 x 7 pixels) in 14 x 14 pixels, a digit
(MNIST-1D) in 40 points. The *class* of the object is invariant to cropping. Its *place* (nine cells) is not.
SimCLR sees no labels, so the same networks serve both. Views with and without a crop are equal in all else:
another scale of the values, and noise. A crop keeps at least half of each side, and is resized; .75 and .3
(about SimCLR's crops) are a dial. The temperature of each arm (modality, label, crop) is chosen on validation
rows from three. The *effect of cropping* is the accuracy of a linear probe with the crop minus that without.

Primaries. In images and in sequences: cropping helps for the class by over three points; it harms for the
place by over three points. Of both: the label's effect (class minus place, mean over modalities) exceeds the
modality's own effect (images minus sequences, mean over labels, absolute value) by over three points.
Secondary: the notes' sentence, read literally: cropping helps in images and harms in sequences, whatever the
label; the dial; accuracies against the encoder before training.

Set beforehand. Three points are about twice the standard error of a probe. One rate and one number of steps
for all arms. The absolute value of the modality's effect is too large in a noisy seed, which makes the third
primary stricter.
Controls: the crop of the arms without crop changes nothing, and others do; before training both labels can be
read from the features, so there is something to lose; a probe of classes in random order is at chance.
Not blind: pilots (seeds 0 to 2) showed that cropping helps for the class in both, and that it hardly changes
what the features tell of the place. The prediction of harm stands, as the claim needs it. The rate and the
secondary at the embeddings z were set after earlier pilots, the dial's strongest crop after all.
After the run: nine of 16 arms, five of the primaries' eight, chose a temperature at the edge of its menu.

    python -m experiments.ssl.augmentation --preset quick     # full: 304 s
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.ssl import _placed as placed
from experiments.ssl._placed import CLASS, IMAGES, PLACE, SEQUENCES
from lrn import check, figures
from lrn.cli import main_study
from lrn.study import Above, Cell, Control, Exact, Findings, Prediction, Regime, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import equal_budgets, no_overlap
from lrn.study.select import interior_choice, select
from lrn.table import Table

MODALITIES, LABELS, BOTH = (IMAGES, SEQUENCES), (CLASS, PLACE), "both modalities"
SHARES, ASKED, TEMPERATURES = (1.0, 0.75, 0.5, 0.3), 2, (0.05, 0.15, 0.5)  # ASKED: the place of the crop
POINTS, AT_Z = 0.03, "effect on the place at the embeddings"
PROBE, EFFECT, LEAD = "probe", "effect of cropping", "lead of the label"
BY_LABEL, BY_MODALITY, CHANGED, MIXED = "label's effect", "modality's effect", "change by a crop", "mixed"


@dataclass(frozen=True)
class Config:
    """Settings.

    sizes: training, validation and test rows. batch, steps, rate: of SimCLR.
    """

    sizes: tuple[int, int, int] = (1500, 500, 1000)
    batch: int = 64
    steps: int = 200
    rate: float = 3e-3

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "batch", "steps", low=2)
        check.positive("rate", self.rate)


def arm(modality: str, label: str, share: float | None = None) -> str:
    """The arm of a crop by the share of a side that it keeps, 1 for no crop; None before training."""
    crops = {None: "not trained", 1.0: "no crop"}
    return f"{modality}, {label}, {crops.get(share, f'crop {share}')}"


def cell_of(modality: str, label: str) -> str:
    """The name of one of the four cells of the design."""
    return f"{modality}, {label}"


def over(
    said: str, better: Cell | float, worse: Cell | float, margin: float = 0.0, key: str = ""
) -> Superiority:
    """One value exceeds another."""
    return Superiority(statement=said, key=key, better=better, worse=worse, margin=margin)


def regimes(config: Config) -> Sequence[Regime]:
    """Each modality, and both together."""
    label, modality = (Cell(BOTH, metric) for metric in (BY_LABEL, BY_MODALITY))
    lead = over(
        "The label's effect exceeds the modality's by three points.", Cell(BOTH, LEAD), 0.0, POINTS, LEAD
    )
    return [
        *map(_regime, MODALITIES),
        Regime(
            name=BOTH,
            primary=(lead,),
            secondary=(
                over("The label has an effect.", label, 0.0, 0.0, BY_LABEL),
                over("Images gain more by cropping than sequences.", modality, 0.0, 0.0, BY_MODALITY),
            ),
        ),
    ]


def _regime(modality: str) -> Regime:
    helped, harmed = (cell_of(modality, label) for label in LABELS)
    names = [arm(modality, label, share) for label in LABELS for share in (None, *SHARES)]
    levels = [Above(statement=f"{n}: above .2.", key=n, cell=Cell(n, PROBE), bound=0.2) for n in names]
    inner = Cell(modality, AT_Z)
    dial = []
    for share in (SHARES[1], SHARES[-1]):
        cells = [Cell(cell_of(modality, label), f"{EFFECT}, {share}") for label in LABELS]
        dial.append(
            over(
                f"{modality}, crop {share}: it helps for the class.",
                cells[0],
                0.0,
                POINTS,
                f"{modality}, {share}",
            )
        )
        dial.append(over(f"{modality}, crop {share}: it harms for the place.", 0.0, cells[1], POINTS))
    mean, works = Cell(modality, EFFECT), modality == IMAGES
    notes = f"{modality}: whatever the label, cropping {'helps' if works else 'harms'}."
    said = f"{modality}: cropping {{}} for the {{}} by over three points."
    return Regime(
        name=modality,
        primary=(
            over(said.format("helps", CLASS), Cell(helped, EFFECT), 0.0, POINTS, helped),
            over(said.format("harms", PLACE), 0.0, Cell(harmed, EFFECT), POINTS, harmed),
        ),
        secondary=(
            over(notes, *((mean, 0.0) if works else (0.0, mean)), 0.0, f"{modality}, mean"),
            *dial,
            over(f"{modality}: so it harms at the embeddings.", 0.0, inner, POINTS, f"{modality}, z"),
            *levels,
        ),
    )


def controls(config: Config) -> Sequence[Control]:
    """The crops are what they are called, there is something to lose, chance is chance, budgets are equal."""
    found: list[Prediction] = []
    flags, budgets = [], []
    for modality in MODALITIES:
        none, *crops = (Cell(modality, f"{CHANGED} {share}") for share in SHARES)
        found.append(
            Exact(statement=f"{modality}: no crop changes nothing.", cell=none, value=0.0, atol=1e-4)
        )
        found += [Above(statement=f"{c}: it changes inputs.", cell=c, bound=0.01) for c in crops]
        for label in LABELS:
            start = Cell(arm(modality, label), PROBE)
            found.append(Above(statement=f"{start}: twice chance, it can be read.", cell=start, bound=0.22))
            names = [arm(modality, label, share) for share in SHARES]
            flags += [interior_choice(name) for name in names]
            budgets += [equal_budgets(what, names) for what in ("samples", "candidates")]
        mixed = Cell(modality, MIXED)
        found.append(
            Within(statement=f"{modality}: mixed classes give chance.", cell=mixed, low=0.07, high=0.13)
        )
        budgets.append(no_overlap(arm(modality, CLASS)))
    return [*map(Control, found), *flags, *budgets]


def run(config: Config, context: Context) -> None:
    """Train in each modality, probe for both labels, and take the effects of cropping."""
    effects = {modality: _modality(config, context, modality) for modality in MODALITIES}
    grid = np.array([[effects[m][label] for label in LABELS] for m in MODALITIES])  # [modality, label, seeds]
    by_label, by_modality = (grid[:, 0] - grid[:, 1]).mean(0), (grid[0] - grid[1]).mean(0)
    lead = by_label - np.abs(by_modality)
    context.record(BOTH, {BY_LABEL: by_label, BY_MODALITY: by_modality, LEAD: lead})


def _modality(config: Config, context: Context, modality: str) -> dict[str, np.ndarray]:
    """The effect of cropping for each label, [seeds]."""
    sizes, amount = config.sizes, config.steps * config.batch
    rows, found = placed.trained(
        context, modality, sizes, config.batch, config.steps, config.rate, SHARES, TEMPERATURES
    )
    context.judged_on_rows(arm(modality, CLASS), rows["test"], rows["train"])
    context.record(modality, {f"{CHANGED} {s}": found["changed"][:, i] for i, s in enumerate(SHARES)})
    context.record(modality, MIXED, found["mixed"])
    effects, shape = {}, (len(context.seeds), len(SHARES), len(TEMPERATURES))
    for label in LABELS:
        validation, test = (found[f"{label} {part}"][:, 1:].reshape(shape) for part in ("validation", "test"))
        context.record(arm(modality, label), PROBE, found[f"{label} test"][:, 0])
        names = [arm(modality, label, share) for share in SHARES]
        choices = select({name: validation[:, i].T for i, name in enumerate(names)}, "higher")
        accuracy = []
        for i, name in enumerate(names):
            accuracy.append(test[:, i, choices[name].only])
            context.record(name, PROBE, accuracy[-1])
            context.chosen(name, choices[name], len(TEMPERATURES))
            context.given(name, {"samples": len(TEMPERATURES) * amount})
        effects[label] = accuracy[ASKED] - accuracy[0]
        context.record(cell_of(modality, label), EFFECT, effects[label])
        for share, value in zip(SHARES[1:], accuracy[1:]):
            context.record(cell_of(modality, label), f"{EFFECT}, {share}", value - accuracy[0])
        if label == PLACE:
            inner = found[placed.INNER][:, 1:].reshape(shape)
            first, last = (inner[:, i, choices[names[i]].only] for i in (0, ASKED))
            context.record(modality, AT_Z, last - first)
    context.record(modality, EFFECT, (effects[CLASS] + effects[PLACE]) / 2)
    return effects


def figure(table: Table, config: Config) -> Figure:
    """The probe along the crop for each label, in each modality, and the four effects."""
    fig, axes = figures.subplots(1, 3, width=10.0, height=3.6)
    for ax, modality in zip(axes, MODALITIES):
        lines = {
            label: np.stack([table.final(arm(modality, label, s), PROBE) for s in SHARES], 1)
            for label in LABELS
        }
        removed = [1 - share for share in SHARES]
        figures.curves(ax, removed, lines, title=modality, xlabel="largest part cropped", ylabel=PROBE)
    names = [cell_of(m, label) for label in LABELS for m in MODALITIES]
    for i, name in enumerate(names):
        values = table.final(name, EFFECT)
        axes[2].plot(values, np.full(len(values), i), "o", markersize=4, alpha=0.7)
    axes[2].axvline(0.0, color="gray", linewidth=1)
    axes[2].set_yticks(range(len(names)), names, fontsize="x-small")
    axes[2].set(title="effect of cropping", xlabel="points of accuracy / 100")
    return fig


def answer(findings: Findings) -> str:
    """The four effects, and those of label and modality."""
    effect = {name: findings[name] for name in (cell_of(m, label) for m in MODALITIES for label in LABELS)}
    helped = " and ".join(f"{effect[cell_of(m, CLASS)].said(100, digits=1)} in {m}" for m in MODALITIES)
    harmed = " and ".join(f"{effect[cell_of(m, PLACE)].said(-100, digits=1)} in {m}" for m in MODALITIES)
    return (
        f"Cropping changes the probe's accuracy for the class of an object by {helped}, and for its place by "
        f"{harmed}, in points. Whether the label is invariant makes a difference of "
        f"{findings[BY_LABEL].said(100, digits=1)} points; images gain "
        f"{findings[BY_MODALITY].said(100, digits=1)} points more than sequences."
    )


STUDY = Study(
    title="Does random cropping fail for sequences, or for labels that it changes?",
    claim="Cropping helps where the label is invariant to it and harms where not; the modality matters less.",
    claim_id="O2",
    section="Observations",
    regime="SimCLR of small CNNs; Fashion-MNIST garments and MNIST-1D digits at random places.",
    presets={"smoke": Config((60, 40, 64), 8, 4), "quick": Config(), "full": Config(steps=400)},
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={
        **dict.fromkeys((PROBE, MIXED), (0.0, 1.0)),
        **dict.fromkeys((EFFECT, AT_Z, *(f"{EFFECT}, {share}" for share in SHARES)), (-1.0, 1.0)),
        **{f"{CHANGED} {share}": (0.0, 10.0) for share in SHARES},
        **dict.fromkeys((BY_LABEL, BY_MODALITY, LEAD), (-2.0, 2.0)),
    },
    seeds={"smoke": 2, "quick": 8, "full": 8},
)

if __name__ == "__main__":
    main_study(__file__)
