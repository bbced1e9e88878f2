"""How good are methods with few negatives or none, over the batch size? (Q1)

The question is open, so the answer is a ranking and not a verdict.

Design. VICReg, Barlow Twins, LeJEPA (SIGReg), InfoNCE with negatives from groups of 4 examples, and InfoNCE
with negatives from the whole batch train the same networks on batches of 8, 32 and 128 examples. All see
equally many samples, so smaller batches take more steps. The data have a hidden content, which two views of
an example share, and a hidden style of three times its weight, which a view redraws. Features are judged by
ridge regressions, on 200 labeled rows, of random functions of what is hidden (networks of 16 tanh units):
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
Set beforehand: .02 of R2 is the least difference that counts. Not blind: pilots on seeds 0 and 1 chose the
menus and the world (the first, with style of weight 1 and 1,000 labels, let raw inputs and all methods reach
what the content itself explains); at batch 32 InfoNCE in the batch led there, below raw inputs.
Controls: the content explains its targets; every method beats the untrained encoder at its best batch; equal
samples and candidates.
After the run: at a batch of 8 all five methods chose at the edge of their menus, so all may do better there.

    python -m experiments.ssl.without_negatives --preset quick     # a minute; full: 493 s of processor time
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

from experiments.ssl._negatives import MANY, METHODS, SETTINGS, SMALL, judged, lane, learner, scene
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
UNTRAINED, RAW, KNOWN, FREE = "untrained encoder", "raw inputs", "content", "best without negatives"
REFERENCES = (RAW, UNTRAINED, KNOWN)


@dataclass(frozen=True)
class Config:
    """Settings.

    batches: the sizes. sizes: training, validation and test rows. samples: examples drawn in a training, a
    multiple of every batch. labels: training rows with known targets. targets: random functions of content,
    and of style.
    """

    batches: tuple[int, ...] = (8, 32, 128)
    sizes: tuple[int, int, int] = (1000, 500, 1000)
    samples: int = 16_384
    labels: int = 200
    targets: int = 64

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "samples", "labels", "targets", low=2)
        if not self.batches or any(b % SMALL or self.samples % b for b in self.batches):
            raise check.InputError(
                f"batches must be multiples of {SMALL} that divide samples: {self.batches}."
            )


def arm(method: str, batch: int) -> str:
    """The arm of a method at a batch size."""
    return f"{method}, batch {batch}"


def runs(batch: int) -> dict[str, Any]:
    """All trainings at a batch size, by name; the first has a rate that changes no weight."""
    menu = [(m, s, r) for m in METHODS for s in SETTINGS[m] for r in RATES]
    tried = {f"{arm(m, batch)}, setting {s:g}, rate {r:g}": lane(m, s, r) for m, s, r in menu}
    return {arm(UNTRAINED, batch): lane(METHODS[0], SETTINGS[METHODS[0]][0], TINY), **tried}


def over(said: str, better: Cell | float, worse: Cell | float, margin: float, key: str = "") -> Superiority:
    """One value exceeds another."""
    return Superiority(statement=said, key=key, better=better, worse=worse, margin=margin)


def regimes(config: Config) -> Sequence[Regime]:
    """What views keep, and what they redraw; the secondary predictions carry values and differences."""
    kept, most = [], config.batches[-1]
    for b in dict.fromkeys((most, config.batches[0])):
        free, many = (Cell(arm(name, b), CONTENT) for name in (FREE, MANY))
        kept.append(over(f"{free.arm}: at most .02 worse than {MANY} on the {CONTENT}.", free, many, -LEAST))
    lost = []
    for name in (FREE, MANY):
        said, cell = f"{arm(name, most)}: less of the {STYLE} than untrained.", Cell(arm(name, most), STYLE)
        lost.append(over(said, Cell(UNTRAINED, STYLE), cell, 0.0))
    return [
        Regime(name="content", primary=tuple(kept), secondary=tuple(_shown(CONTENT, config.batches))),
        Regime(name="style", primary=tuple(lost), secondary=tuple(_shown(STYLE, config.batches))),
    ]


def _shown(metric: str, batches: Sequence[int]) -> list[Superiority]:
    """The values of all methods and references, and the differences of methods in pairs."""
    said = "{}: R2 of the {}."
    shown = [over(said.format(r, metric), Cell(r, metric), 0.0, 0.0, key(metric, 0, r)) for r in REFERENCES]
    for b in batches:
        cells = {m: Cell(arm(m, b), metric) for m in METHODS}
        for m, cell in cells.items():
            shown.append(over(f"{cell.arm}: R2 of the {metric}.", cell, 0.0, 0.0, key(metric, b, m)))
        for one, other in combinations(METHODS, 2):
            said = f"Batch {b}: {one} explains more of the {metric} than {other}."
            shown.append(over(said, cells[one], cells[other], 0.0, key(metric, b, one, other)))
    return shown


def key(metric: str, batch: int, *methods: str) -> str:
    """The key of a value, or of a difference of two methods."""
    return JOINT.join((metric, str(batch), *methods))


def controls(config: Config) -> Sequence[Control]:
    """The task can be solved, trainings help, and all are treated alike."""
    said = f"The {KNOWN} explains over half of its {CONTENT}."
    found = [Control(Above(statement=said, cell=Cell(KNOWN, CONTENT), bound=0.5))]
    for m in METHODS:
        said = f"{m}: at the batch that validation prefers, better than the {UNTRAINED} on the {CONTENT}."
        found.append(Control(over(said, Cell(m, CONTENT), Cell(UNTRAINED, CONTENT), 0.0), "flag"))
    arms = [arm(m, b) for b in config.batches for m in METHODS]
    trained = [name for b in config.batches for name in runs(b)]
    budgets = [equal_budgets("samples", trained), equal_budgets("candidates", arms)]
    return [*found, *budgets, no_overlap(MANY), *map(interior_choice, arms)]


def run(config: Config, context: Context) -> None:
    """Train all at each batch size, choose on validation rows, judge on test rows."""
    of, results = scene(context.seeds, config.sizes), {}
    context.judged_on_rows(MANY, of.task.rows["test"], of.task.rows["train"])
    for batch in config.batches:
        found = _population(config, context, of, batch)
        if batch == config.batches[0]:
            context.record(UNTRAINED, {metric: found[k][:, 0] for metric, k in MEASURED.items()})
            for name in (RAW, KNOWN):
                context.record(name, {metric: found[f"{name}: {k}"] for metric, k in MEASURED.items()})
        shape = (len(context.seeds), len(METHODS), 2, len(RATES))
        runs_of = {k: v[:, 1:].reshape(shape) for k, v in found.items() if ": " not in k}
        scores = np.moveaxis(runs_of["worst content validation"], 0, -1)
        choices = select(dict(zip(METHODS, scores)), "higher", free=(0,))
        for i, m in enumerate(METHODS):
            context.chosen(arm(m, batch), choices[m], scores[i, ..., 0].size)
            setting, rate = choices[m].place
            values = {metric: runs_of[k][:, i, setting, rate] for metric, k in MEASURED.items()}
            context.record(arm(m, batch), values)
            results[m, batch] = choices[m].score, values
        best = max(METHODS[:3], key=lambda m, batch=batch: results[m, batch][0])
        context.record(arm(FREE, batch), results[best, batch][1])
    for m in METHODS:
        best = max((results[m, b] for b in config.batches), key=lambda result: result[0])
        context.record(m, best[1])


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
    return context.per_seed(
        f"probes, batch {batch}", judged(of, config.targets, config.labels), own, of.task.data
    )


def figure(table: Table, config: Config) -> Figure:
    """R2 over the batch size, of the worst content target and of style, with the references."""
    fig, axes = figures.subplots(1, 2, width=7.4, height=3.8)
    level, x = 1 - 0.05 / (len(METHODS) * len(config.batches)), np.array(config.batches)
    for ax, metric in zip(axes, ASKED):
        lines = {m: np.stack([table.final(arm(m, b), metric) for b in config.batches], 1) for m in METHODS}
        figures.curves(ax, x, lines, title=metric, xlabel="batch", level=level, legend=metric == CONTENT)
        ax.set_xscale("log", base=2)
        for name, style in zip(REFERENCES[: 3 if metric == CONTENT else 2], (":", "--", "-.")):
            y = table.final(name, metric).mean()
            ax.axhline(y, color="0.5", ls=style, lw=1)
            ax.annotate(name, (x[0], y), fontsize="x-small", va="bottom")
    return fig


def ranking(findings: Findings, metric: str, batch: int, batches: int) -> str:
    """The methods by their value; ">" where the joint interval of neighbors excludes 0, else "~"."""
    pairs = batches * len(METHODS) * (len(METHODS) - 1) // 2
    order = sorted(METHODS, key=lambda m: -findings[key(metric, batch, m)].effect)
    said = ""
    for before, m in zip(("", *order), order):
        if before:
            one, other = sorted((before, m), key=METHODS.index)
            found = findings[key(metric, batch, one, other)].joint(pairs)
            said += " ~ " if found.low <= 0 <= found.high else " > "
        said += f"{m} {findings[key(metric, batch, m)].joint(len(METHODS) * batches).said(100)}"
    return said


def answer(findings: Findings) -> str:
    """The ranking at each batch size, on content and on style."""
    sizes = sorted({int(k.split(JOINT)[1]) for k in findings} - {0})
    ranks, known = {}, {}
    for metric in ASKED:
        ranks[metric] = "; ".join(f"{b}: {ranking(findings, metric, b, len(sizes))}" for b in sizes)
        known[metric] = ", ".join(f"{r} {findings[key(metric, 0, r)].said(100)}" for r in REFERENCES)
    return (
        f"R2 in percent of the worst random target of the content, by batch size: {ranks[CONTENT]} "
        f"({known[CONTENT]}). Of a random target of the style, which views redraw: {ranks[STYLE]} "
        f"({known[STYLE]}). Intervals are joint, and > separates methods that are apart."
    )


STUDY = Study(
    title="How good are methods without negatives?",
    claim="Open: how do methods without negatives, or with few, rank by what they keep, over the batch size?",
    claim_id="Q1",
    section="Open questions",
    regime="Content and style of 8 dimensions each in 64; a network of one hidden layer; batches of 8 to 128",
    presets={
        "smoke": Config((8,), (60, 40, 40), 128, 30, 4),
        "quick": Config(samples=4096),
        "full": Config(),
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
