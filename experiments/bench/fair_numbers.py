"""``python -m experiments.bench fair_numbers [SET ...] [--peers --python PYTHON]``: published figures.

Logistic regression, exponentiated gradient and thresholds by group, for demographic parity and equalized odds
at a bound of .02 between groups, on Adult, COMPAS, Law school and German credit: accuracy and balanced
accuracy of all rows, and the differences of demographic parity and of equalized odds (the larger of the two
rates'), on the test rows of ten splits of 70 to 30. The features leave the group out; thresholds need it at
prediction. With ``--peers`` fairlearn fits the same splits. Each figure is the mean over the splits with the
half width of its 95% interval (t). The exit code is 1 if a mean of lrn differs from fairlearn's by over .01.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.bench._fair_peer import Fairlearn
from lrn import check, stats
from lrn.data.dataset import split
from lrn.data.decisions import Decisions, decisions
from lrn.fair import gaps, thresholds
from lrn.fair.confusion import confusion
from lrn.fair.exponentiated_gradient import expected_decision, exponentiated_gradient
from lrn.fair.front import overall_accuracy, overall_balanced_accuracy
from lrn.fair.logistic import fit_logistic, logistic, probability
from lrn.fair.model import decide
from lrn.fair.people import People, people
from lrn.fair.reduction_game import ReductionConfig

BOUND = 0.01  # of a group against all rows, hence .02 between two groups
APART = 0.01
MEASURES: dict[str, Callable[..., jax.Array]] = {
    "accuracy": overall_accuracy,
    "balanced": overall_balanced_accuracy,
    "DP gap": gaps.demographic_parity_difference,
    "EO gap": gaps.equalized_odds_max,
}
# name -> fairlearn's task and its options
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "LR": ("logistic", {}),
    "EG-DP": ("reduction", {"constraint": "demographic_parity", "bound": BOUND}),
    "EG-EO": ("reduction", {"constraint": "equalized_odds", "bound": BOUND}),
    "Thresholds-DP": ("thresholds", {"constraint": "demographic_parity"}),
    "Thresholds-EO": ("thresholds", {"constraint": "equalized_odds"}),
}
SETS = ("adult", "compas", "law_school", "german_credit")


@dataclasses.dataclass
class Args:
    """What to measure."""

    sets: Annotated[
        tuple[Literal["adult", "compas", "law_school", "german_credit"], ...], tyro.conf.Positional
    ] = SETS
    """The data sets; all by default."""
    splits: int = 10
    """The number of splits."""
    peers: bool = False
    """Fit fairlearn on the same splits."""
    python: Path = Path(sys.executable)
    """The Python interpreter that has fairlearn."""
    json: Path | None = None
    """A file for the figures, as JSON."""


def main(argv: list[str]) -> int:
    """Measure and print; see the module's docstring."""
    args = tyro.cli(Args, args=argv, prog="python -m experiments.bench fair_numbers", description=__doc__)
    check.integer("splits", args.splits, low=2)
    peer = Fairlearn(args.python) if args.peers else None
    measured, apart = {}, False
    for name in args.sets:
        task = decisions(name)
        parts = [split(seed, len(task.y), (0.7, 0.3)) for seed in range(args.splits)]
        print(f"\n{name}: {len(task.y)} rows, {task.x.shape[1]} features, {' and '.join(task.groups)}")
        print(f"  {'':<24}" + "".join(f"{measure:>16}" for measure in MEASURES))
        measured[name] = {}
        for method in METHODS:
            ours = our_figures(task, parts, method)
            own = {"lrn": ours}
            if peer is not None:
                own["fairlearn"] = peer_figures(peer, task, parts, method)
            for who, figures in own.items():
                said = "".join(f"{mean(v):>9.3f} ±{half(v):.3f}" for v in figures.values())
                other = any(abs(mean(v) - mean(ours[k])) > APART for k, v in figures.items())
                print(f"  {method + ', ' + who:<24}{said}{'  apart' if other else ''}", flush=True)
                apart |= other
            measured[name][method] = own
    if peer is not None:
        peer.close()
    if args.json:
        args.json.write_text(json.dumps(measured))
    return int(apart)


def mean(values: list[float]) -> float:
    """The mean over the splits."""
    return float(np.mean(values))


def half(values: list[float]) -> float:
    """The half width of the interval of the mean."""
    found = stats.mean_interval(np.asarray(values))
    return float(found.high - found.low) / 2


def our_figures(task: Decisions, parts: list[Any], method: str) -> dict[str, list[float]]:
    """lrn's figures of a method on every split."""
    rows = people(task.x, task.y, task.group, 2)

    @jax.jit
    def one(rows: People, train: Any, test: Any) -> dict[str, jax.Array]:
        test_rows = rows.take(test)
        return measured_on(test_rows, decided(method, rows.take(train), test_rows))

    found = [jax.device_get(one(rows, *part)) for part in parts]
    return {measure: [float(f[measure]) for f in found] for measure in MEASURES}


def decided(method: str, train: People, test: People) -> jax.Array:
    """The expected decisions of a method on the test rows."""
    kind, options = METHODS[method]
    if kind == "reduction":
        config = ReductionConfig(**options)
        found = exponentiated_gradient(logistic(), train.x, train.y, train.group, 2, config)
        return expected_decision(found, test.x)
    model = fit_logistic(train.x, train.y)
    if kind == "logistic":
        return decide(probability(model, test.x))
    rule = thresholds.fit_thresholds(
        probability(model, train.x), train.y, train.group, 2, options["constraint"], grid=1000
    )
    return thresholds.expected_decision(rule, probability(model, test.x), test.group)


def measured_on(rows: People, decision: jax.Array) -> dict[str, jax.Array]:
    """All measures of expected decisions."""
    counts = confusion(rows.y, jnp.clip(decision, 0, 1), rows.group, 2)
    return {name: measure(counts) for name, measure in MEASURES.items()}


def peer_figures(peer: Fairlearn, task: Decisions, parts: list[Any], method: str) -> dict[str, list[float]]:
    """fairlearn's figures of a method on every split."""
    rows = people(task.x, task.y, task.group, 2)
    kind, options = METHODS[method]
    found: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    for train, test in parts:
        peer.give(x=task.x, y=task.y, group=task.group, train=train, test=test)
        _, decision = peer.run(kind, **options)
        for measure, value in measured_on(rows.take(test), jnp.asarray(decision)).items():
            found[measure].append(float(value))
    return found
