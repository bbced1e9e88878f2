"""Fronts of several methods on one data set, for the studies of fairness.

The last feature is the group. A method that must not see the group gets the features without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from lrn.data.decisions import decisions
from lrn.fair.confusion import Confusion
from lrn.fair.front import Front, fairness_front
from lrn.fair.logistic import LogisticConfig, logistic
from lrn.fair.methods import Method, Policy, post_processing, reduction, reweighed, unconstrained
from lrn.fair.model import Fit, Predict
from lrn.fair.people import People, people
from lrn.fair.reduction_game import ReductionConfig
from lrn.study.context import Context
from lrn.types import Array

SHARES = (0.5, 0.25, 0.25)  # of training, validation and test rows
LINEAR = logistic(LogisticConfig(tolerance=1e-4))
SEEN = ("group seen", "group not seen")


def blind(fit: Fit) -> Fit:
    """The model without the last feature."""

    def fitted(x: Any, y: Any, weights: Any = None) -> Predict:
        return Partial(_without_last, fit(x[:, :-1], y, weights))

    return fitted


def _without_last(predict: Predict, x: Any) -> Array:
    return predict(x[:, :-1])


def class_balanced(method: Method) -> Method:
    """The method on training rows whose classes weigh the same, so that its error is the balanced error."""

    def balanced(key: Any, train: People, validation: People, groups: int, bound: Any) -> Policy:
        positive = jnp.sum(train.weights * train.y)
        negative = jnp.sum(train.weights * (1 - train.y))
        both = jnp.where(train.y == 1, negative, positive) / (positive + negative)
        own = train._replace(weights=2 * train.weights * both)
        return method(key, own, validation, groups, bound)

    return balanced


def parity_methods(rounds: int) -> dict[str, Method]:
    """Methods of demographic parity whose goal is the balanced accuracy of all rows.

    Args:
        rounds: the largest number of rounds of a reduction.
    """
    found = {}
    for seen, fit in zip(SEEN, (LINEAR, blind(LINEAR))):
        found[f"thresholds, {seen}"] = post_processing(fit, objective="overall_balanced_accuracy")
        game = ReductionConfig(rounds=rounds, every_response=True)
        found[f"reduction, {seen}"] = class_balanced(reduction(fit, game))
        found[f"reweighing, {seen}"] = class_balanced(reweighed(fit))
    return found


def strict_methods(rounds: int) -> dict[str, Method]:
    """Methods whose bound goes down to a strict constraint, and the model without one.

    Args:
        rounds: the largest number of rounds of a reduction.
    """
    games = {kind: ReductionConfig(kind, rounds=rounds) for kind in ("demographic_parity", "equalized_odds")}
    goal = "overall_balanced_accuracy"
    found = {
        "no constraint": unconstrained(LINEAR),
        "parity, reduction": reduction(LINEAR, games["demographic_parity"]),
        "parity, reduction, group not seen": reduction(blind(LINEAR), games["demographic_parity"]),
        "parity, thresholds": post_processing(LINEAR, objective=goal),
        "odds, reduction": reduction(LINEAR, games["equalized_odds"]),
        "odds, thresholds": post_processing(LINEAR, "equalized_odds", goal),
    }
    return {name: class_balanced(method) for name, method in found.items()}


def real(name: str) -> People:
    """The rows of a real set."""
    found = decisions(name, with_group=True)
    return people(found.x, found.y, found.group, 2)


def fronts(
    context: Context,
    name: str,
    rows: People,
    methods: Mapping[str, Method],
    bounds: Sequence[float],
    most: int,
) -> dict[str, Front]:
    """The front of each method over the seeds of the run, kept in the run's folder; arrays of NumPy.

    Every seed draws ``most`` of the rows, or takes all, and splits them by `SHARES`.
    """
    found, part = {}, min(1.0, most / len(rows.y))
    train, validation, test = (part * share for share in SHARES)
    for method, trained in methods.items():

        def compute(trained: Method = trained) -> dict[str, np.ndarray]:
            front = fairness_front(trained, rows, 2, bounds, context.seeds, (train, validation, test))
            parts = {"validation": front.validation, "test": front.test}
            return {f"{part} {k}": v for part, c in parts.items() for k, v in c._asdict().items()}

        arrays = context.once(f"{name}, {method}", compute)
        counts = (
            Confusion(*(jnp.asarray(arrays[f"{part} {k}"]) for k in Confusion._fields))
            for part in ("validation", "test")
        )
        found[method] = Front(jnp.asarray(bounds), *counts)
    return found


def joined(fronts: Sequence[Front]) -> Front:
    """Several fronts as one, with all their candidates."""
    parts = ([front.validation for front in fronts], [front.test for front in fronts])
    join = lambda *leaves: jnp.concatenate(leaves, axis=1)  # noqa: E731
    counts = (jax.tree.map(join, *part) for part in parts)
    return Front(jnp.concatenate([front.bounds for front in fronts]), *counts)
