"""Rationalization, or fairwashing: a fair-looking explanation of an unfair black box (Aivodji et al. 2019).

An interpretable model imitates the decisions of a black box under a bound on a gap between groups. Where such
a model has a high fidelity, the explanation hides the black box's unfairness. The front of fidelity and gap
says how much can be hidden, hence how far an audit may trust an explanation.

LaundryML enumerates rule lists by a regularized objective. Here the reduction of Agarwal et al. (2018) does
it for any interpretable classifier: `exponentiated_gradient_on_host` fits one model a round to the decisions,
under multipliers of the constraint, and each of these models is a candidate. They decide without chance.

A rule list enters as a classifier with scikit-learn's interface whose ``fit`` takes ``sample_weight``:
``from_sklearn(MyRuleList)``. All runs on the host, outside of jit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike
from sklearn.tree import DecisionTreeClassifier

from lrn import check
from lrn.fair import arguments
from lrn.fair.confusion import confusion
from lrn.fair.exponentiated_gradient import exponentiated_gradient_on_host
from lrn.fair.gaps import demographic_parity_difference
from lrn.fair.model import Fit, Predict, decide, from_sklearn
from lrn.fair.reduction_game import ReductionConfig
from lrn.fair.search import CountMetric


class Rows(NamedTuple):
    """Rows with a black box's decisions.

    x: features [n, dim] that the explanation may use. decision: the black box's decisions, 0 or 1 [n].
    group: integers [n]. y: labels, 0 or 1 [n], for gaps that need them, such as that of equal opportunity;
        None takes the decisions for labels.
    """

    x: Any
    decision: Any
    group: Any
    y: Any = None


class Explanation(NamedTuple):
    """A candidate, measured on the validation rows.

    name: which kind of model it is. predict: the model. fidelity: the share of rows with the black box's
    decision. gap: the gap of its decisions between groups.
    """

    name: str
    predict: Predict
    fidelity: float
    gap: float


class Rationalization(NamedTuple):
    """All explanations, and those on the front of fidelity and gap, by rising gap and fidelity.

    candidates: different decisions on the validation rows each; a gap that is NaN is never on the front.
    black_box_gap: the gap of the black box itself on the validation rows.
    """

    candidates: list[Explanation]
    front: list[Explanation]
    black_box_gap: float


def tree(max_depth: int, min_rows: int = 1) -> Fit:
    """A ``fit`` of a decision tree, on the host; the same data give the same tree.

    Args:
        max_depth: the largest number of questions a row is asked. min_rows: the least rows of a leaf.
    """
    check.integer("max_depth", max_depth, 1)
    check.integer("min_rows", min_rows, 1)
    return from_sklearn(
        lambda: DecisionTreeClassifier(max_depth=max_depth, min_samples_leaf=min_rows, random_state=0)
    )


def rationalize(
    fits: Mapping[str, Fit],
    train: Rows,
    validation: Rows,
    groups: int,
    bounds: Sequence[float],
    config: ReductionConfig = ReductionConfig(),  # noqa: B008
    gap: CountMetric = demographic_parity_difference,
) -> Rationalization:
    """Explanations of a black box under each bound, and their front on validation rows.

    Args:
        fits: from a name to an interpretable model, such as ``{"depth 3": tree(3)}``.
        train: the rows to imitate. validation: rows that fidelity and gap are measured on.
        groups: the number of groups.
        bounds: bounds of the reduction, which take the place of ``config.bound``.
        config: settings of the reduction; its constraint should be that of the gap, and it takes the black
            box's decisions for labels.
        gap: the gap between groups, a function of confusion counts [groups].

    Raises:
        InputError: an argument is wrong.
    """
    if not fits or len(bounds) == 0:
        raise check.InputError("fits and bounds must not be empty; give an interpretable model and a bound.")
    train, validation = _checked(train, groups), _checked(validation, groups)
    found: dict[bytes, Explanation] = {}
    for name, fit in fits.items():
        models: list[Predict] = [fit(train.x, train.decision, np.ones(len(train.decision)))]
        for bound in bounds:
            settings = dataclasses.replace(config, bound=bound)
            models += exponentiated_gradient_on_host(
                fit, train.x, train.decision, train.group, groups, settings
            ).models
        for predict in models:
            decision = np.asarray(decide(predict(validation.x)))
            found.setdefault(decision.tobytes(), _measured(name, predict, decision, validation, groups, gap))
    candidates = list(found.values())
    own = _gap(validation.decision, validation, groups, gap)
    return Rationalization(candidates, _front(candidates), own)


def most_faithful(found: Rationalization, bound: ArrayLike) -> Explanation:
    """The explanation with the highest fidelity among those whose gap is at most the bound.

    Fidelity and gap of the chosen one are optimistic, since the validation rows chose it; measure it on
    other rows.

    Raises:
        InputError: no candidate keeps the bound.
    """
    kept = [one for one in found.front if one.gap <= bound]
    if not kept:
        least = min((one.gap for one in found.front), default=float("nan"))
        raise check.InputError(
            f"no explanation has a gap of at most {bound}, the smallest is {least:g}; raise the bound, or "
            "give smaller bounds or other models to rationalize."
        )
    return kept[-1]


def _checked(rows: Rows, groups: int) -> Rows:
    x = arguments.features("x", rows.x)
    n = x.shape[0]
    decision = arguments.labels("decision", rows.decision, n)
    y = decision if rows.y is None else arguments.labels("y", rows.y, n)
    return Rows(*(np.asarray(v) for v in (x, decision, arguments.groups(rows.group, n, groups), y)))


def _measured(
    name: str, predict: Predict, decision: np.ndarray, rows: Rows, groups: int, gap: CountMetric
) -> Explanation:
    fidelity = float(np.mean(decision == rows.decision))
    return Explanation(name, predict, fidelity, _gap(decision, rows, groups, gap))


def _gap(decision: Any, rows: Rows, groups: int, gap: CountMetric) -> float:
    return float(gap(confusion(rows.y, decision, rows.group, groups)))


def _front(candidates: list[Explanation]) -> list[Explanation]:
    """By rising gap, those with a higher fidelity than all before."""
    front: list[Explanation] = []
    for one in sorted(candidates, key=lambda one: (one.gap, -one.fidelity)):
        if np.isfinite(one.gap) and (not front or one.fidelity > front[-1].fidelity):
            front.append(one)
    return front
