"""Do strict constraints cost accuracy, and can they harm the group that they are to protect? (T3)

Claim. Strict fairness constraints cost accuracy, and can harm the minority by over-conservative decisions.

Design. On four data sets (label 1 is the favorable outcome) methods for demographic parity and for equalized
odds are trained at bounds from .2 to 0: reductions with and without the group as a feature, and thresholds
by group; all on logistic regression whose classes weigh the same. Two questions are asked at the strictest
bound.
- Cost: parity by the reduction, which toolkits offer first, has over a point less of balanced accuracy than
  the model without a constraint.
- Harm: under the constraint that is hardest on the protected group, the group's true-positive rate, the share
  of its deserving members who get the outcome, is over a point below that without a constraint. The hardest
  constraint is chosen on validation rows, and judged on test rows.
A regime is a data set, and holds where both hold.

Set beforehand. A point is the least change that would matter to a user. A gap alone hides who paid: levels
are recorded for each group, and the change of each group's true-positive and selection rate says whether
the groups were leveled up or down. Seeds draw and split the people of one set: intervals speak of that set.
Not blind: a pilot was run on COMPAS, seeds 0 to 3, and published tables show costs in plain accuracy.
Controls: the strictest bounds are kept on test rows; a bound of 1 is the model without a constraint; without
a constraint there is a gap to close (gate).

    python -m experiments.fair.performance_tradeoff --preset quick
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from experiments.fair._fronts import fronts, real, strict_methods
from lrn import check, figures
from lrn.cli import main_study
from lrn.fair import gaps, rates
from lrn.fair.confusion import Confusion
from lrn.fair.front import Front, overall_accuracy, overall_balanced_accuracy
from lrn.study import Above, Cell, Control, Findings, Regime, Study, Superiority, Within
from lrn.study.context import Context
from lrn.study.controls import equal_budgets
from lrn.table import Table

POINT, GAP, KEPT = 0.01, 0.05, 0.04
SETS = {"Adult": "adult", "COMPAS": "compas", "Law school": "law_school", "Dutch census": "dutch_census"}
NONE, ASKED, HARDEST = "no constraint", "parity, reduction", "hardest constraint"
STRICT = ("parity, reduction", "parity, reduction, group not seen", "parity, thresholds", "odds, reduction",
          "odds, thresholds")  # fmt: skip
BALANCED, ACCURACY, PARITY_GAP, ODDS_GAP = "balanced accuracy", "accuracy", "parity gap", "odds gap"
GROUPS = ("protected", "other")
TPR, SELECTED = "true-positive rate", "selection rate"


@dataclass(frozen=True)
class Config:
    """Settings.

    sets: which data sets are asked. rows: the largest number of rows that a seed splits into half for
    training, a quarter for validation and a quarter for the test. bounds: falling to 0, the first is 1.
    rounds: the largest number of rounds of a reduction.
    """

    sets: tuple[str, ...] = ("COMPAS",)
    rows: int = 6000
    bounds: tuple[float, ...] = (1.0, 0.1, 0.0)
    rounds: int = 20

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in self.sets:
            check.choice("a data set", name, tuple(SETS))
        check.counts(self, "rows", "rounds")


def arm(name: str, method: str, bound: float = 0.0) -> str:
    """The arm of a method at a bound."""
    return f"{name}, {method}" + ("" if method in (NONE, HARDEST) else f", {bound:g}")


def regimes(config: Config) -> Sequence[Regime]:
    """A regime a data set."""
    return [_regime(name) for name in config.sets]


def _regime(name: str) -> Regime:
    said = f"{name}: without a constraint selection rates differ by over {GAP:g}."
    gate = Above(statement=said, cell=Cell(arm(name, NONE), PARITY_GAP), bound=GAP)
    secondary = [_falls(name, method, BALANCED) for method in STRICT if method != ASKED]
    for group in GROUPS:
        for metric in (TPR, SELECTED):
            secondary += [_falls(name, method, f"{metric}, {group}") for method in STRICT]
    primary = (_falls(name, ASKED, BALANCED), _falls(name, HARDEST, f"{TPR}, {GROUPS[0]}"))
    return Regime(name=name, gate=gate, primary=primary, secondary=tuple(secondary))


def _falls(name: str, method: str, metric: str) -> Superiority:
    """A strict constraint lowers a level by over a point."""
    return Superiority(
        statement=f"{arm(name, method)}: {metric} is over a point lower than without a constraint.",
        key=f"{name}, {method}, {metric}",
        better=Cell(arm(name, NONE), metric),
        worse=Cell(arm(name, method), metric),
        margin=POINT,
    )


def controls(config: Config) -> Sequence[Control]:
    """What shows that a constraint, or a reference, is broken."""
    found: list[Control] = []
    for name in config.sets:
        for method in STRICT:
            gap = PARITY_GAP if method.startswith("parity") else ODDS_GAP
            said = f"{arm(name, method)}: the gap on test rows is at most {KEPT:g}."
            kept = Within(statement=said, cell=Cell(arm(name, method), gap), low=0.0, high=KEPT)
            found.append(Control(kept, "flag"))
        said = f"{name}: parity by the reduction closes over half of the gap."
        none, strict = (Cell(arm(name, m), "half of the gap") for m in (NONE, ASKED))
        found.append(Control(Superiority(statement=said, better=none, worse=strict)))
        said = f"{name}: a bound of 1 is no constraint."
        same = Within(statement=said, cell=Cell(arm(name, ASKED, 1.0), "change"), low=-0.002, high=0.002)
        found += [Control(same), equal_budgets("samples", [arm(name, m) for m in (NONE, *STRICT)])]
    return found


def run(config: Config, context: Context) -> None:
    """Train at all bounds, record the levels, choose the hardest constraint on validation rows."""
    for name in config.sets:
        rows = real(SETS[name])
        trained = fronts(context, name, rows, strict_methods(config.rounds), config.bounds, config.rows)
        none = levels(trained[NONE].test, 0)
        context.record(arm(name, NONE), none | {"half of the gap": none[PARITY_GAP] / 2})
        context.given(arm(name, NONE), {"samples": min(config.rows, len(rows.y)) // 2})
        for method in STRICT:
            for i, bound in enumerate(config.bounds):
                own = levels(trained[method].test, i)
                own["change"] = own[BALANCED] - none[BALANCED]
                if bound == 0:
                    own["half of the gap"] = own[PARITY_GAP]
                context.record(arm(name, method, bound), own)
            context.given(arm(name, method), {"samples": min(config.rows, len(rows.y)) // 2})
        context.record(arm(name, HARDEST), hardest(trained, config.bounds.index(0.0)))


def levels(counts: Confusion, place: int) -> dict[str, np.ndarray]:
    """The measures at one bound, [seeds] each: of all rows, and the rates of each group."""
    counts = Confusion(*(leaf[:, place] for leaf in counts))
    found = {
        BALANCED: overall_balanced_accuracy(counts),
        ACCURACY: overall_accuracy(counts),
        PARITY_GAP: gaps.demographic_parity_difference(counts),
        ODDS_GAP: gaps.equalized_odds_max(counts),
    }
    for metric, name in ((TPR, "true_positive_rate"), (SELECTED, "selection_rate")):
        by_group = rates.rate(counts, name)
        found |= {f"{metric}, {group}": by_group[:, i] for i, group in enumerate(GROUPS)}
    return {metric: np.asarray(value) for metric, value in found.items()}


def hardest(trained: dict[str, Front], place: int) -> dict[str, np.ndarray]:
    """The levels under the constraint with the least true-positive rate of the protected group.

    The mean over the seeds of the validation rows chooses one constraint for all seeds.
    """
    metric = f"{TPR}, {GROUPS[0]}"
    on_validation = {m: levels(trained[m].validation, place)[metric].mean() for m in STRICT}
    return levels(trained[min(on_validation, key=lambda m: on_validation[m])].test, place)


def figure(table: Table, config: Config) -> Figure:
    """Balanced accuracy and the protected group's true-positive rate over the bound, a row a data set."""
    fig, axes = figures.subplots(len(config.sets), 2, height=0.8 + 2.3 * len(config.sets))
    axes = np.asarray(axes).reshape(-1, 2)
    x = np.arange(len(config.bounds))
    for row, name in enumerate(config.sets):
        for ax, metric in zip(axes[row], (BALANCED, f"{TPR}, {GROUPS[0]}")):
            lines = {
                method: np.stack([table.final(arm(name, method, b), metric) for b in config.bounds], 1)
                for method in STRICT
            }
            first = row == 0 and metric == BALANCED
            figures.curves(ax, x, lines, xlabel="", ylabel=name * (metric == BALANCED), legend=first)
            ax.set_xticks(x, [f"{b:g}" for b in config.bounds])
    for ax, shown in zip(axes[-1], (BALANCED, "protected true-positive rate")):
        ax.set_xlabel(f"{shown}, by bound")
    return fig


