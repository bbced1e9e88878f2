"""Methods of fair training in one form, so that a front, or a comparison, can take any of them.

A method is ``method(key, train, validation, groups, bound) -> policy``, and a policy is
``policy(x, group) -> chance of decision 1``. The bound is the method's dial, and may be traced: the largest
violation, or gap, that it allows on its own data. Policies are pytrees (`jax.tree_util.Partial`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial

from lrn import check
from lrn.fair import reweighing, thresholds
from lrn.fair.exponentiated_gradient import Reduced, expected_decision, exponentiated_gradient
from lrn.fair.model import Fit, Predict, decide
from lrn.fair.people import People
from lrn.fair.reduction_game import ReductionConfig
from lrn.fair.thresholds import ThresholdRule, fit_bounded_thresholds, fit_thresholds
from lrn.types import Array, Key

_OVERALL = "overall_balanced_accuracy"

Policy = Callable[[Any, Any], Array]
Method = Callable[[Key, People, People, int, Any], Policy]


def unconstrained(fit: Fit) -> Method:
    """The model itself, which ignores the bound: the method without a treatment."""

    def method(key: Key, train: People, validation: People, groups: int, bound: Any) -> Policy:
        del key, validation, groups, bound
        return Partial(_blind, fit(train.x, train.y, train.weights))

    return method


def reduction(fit: Fit, config: ReductionConfig = ReductionConfig()) -> Method:  # noqa: B008
    """Exponentiated gradient (`lrn.fair.exponentiated_gradient`); the bound replaces that of the config.

    The config's constraint compares each group with all together, so two groups may differ by twice as much:
    the bound of the config is half of the method's bound.
    """

    def method(key: Key, train: People, validation: People, groups: int, bound: Any) -> Policy:
        del key, validation
        own = dataclasses.replace(config, bound=bound / 2)
        found = exponentiated_gradient(fit, train.x, train.y, train.group, groups, own, train.weights)
        return Partial(_mixed, found)

    return method


def post_processing(
    fit: Fit, constraint: str = "demographic_parity", objective: str = "accuracy", *, held_out: bool = True
) -> Method:
    """The model with the best thresholds by group whose rates differ by the bound at most.

    Under equalized odds the thresholds are exact, and the bound is the chance with which the best thresholds
    without a constraint decide instead: their gaps are cut to this share.

    Args:
        fit: the model. constraint: a name in `lrn.fair.thresholds.CONSTRAINTS`. objective: see
            `lrn.fair.thresholds.fit_bounded_thresholds`; under equalized odds "accuracy" or
            "overall_balanced_accuracy".
        held_out: whether the thresholds are fitted on validation rows, or on the rows of the training.

    Raises:
        InputError: a name is unknown.
    """
    check.choice("constraint", constraint, thresholds.CONSTRAINTS)
    odds = constraint == "equalized_odds"
    check.choice("objective", objective, ("accuracy", _OVERALL) if odds else thresholds.OBJECTIVES)

    def method(key: Key, train: People, validation: People, groups: int, bound: Any) -> Policy:
        del key
        predict = fit(train.x, train.y, train.weights)
        rows = validation if held_out else train
        given = predict(rows.x), rows.y, rows.group, groups
        if not odds:
            rule = fit_bounded_thresholds(*given, bound, constraint, objective, weights=rows.weights)
            return Partial(_thresholded, predict, rule)
        # Under equalized odds the objectives are those of all rows together.
        goal = "balanced_accuracy" if objective == _OVERALL else objective
        exact = fit_thresholds(*given, constraint, goal, weights=rows.weights)
        free = fit_bounded_thresholds(*given, 1.0, objective=objective, weights=rows.weights)
        return Partial(_either, predict, exact, free, bound)

    return method


def reweighed(fit: Fit) -> Method:
    """The model on weights between the data's own (bound 1) and those that make label and group independent.

    Reweighing (Kamiran & Calders 2012) has no bound; the share ``1 - bound`` of its weights is the dial.
    """

    def method(key: Key, train: People, validation: People, groups: int, bound: Any) -> Policy:
        del key, validation
        fair = reweighing.reweighed(train.y, train.group, groups, train.weights)
        return Partial(_blind, fit(train.x, train.y, bound * train.weights + (1 - bound) * fair))

    return method


def _blind(predict: Predict, x: Any, group: Any) -> Array:
    del group
    return decide(predict(x))


def _mixed(found: Reduced, x: Any, group: Any) -> Array:
    del group
    return expected_decision(found, x)


def _thresholded(predict: Predict, rule: ThresholdRule, x: Any, group: Any) -> Array:
    return thresholds.expected_decision(rule, predict(x), jnp.asarray(group))


def _either(
    predict: Predict, exact: ThresholdRule, free: ThresholdRule, chance: Array, x: Any, group: Any
) -> Array:
    score, group = predict(x), jnp.asarray(group)
    kept = thresholds.expected_decision(exact, score, group)
    return (1 - chance) * kept + chance * thresholds.expected_decision(free, score, group)
