"""Do codes called disentangled follow a nuisance, and fail when they are set? (F6)

Claim. "Disentangled" codes follow nuisance and fail manipulation.

Design. White squares of three factors (scale, x, y; 16x16 pixels) stand before a background whose brightness
is a nuisance. In each seed 16 models without labels are trained alike: a VAE, beta-VAE, beta-TCVAE and
FactorVAE, each at five strengths. Six codes, two hidden layers, a Gaussian likelihood of deviation .2.
A model is *called disentangled* where it is in the top quarter by MIG or by DCI (boosted trees). The metrics
do not know the nuisance, and are taken on pictures in which all is independent and uniform, because
correlated factors break MIG. The *intervention score* swaps one code of a picture for another picture's,
decodes, and lets a frozen regressor, trained on independent pictures, read the factors: the change of the
code's own factor less the mean change of the others, in units of the change when all codes are swapped; a
factor and a code are matched one to one.
Regimes. A strong nuisance that is independent of the factors, and one that follows the scale (.8, by a
Gaussian copula) in what the models are trained on. The pixels' variance that the nuisance explains is larger
than that of every factor (a control). A weak nuisance is a place for secondary predictions.
Primaries of a regime, of each seed's models called disentangled. The largest rank correlation of a code with
the nuisance exceeds that with any factor of lesser variance by over .05. The intervention score is under half of the
score of a supervised model (the same network, whose first three codes regress the factors). Across the 16
models the rank correlation of metric and intervention score, the larger of that of MIG and of DCI, is under
.5. Secondary: the codes that factors correlate with most, each method, each place.
Controls. The supervised model's score is over .5, a rotation of its first three codes lowers MIG and the
score, so both can fall; an untrained model and principal components are shown; the regressor reads the
factors (R^2 over .9); models have equal budgets.
Set beforehand. Half the supervised score and a correlation of .5 are the claim's own numbers. Both ways can
come out: a code of a strong nuisance is easy to learn, but so are codes of positions; metrics and scores of a
model share its codes. A model whose codes are constant has MIG, DCI and score 0.
Not blind: see the pilot in the last lines.

    python -m experiments.representation.illusory_disentanglement --preset quick
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.representation import _illusions as illusions
from experiments.representation._illusions import Place
from lrn import check, figures
from lrn.cli import main_study
from lrn.data.sampler import minibatch
from lrn.study import Above, Below, Cell, Control, Findings, Regime, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import equal_budgets, no_overlap
from lrn.table import Table

PLACES = {
    "strong nuisance": Place(0.6, 0.0),
    "strong nuisance that follows the scale": Place(0.6, 0.8),
    "weak nuisance": Place(0.1, 0.0),
}
STRONG = tuple(PLACES)[:2]
CALLED, SUPERVISED, UNTRAINED, PCA, ROTATED = (
    "called disentangled",
    "supervised",
    "untrained",
    "PCA",
    "rotated",
)
SCORE, HALF, MIG, DCI = "intervention score", "half of the intervention score", "MIG", "DCI"
NUISANCE, FACTOR, ACROSS = "with the nuisance", "with a factor", "metric and score across models"
READER, RATIO, CLEAR = "reader", "least ratio of variances", 0.05
STRENGTHS = {
    "beta-VAE": (1.0, 2.0, 3.0, 4.0, 6.0, 8.0),
    "beta-TCVAE": (2.0, 4.0, 6.0, 8.0, 12.0),
    "FactorVAE": (5.0, 10.0, 20.0, 40.0, 80.0),
}


@dataclass(frozen=True)
class Config:
    """Settings.

    places: the worlds. width: of hidden layers. steps, batch: of every training. rows: training pictures of
    a seed. judged: test pictures. changed: of these, the pictures whose codes are set.
    """

    places: tuple[str, ...] = tuple(PLACES)
    width: int = 96
    steps: int = 2500
    batch: int = 64
    rows: int = 8192
    judged: int = 2000
    changed: int = 400

    def __post_init__(self) -> None:
        """Check the ranges."""
        check.counts(self, "width", "steps", "batch", "rows", "judged", "changed", low=2)
        for place in self.places:
            check.choice("place", place, PLACES)


def arm(place: str, what: str) -> str:
    """The name of a model, or of a group of models, in a place."""
    return f"{place}, {what}"


def population() -> list[tuple[str, float]]:
    """The models without labels: method and strength."""
    return [(method, strength) for method, menu in STRENGTHS.items() for strength in menu]


def regimes(config: Config) -> Sequence[Regime]:
    """The places with a strong nuisance."""
    return [_regime(place, config) for place in config.places if place in STRONG]


def _follows(place: str, who: str, matched: str = "") -> Superiority:
    name = arm(place, who)
    worse = "with their factor" if matched else FACTOR
    return Superiority(
        statement=f"{name}: {matched or 'codes '}correlate more with the nuisance than {worse}.",
        key=f"{name}, {matched}follow",
        better=Cell(name, f"{matched}{NUISANCE}"),
        worse=Cell(name, f"{matched}{worse}"),
        margin=0.0 if matched else CLEAR,
    )


def _fails(place: str, who: str) -> Superiority:
    name = arm(place, who)
    return Superiority(
        statement=f"{name}: under half of the supervised intervention score.",
        key=f"{name}, set",
        better=Cell(arm(place, SUPERVISED), HALF),
        worse=Cell(name, SCORE),
    )


def _apart(place: str) -> Below:
    said = f"{place}: metric and intervention score correlate by under .5 across models."
    return Below(statement=said, key=f"{place}, across", cell=Cell(place, ACROSS), bound=0.5)


def _primaries(place: str) -> tuple[Any, ...]:
    return _follows(place, CALLED), _fails(place, CALLED), _apart(place)


def _regime(place: str, config: Config) -> Regime:
    others: list[Any] = [_follows(place, CALLED, "matched codes ")]
    others += [each(place, method) for method in STRENGTHS for each in (_follows, _fails)]
    others += [_fails(place, who) for who in (UNTRAINED, PCA)]
    if place == STRONG[0]:
        others += [p for weak in config.places if weak not in STRONG for p in _primaries(weak)]
    return Regime(name=place, primary=_primaries(place), secondary=tuple(others))


def controls(config: Config) -> Sequence[Control]:
    """The score can be high and can fall, the nuisance is strong, the reader reads, budgets are equal."""
    found = []
    for place in config.places:
        supervised, turned = arm(place, SUPERVISED), arm(place, ROTATED)
        said = f"{supervised}: intervention score over .5."
        found.append(Control(Above(statement=said, cell=Cell(supervised, SCORE), bound=0.5)))
        said = f"{supervised}: no lead of the nuisance, so a lead is no property of the measure."
        lead = Superiority(
            statement=said,
            better=Cell(supervised, f"{FACTOR}"),
            worse=Cell(supervised, NUISANCE),
            margin=-CLEAR,
        )
        found.append(Control(lead))
        for metric in (MIG, SCORE):
            said = f"{turned}: a lower {metric} than without the rotation, by .1."
            better, worse = Cell(supervised, metric), Cell(turned, metric)
            found.append(Control(Superiority(statement=said, better=better, worse=worse, margin=0.1)))
        said = f"{place}: the regressor reads every factor."
        found.append(Control(Above(statement=said, cell=Cell(place, READER), bound=0.9)))
        if place in STRONG:
            said = f"{place}: the nuisance explains more variance than each factor."
            found.append(Control(Above(statement=said, cell=Cell(place, RATIO), bound=1.0)))
        said = f"{arm(place, UNTRAINED)}: hardly a score."
        found.append(
            Control(
                Within(statement=said, cell=Cell(arm(place, UNTRAINED), SCORE), low=-0.3, high=0.3), "flag"
            )
        )
        trained = [arm(place, f"{m}, {s:g}") for m, s in population()] + [supervised]
        found += [equal_budgets("steps", trained), equal_budgets("samples", trained), no_overlap(supervised)]
    return found


def run(config: Config, context: Context) -> None:
    """Train all models of a place, judge them, and choose those called disentangled."""
    for place in config.places:
        data = illusions.data(PLACES[place], context.seeds, config.rows, config.judged)
        fit = partial(_fit, config, context)
        params = []
        for method, (factory, settings) in illusions.methods(config.width).items():
            arms = {arm(place, f"{method}, {s:g}"): settings(s) for s in STRENGTHS[method]}
            state = fit(factory, arms, {"image": data["train"]}).state
            params.append(getattr(state, "training", state).params)
        factory, settings = illusions.with_labels(config.width)
        seen = {"image": data["train"], "factors": data["train factors"]}
        params.append(fit(factory, {arm(place, SUPERVISED): settings}, seen).state.params)
        factory, settings = illusions.reader(config.width)
        seen = {"image": data["reader"], "y": data["reader factors"]}
        reader = fit(factory, {arm(place, READER): settings}, seen)
        pixels = [data[part] / np.float32(255) for part in ("test", "train")]
        context.judged_on(arm(place, SUPERVISED), pixels[0], trained_on=pixels[1], by_seed=True)
        params.insert(-1, illusions.untrained(config.width, context.seeds))
        stacked = jax.tree.map(lambda *x: np.concatenate(x).swapaxes(0, 1), *params)
        own = {"params": stacked, "reader": reader.arm(arm(place, READER)), "data": data}
        own["seed"] = np.asarray(context.seeds, np.uint32)
        function = partial(illusions.judged, config.width, config.changed)
        _record(context, place, context.per_seed(f"{place}, judged", function, own))


def _fit(config: Config, context: Context, factory: Any, arms: Any, seen: Any) -> Any:
    return context.fit(
        factory,
        arms,
        name=next(iter(arms)),
        steps=config.steps,
        per_seed=seen,
        sampler=minibatch(config.batch, columns=tuple(seen)),
        log_every=max(1, config.steps // 5),
    )


def _record(context: Context, place: str, found: dict[str, np.ndarray]) -> None:
    """The scores of the models, of those called disentangled, and of the references."""
    count = len(population())
    scores = {k: v for k, v in found.items() if v.ndim == 2 and v.shape[1] == count + 4}
    free = {k: v[:, :count] for k, v in scores.items()}
    for i, (method, strength) in enumerate(population()):
        name = arm(place, f"{method}, {strength:g}")
        context.record(name, {k: v[:, i] for k, v in free.items()})
    for method in STRENGTHS:
        own = [i for i, (m, _) in enumerate(population()) if m == method]
        context.record(arm(place, method), {k: v[:, own].mean(1) for k, v in free.items()})
    chosen = illusions.called(free)
    context.record(arm(place, CALLED), {k: np.mean(v, 1, where=chosen) for k, v in free.items()})
    for i, who in enumerate((UNTRAINED, SUPERVISED, PCA, ROTATED)):
        context.record(arm(place, who), {k: v[:, count + i] for k, v in scores.items()})
    context.record(arm(place, SUPERVISED), HALF, 0.5 * scores[SCORE][:, count + 1])
    each = {metric: illusions.across(free, metric) for metric in (MIG, DCI)}
    context.record(place, {f"{metric} and score across models": v for metric, v in each.items()})
    context.record(place, {ACROSS: np.maximum(*each.values()), READER: found[READER], RATIO: found[RATIO]})


def figure(table: Table, config: Config) -> Figure:
    """Each model's DCI against its intervention score, and its codes' correlations."""
    fig, axes = figures.subplots(len(config.places), 2, width=7.4, height=2.8 * len(config.places))
    for (left, right), place in zip(np.reshape(axes, (-1, 2)), config.places):
        for i, method in enumerate(STRENGTHS):
            names = [arm(place, f"{m}, {s:g}") for m, s in population() if m == method]
            dci, score, nuisance, factor = (
                np.concatenate([table.final(name, metric) for name in names])
                for metric in (DCI, SCORE, NUISANCE, FACTOR)
            )
            left.plot(dci, score, ".", color=f"C{i}", label=method, alpha=0.6)
            right.plot(factor, nuisance, ".", color=f"C{i}", alpha=0.6)
        for who, mark in ((SUPERVISED, "*"), (UNTRAINED, "x"), (PCA, "+"), (ROTATED, "v")):
            of = {m: table.final(arm(place, who), m).mean() for m in (DCI, SCORE, NUISANCE, FACTOR)}
            left.plot(of[DCI], of[SCORE], mark, color="0.3", label=who)
            right.plot(of[FACTOR], of[NUISANCE], mark, color="0.3")
        left.set(xlabel="DCI", ylabel=SCORE)
        right.set(xlabel=f"largest rank correlation {FACTOR}", ylabel=NUISANCE, xlim=(0, 1), ylim=(0, 1))
        right.plot([0, 1], [0, 1], lw=1, color="0.5")
        left.set_title(place, fontsize="small")
    figures.legend_above(np.reshape(axes, (-1, 2))[0, 0])
    return fig


def answer(findings: Findings) -> str:
    """Correlations, intervention scores and their relation to metrics, place by place."""
    said = []
    for place in STRONG:
        if f"{place}, across" in findings:
            follow, fails, apart = (findings[p.key] for p in _primaries(place))
            said.append(
                f"{place}: the largest correlation of a code with the nuisance exceeds that with a factor by "
                f"{follow.said(digits=2)}; the intervention score lies {fails.said(digits=2)} below half of the "
                f"supervised one; metric and score correlate by {apart.said(digits=2)}"
            )
    return f"Of models in the top quarter of MIG or DCI. {'. '.join(said)}."


STUDY = Study(
    title="Do disentangled codes follow a nuisance and fail manipulation?",
    claim='"Disentangled" codes follow nuisance and fail manipulation.',
    claim_id="F6",
    section="Failure modes",
    regime="White squares of three factors before a background of random brightness; MLPs; 16x16 pixels.",
    presets={
        "smoke": Config(STRONG[:1], 8, 4, 8, 64, 80, 20),
        "quick": Config(STRONG, steps=600, rows=2048, judged=1000, changed=200),
        "full": Config(),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={
        **dict.fromkeys((MIG, DCI, NUISANCE, FACTOR), (0.0, 1.0)),
        **dict.fromkeys((f"matched codes {NUISANCE}", "matched codes with their factor"), (0.0, 1.0)),
        SCORE: (-1.0, 1.0),
        HALF: (-0.5, 0.5),
        ACROSS: (-1.0, 1.0),
    },
    seeds={"smoke": 2, "quick": 8, "full": 8},
)

if __name__ == "__main__":
    main_study(__file__)