def answer(findings: Findings) -> str:
    """The cost, and what happens to the protected group."""
    sets = [name for name in SETS if f"{name}, {ASKED}, {BALANCED}" in set(findings)]
    first = f"{TPR}, {GROUPS[0]}"

    def each(method: str, metric: str, sign: int = 100) -> str:
        return ", ".join(f"{findings[f'{n}, {method}, {metric}'].said(sign, digits=1)} ({n})" for n in sets)

    return (
        f"Strict parity by a reduction costs {each(ASKED, BALANCED)} points of balanced accuracy. It changes "
        f"the protected group's true-positive rate by {each(ASKED, first, -100)} points; the constraint that "
        f"is hardest on the group changes it by {each(HARDEST, first, -100)}."
    )


STUDY = Study(
    title="Do strict fairness constraints cost accuracy and harm the group they protect?",
    claim="Strict constraints cost accuracy, and can harm the minority by over-conservative decisions.",
    claim_id="T3",
    section="Trade-offs",
    regime="COMPAS (full: Adult, Law school, Dutch census too); reductions and thresholds, logistic scores.",
    presets={
        "smoke": Config(rows=600, bounds=(1.0, 0.0), rounds=2),
        "quick": Config(),
        "full": Config(tuple(SETS), 12_000, (1.0, 0.2, 0.1, 0.05, 0.02, 0.0), 15),
    },
    regimes=regimes,
    controls=controls,
    run=run,
    figure=figure,
    answer=answer,
    ranges={
        **dict.fromkeys((BALANCED, ACCURACY, PARITY_GAP, ODDS_GAP, "half of the gap"), (0.0, 1.0)),
        **{f"{metric}, {group}": (0.0, 1.0) for metric in (TPR, SELECTED) for group in GROUPS},
        "change": (-1.0, 1.0),
    },
    seeds={"smoke": 2, "quick": 10, "full": 10},
)

if __name__ == "__main__":
    main_study(__file__)
