"""How good are methods with few negatives or none, over the batch size? (Q1)

The question is open, so the answer is a ranking and not a verdict.

Design. VICReg, Barlow Twins, LeJEPA (SIGReg), InfoNCE with negatives from groups of 4 examples, and InfoNCE
with negatives from the whole batch train the same networks on batches of 8, 32 and 128 examples. All see
equally many samples, so smaller batches take more steps. The data have a hidden content, which two views of
an example share, and a hidden style, which a view redraws. Features are judged by ridge regressions of random
functions of what is hidden (networks of one layer of 16 tanh units):
- content: the R2 of the *worst* of all random targets, since nobody knows which target a user will have;
- style: the mean R2, that is, of a random task that breaks the assumption of the views.
Each method has six candidates at each batch size (three rates, two values of its own setting: the weight of
VICReg's variance and invariance, of the redundancy, of SIGReg, the temperature), and the worst content target
on validation rows chooses. References: raw inputs, the encoder before training, and the content itself.

The values are shown with intervals that hold at once (Bonferroni over all that are shown of a kind), and in
the ranking two methods are apart where the joint interval of their difference excludes 0. Predictions carry
the numbers and decide nothing: at the largest and at the smallest batch the best method without negatives
(chosen on validation rows) is at most .02 of R2 worse than InfoNCE in the batch; on style it and InfoNCE lie
below the untrained encoder.
Set beforehand: .02 of R2 is the least difference that counts. Not blind: NOTBLIND
Controls: the content explains its targets; every method beats the untrained encoder at its best batch; equal
samples and candidates.

    python -m experiments.ssl.without_negatives --preset quick     # full: TIME
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.ssl._negatives import MANY, METHODS, SETTINGS, judged, lane, learner, scene
from lrn import check, figures
from lrn.cli import main_study
from lrn.data.sampler import minibatch
from lrn.study import Above, Cell, Control, Findings, Regime, Study, Superiority
from lrn.study.context import Context
from lrn.study.controls import equal_budgets, no_overlap
from lrn.study.select import interior_choice, select
from lrn.table import Table

RATES, TINY, LEAST, JOINT = (1e-3, 4e-3, 1.6e-2), 1e-12, 0.02, " | "
CONTENT, MEAN, STYLE = "worst content target", "mean content target", "mean style target"
MEASURED = {CONTENT: "worst content test", MEAN: "mean content test", STYLE: "mean style test"}
ASKED = (CONTENT, STYLE)
BATCHES = (8, 32, 128)
UNTRAINED, RAW, KNOWN, FREE = "untrained encoder", "raw inputs", "content", "best without negatives"
REFERENCES = (RAW, UNTRAINED, KNOWN)


@dataclass(frozen=True)
class Config:
    """Settings.

    sizes: training, validation and test rows. samples: examples drawn in a training, a multiple of the
    largest batch. targets: random functions of content, and of style.
    """

    sizes: tuple[int, int, int] = (1000, 500, 1000)
    samples: int = 8192
    targets: int = 64

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "samples", "targets", low=2)
        if self.samples % BATCHES[-1]:
            raise check.InputError(f"samples must be a multiple of {BATCHES[-1]}, got {self.samples}.")


def arm(method: str, batch: int) -> str:
    """The arm of a method at a batch size."""
    return f"{method}, batch {batch}"


def runs(batch: int) -> dict[str, Any]:
    """All trainings at a batch size, by name; the first has a rate that changes no weight."""
    menu = [(m, s, r) for m in METHODS for s in SETTINGS[m] for r in RATES]
    tried = {f"{arm(m, batch)}, setting {s:g}, rate {r:g}": lane(m, s, r) for m, s, r in menu}
    return {arm(UNTRAINED, batch): lane(METHODS[0], SETTINGS[METHODS[0]][0], TINY), **tried}


def over(
    said: str, better: Cell | float, worse: Cell | float, margin: float = 0.0, key: str = ""
) -> Superiority:
    """One value exceeds another."""
    return Superiority(statement=said, key=key, better=better, worse=worse, margin=margin)


def regimes(config: Config) -> Sequence[Regime]:
    """What views keep, and what they redraw; the secondary predictions carry values and differences."""
    kept = [
        over(
            f"{arm(FREE, batch)}: at most .02 worse than {MANY} on the {CONTENT}.",
            Cell(arm(FREE, batch), CONTENT),
            Cell(arm(MANY, batch), CONTENT),
            -LEAST,
            f"free{JOINT}{batch}",
        )
        for batch in (BATCHES[-1], BATCHES[0])
    ]
    lost = [
        over(
            f"{arm(name, BATCHES[-1])}: less of the {STYLE} than untrained.",
            Cell(UNTRAINED, STYLE),
            Cell(arm(name, BATCHES[-1]), STYLE),
        )
        for name in (FREE, MANY)
    ]
    return [
        Regime(name="content", primary=tuple(kept), secondary=tuple(_shown(CONTENT))),
        Regime(name="style", primary=tuple(lost), secondary=tuple(_shown(STYLE))),
    ]


def _shown(metric: str) -> list[Superiority]:
    """The values of all methods, and their differences in pairs."""
    places = [(m, b) for b in BATCHES for m in METHODS]
    values = [
        over(f"{arm(m, b)}: R2 of the {metric}.", Cell(arm(m, b), metric), 0.0, 0.0, key(metric, b, m))
        for m, b in places
    ]
    values += [
        over(f"{r}: R2 of the {metric}.", Cell(r, metric), 0.0, 0.0, key(metric, 0, r)) for r in REFERENCES
    ]
    return values + [
        over(
            f"Batch {b}: {one} explains more of the {metric} than {other}.",
            Cell(arm(one, b), metric),
            Cell(arm(other, b), metric),
            0.0,
            key(metric, b, one, other),
        )
        for b in BATCHES
        for one, other in combinations(METHODS, 2)
    ]


def key(metric: str, batch: int, *methods: str) -> str:
    """The key of a value, or of a difference of two methods."""
    return JOINT.join((metric, str(batch), *methods))


def controls(config: Config) -> Sequence[Control]:
    """The task can be solved, trainings help, and all are treated alike."""
    said = f"The {KNOWN} explains over half of its {CONTENT}."
    found = [Control(Above(statement=said, cell=Cell(KNOWN, CONTENT), bound=0.5))]
    for m in METHODS:
        said = f"{m}: at the batch that validation prefers, better than the {UNTRAINED} on the {CONTENT}."
        found.append(Control(over(said, Cell(m, CONTENT), Cell(UNTRAINED, CONTENT)), "flag"))
    arms = [arm(m, b) for b in BATCHES for m in METHODS]
    trained = [name for b in BATCHES for name in runs(b)]
    return [
        *found,
        equal_budgets("samples", trained),
        equal_budgets("candidates", arms),
        no_overlap(MANY),
        *map(interior_choice, arms),
    ]


def run(config: Config, context: Context) -> None:
    """Train all at each batch size, choose on validation rows, judge on test rows."""
    of, scores = scene(context.seeds, config.sizes), {}
    context.judged_on_rows(MANY, of.task.rows["test"], of.task.rows["train"])
    for batch in BATCHES:
        found = _population(config, context, of, batch)
        own = {k: v for k, v in found.items() if ": " not in k}
        menus = {k: v[:, 1:].reshape(-1, len(METHODS), 2, len(RATES)) for k, v in own.items()}
        validation = {
            m: np.moveaxis(menus["worst content validation"][:, i], 0, -1) for i, m in enumerate(METHODS)
        }
        choices = select(validation, "higher", free=(0,))
        for i, m in enumerate(METHODS):
            context.chosen(arm(m, batch), choices[m], validation[m][..., 0].size)
            values = {metric: menus[k][:, i, *choices[m].place] for metric, k in MEASURED.items()}
            context.record(arm(m, batch), values)
            scores[m, batch] = choices[m].score, values
        best = max(METHODS[:3], key=lambda m, batch=batch: scores[m, batch][0])
        context.record(arm(FREE, batch), scores[best, batch][1])
        if batch == BATCHES[0]:
            context.record(UNTRAINED, {metric: own[k][:, 0] for metric, k in MEASURED.items()})
            for name in (RAW, KNOWN):
                context.record(name, {metric: found[f"{name}: {k}"] for metric, k in MEASURED.items()})
    for m in METHODS:
        context.record(m, scores[m, max(BATCHES, key=lambda b, m=m: scores[m, b][0])][1])


def _population(config: Config, context: Context, of: Any, batch: int) -> dict[str, np.ndarray]:
    """What is measured of the runs at a batch size, [seeds, runs], and of the references, [seeds]."""
    fit = context.fit(
        partial(learner, of),
        runs(batch),
        name=f"batch {batch}",
        steps=config.samples // batch,
        data={"x": of.task.data["x"]},
        per_seed=of.task.rows,
        sampler=minibatch(batch, rows="train", columns=("x",)),
    )
    training = fit.state.training
    nets = {"params": training.params["encoder"], "states": training.net_state["encoder"]}
    own = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), nets)
    own |= {"rows": of.task.rows, "seed": np.asarray(context.seeds, np.uint32)}
    return context.per_seed(f"probes, batch {batch}", judged(of, config.targets), own, of.task.data)


def figure(table: Table, config: Config) -> Figure:
    """R2 over the batch size, of the worst content target and of style."""
    fig, axes = figures.subplots(1, 2, width=7.4, height=3.8)
    for i, (ax, metric) in enumerate(zip(axes, ASKED)):
        lines = {m: np.stack([table.final(arm(m, b), metric) for b in BATCHES], 1) for m in METHODS}
        level = 1 - 0.05 / (len(METHODS) * len(BATCHES))
        figures.curves(
            ax,
            np.array(BATCHES),
            lines,
            title=metric,
            xlabel="batch",
            ylabel="" if i else "R2",
            level=level,
            legend=i == 0,
        )
        ax.set_xscale("log", base=2)
        for name, style in zip(REFERENCES[: 2 if metric == STYLE else 3], (":", "--", "-.")):
            ax.axhline(table.final(name, metric).mean(), color="0.5", ls=style, lw=1)
    return fig


def ranking(findings: Findings, metric: str, batch: int) -> str:
    """The methods by their value, ">" where the joint interval of neighbors excludes 0, else "~"."""
    pairs = len(BATCHES) * len(METHODS) * (len(METHODS) - 1) // 2
    order = sorted(METHODS, key=lambda m: -findings[key(metric, batch, m)].effect)
    said = ""
    for place, m in enumerate(order):
        if place:
            one, other = sorted((order[place - 1], m), key=METHODS.index)
            found = findings[key(metric, batch, one, other)].joint(pairs)
            said += " ~ " if found.low <= 0 <= found.high else " > "
        said += f"{m} {findings[key(metric, batch, m)].joint(len(METHODS) * len(BATCHES)).said(100)}"
    return said


def answer(findings: Findings) -> str:
    """The ranking at each batch size, on content and on style."""
    ranks = {metric: "; ".join(f"{b}: {ranking(findings, metric, b)}" for b in BATCHES) for metric in ASKED}
    known = {m: [f"{r} {findings[key(m, 0, r)].said(100)}" for r in REFERENCES] for m in ASKED}
    return (
        f"R2 in percent of the worst random target of the content, by batch size: {ranks[CONTENT]} "
        f"({', '.join(known[CONTENT])}). Of a random target of the style, which views redraw: {ranks[STYLE]} "
        f"({', '.join(known[STYLE][:2])}). Intervals are joint, and > separates methods that are apart."
    )


STUDY = Study(
    title="How good are methods without negatives?",
    claim="Open: how do methods without negatives, or with few, rank by what they keep, over the batch size?",
    claim_id="Q1",
    section="Open questions",
    regime="Content and style of 8 dimensions each in 64; a network of one hidden layer; batches of 8 to 128",
    presets={
        "smoke": Config((60, 40, 40), 256, 4),
        "quick": Config(),
        "full": Config(samples=24_576),
    },
    question=True,
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges=dict.fromkeys(MEASURED, (-10.0, 1.0)),
    seeds={"smoke": 2, "quick": 8, "full": 8},
)

if __name__ == "__main__":
    main_study(__file__)
