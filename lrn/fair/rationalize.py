"""Rationalization, or fairwashing: a fair-looking explanation of an unfair black box (Aivodji et al. 2019).

An interpretable model imitates the decisions of a black box under a bound on a gap between groups. Where such
a model has a high fidelity, the explanation hides the black box's unfairness. The front of fidelity and gap
says how much can be hidden, hence how far an audit may trust an explanation.

LaundryML enumerates rule lists by a regularized objective. Here the reduction of Agarwal et al. (2018) does
it for any interpretable classifier. A grid of multipliers of the constraint is a sweep of the regularization,
with one fit each; `exponentiated_gradient_on_host` adds the models of its mixture under each bound. Each
model is a candidate, and decides without chance. The candidates are few: a better explanation may exist.

`tree` and `lrn.fair.rule_list.rule_list` are such classifiers; any other with scikit-learn's interface,
whose ``fit`` takes ``sample_weight``, enters by `lrn.fair.model.from_sklearn`. All runs on the host,
outside of jit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.fair import arguments, comparable, constraints
from lrn.fair.confusion import confusion
from lrn.fair.exponentiated_gradient import exponentiated_gradient_on_host
from lrn.fair.gaps import demographic_parity_difference
from lrn.fair.grid_search import multiplier_grid
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
    from sklearn.tree import DecisionTreeClassifier

    return from_sklearn(
        lambda: DecisionTreeClassifier(max_depth=max_depth, min_samples_leaf=min_rows, random_state=0)
    )


def rationalize(
    fits: Mapping[str, Fit],
    train: Rows,
    validation: Rows,
    groups: int,
    bounds: Sequence[float] = (),
    config: ReductionConfig = ReductionConfig(),  # noqa: B008
    gap: CountMetric = demographic_parity_difference,
    *,
    grid: int = 21,
) -> Rationalization:
    """Explanations of a black box, and their front on validation rows.

    Args:
        fits: from a name to an interpretable model, such as ``{"depth 3": tree(3)}``.
        train: the rows to imitate. validation: rows that fidelity and gap are measured on.
        groups: the number of groups.
        bounds: bounds of the reduction, which take the place of ``config.bound``; each costs a game of
            ``config.rounds`` rounds with nine fits. None are needed.
        config: settings of the reduction; its constraint should be that of the gap, and it takes the black
            box's decisions for labels.
        gap: the gap between groups, a function of confusion counts [groups].
        grid: the number of points of the grid of multipliers, or a few more; 2 or more.

    Raises:
        InputError: an argument is wrong.
    """
    if not fits:
        raise check.InputError("fits must not be empty; give an interpretable model, such as tree(3).")
    train, validation = _checked(train, groups), _checked(validation, groups)
    tasks = _tasks(train, groups, config.constraint, grid)
    found: dict[bytes, Explanation] = {}
    for name, fit in fits.items():
        models = [fit(train.x, *task) for task in tasks]
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


def most_faithful(found: Rationalization, bound: float) -> Explanation:
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


def _tasks(train: Rows, groups: int, constraint: str, grid: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Labels and weights for the plain imitation, and for each point of the grid of multipliers.

    A point at which no decision saves anything asks for no model; a black box that is the group has such.
    """
    ones = np.ones(len(train.decision), np.float32)
    mass = constraints.cell_mass(
        jnp.asarray(train.decision), jnp.asarray(train.group), jnp.asarray(ones), groups
    )
    given = constraints.parity(constraint, mass)
    comparable.compared(constraints.present(given)[0], jnp.asarray(train.group), jnp.asarray(ones))
    multipliers = jnp.asarray(multiplier_grid(constraint, groups, grid), mass.dtype)
    signed = jax.jit(jax.vmap(constraints.signed_weights, in_axes=(None, 0)))(given, multipliers)
    tasks = [(np.asarray(train.decision), ones)]
    for one in np.asarray(signed):
        value = one[train.decision.astype(int), train.group]
        if value.any():
            tasks.append(((value > 0).astype(np.float32), np.abs(value)))
    return tasks


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
