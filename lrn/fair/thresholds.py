"""Thresholds by group that satisfy a parity constraint exactly, by hulls of ROC curves (Hardt et al. 2016).

Each group has a curve of what its thresholds achieve: the constrained rate on one axis, the objective on the
other. Drawing between two thresholds reaches any point of the curve's upper hull. All groups get the same
rate, and the rate is the one with the best objective over all. For equalized odds the curves are ROC curves;
the common point lies below every hull, and a group whose hull is higher ignores the score with some chance.

Fit the rule on data that did not train the scores. The group must be known at prediction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.fair import arguments, roc
from lrn.types import Array, Key

OBJECTIVES = (
    "accuracy",
    "balanced_accuracy",
    "selection_rate",
    "true_positive_rate",
    "true_negative_rate",
    "overall_balanced_accuracy",
)
# name -> the rate that is equal in all groups
_RATES = {
    "demographic_parity": "selection_rate",
    "true_positive_rate_parity": "true_positive_rate",
    "false_positive_rate_parity": "false_positive_rate",
    "true_negative_rate_parity": "true_negative_rate",
    "false_negative_rate_parity": "false_negative_rate",
}
CONSTRAINTS = (*_RATES, "equalized_odds")


class ThresholdRule(NamedTuple):
    """Randomized thresholds of each group.

    With chance ``ignore`` the score is ignored and the decision is 1 with chance ``constant``. Otherwise the
    decision is whether the score exceeds a threshold: ``high`` with chance ``p_high``, else ``low``.

    high, low, p_high, ignore: [groups]. constant: a scalar.
    rate: the constrained rate that all groups share on the training data (equalized odds: the false-positive
        rate), or under a bound each group's rate [groups].
    objective: the objective on the training data; for accuracy and the like in [0, 1].
    """

    high: Array
    low: Array
    p_high: Array
    ignore: Array
    constant: Array
    rate: Array
    objective: Array


def fit_thresholds(
    score: Any,
    y: Any,
    group: Any,
    groups: int,
    constraint: str = "demographic_parity",
    objective: str = "accuracy",
    *,
    weights: Any = None,
    grid: int = 0,
) -> ThresholdRule:
    """The thresholds with the best objective under the constraint; jit and vmap safe.

    The objective is the mean over groups, weighted by their share of the weight, as in fairlearn; under
    equalized odds it is that of the whole data. "overall_balanced_accuracy" is the balanced accuracy of all
    rows together. With a tie the lowest rate is taken.

    Args:
        score: scores [n]; a higher score speaks for label 1.
        y: labels, 0 or 1 [n]. group: integers in 0..groups-1, [n]. groups: the number of groups.
        constraint: a name in `CONSTRAINTS`. objective: a name in `OBJECTIVES`; under equalized odds accuracy
            or balanced accuracy.
        weights: weights [n], 0 or more; None: all 1.
        grid: 0 gives the exact optimum. Another number gives the best of ``grid + 1`` equally spaced rates,
            which is fairlearn's rule for ``grid=1000``.

    Raises:
        InputError: an argument is wrong, or a group lacks one of the labels. (Under jit the rule is NaN.)
    """
    check.choice("constraint", constraint, CONSTRAINTS)
    odds = constraint == "equalized_odds"
    check.choice("objective", objective, OBJECTIVES[:2] if odds else OBJECTIVES)
    check.integer("grid", grid, 0)
    names = ("false_positive_rate", "true_positive_rate") if odds else (_RATES[constraint], objective)
    curves, cells = roc.curves(score, y, group, groups, weights, *names)
    rates = jnp.linspace(0, 1, grid + 1, dtype=cells.dtype) if grid else roc.vertices(curves)
    mass = jnp.sum(cells, axis=0) / jnp.sum(cells)

    def value(heights: Array, at: Array) -> Array:
        if not odds:
            return jnp.sum(mass[:, None] * heights, axis=0)
        share = jnp.sum(cells, axis=1) / jnp.sum(cells) if objective == "accuracy" else jnp.full(2, 0.5)
        return share[1] * jnp.min(heights, axis=0) + share[0] * (1 - at)

    heights = roc.heights_at(curves, rates)
    values = value(heights, rates)
    if odds and not grid:
        rates = jnp.concatenate([rates, roc.crossings(rates, heights, jnp.argmax(values))])
        heights = roc.heights_at(curves, rates)
        values = value(heights, rates)
    slack = 8 * jnp.finfo(values.dtype).eps
    at = jnp.min(jnp.where(values >= jnp.max(values) - slack, rates, jnp.inf))
    rule = jax.vmap(lambda curve: roc.between(curve, at))(curves)
    height = roc.heights_at(curves, at[None])[:, 0]
    above = height - jnp.min(height)
    ignore = jnp.where(odds & (height > at), above / jnp.where(height > at, height - at, 1), 0)
    found = ThresholdRule(*rule, ignore, at, at, jnp.max(values))
    return _nan_unless_whole(found, cells)


def fit_bounded_thresholds(
    score: Any,
    y: Any,
    group: Any,
    groups: int,
    bound: ArrayLike,
    constraint: str = "demographic_parity",
    objective: str = "accuracy",
    *,
    weights: Any = None,
) -> ThresholdRule:
    """The thresholds with the best objective among those whose rates differ by at most ``bound``; exact.

    A bound of 0 is `fit_thresholds`, a bound of 1 no constraint, and the bounds between give the whole front
    of what thresholds by group can reach. Each group's height is concave in its rate, so in a window of rates
    the best rate is the one that lies next to the group's own peak; the best window starts, or ends, at a
    vertex of a hull.

    Args:
        bound: the largest difference of the constrained rate between two groups, in [0, 1]; may be swept.
        score, y, group, groups, constraint, objective, weights: as for `fit_thresholds`; any constraint but
            equalized odds.

    Returns:
        The rule; ``rate`` has a rate for each group, [groups].

    Raises:
        InputError: an argument is wrong, or a group lacks one of the labels. (Under jit the rule is NaN.)
    """
    check.choice("constraint", constraint, tuple(_RATES))
    check.choice("objective", objective, OBJECTIVES)
    check.between("bound", bound, 0, 1)
    curves, cells = roc.curves(score, y, group, groups, weights, _RATES[constraint], objective)
    width = jnp.where((jnp.asarray(bound) >= 0) & (jnp.asarray(bound) <= 1), bound, jnp.nan)
    return _nan_unless_whole(_within(curves, cells, width), jnp.where(jnp.isnan(width), jnp.nan, cells))


@jax.jit
def _within(curves: roc.Curve, cells: Array, width: Array) -> ThresholdRule:
    """The best rule whose rates lie in a window of this width."""
    groups = cells.shape[1]
    mass = jnp.sum(cells, axis=0) / jnp.sum(cells)
    ends = roc.vertices(curves)
    starts = jnp.concatenate([ends, jnp.maximum(ends - width, 0)])
    peak = jax.vmap(lambda curve: curve.x[curve.left[jnp.argmax(curve.y[curve.left])]])(curves)
    rates = jnp.clip(peak[:, None], starts[None], starts[None] + width)  # [groups, starts]
    values = jnp.sum(mass[:, None] * jax.vmap(roc.height)(curves, rates), axis=0)
    slack = 8 * jnp.finfo(values.dtype).eps
    at = jnp.argmin(jnp.where(values >= jnp.max(values) - slack, starts, jnp.inf))
    rule = jax.vmap(roc.between)(curves, rates[:, at])
    zeros = jnp.zeros(groups, values.dtype)
    return ThresholdRule(*rule, zeros, zeros[0], rates[:, at], jnp.max(values))


def _nan_unless_whole(rule: ThresholdRule, cells: Array) -> ThresholdRule:
    whole = jnp.all(cells > 0)
    return jax.tree.map(lambda leaf: jnp.where(whole, leaf, jnp.nan), rule)


def expected_decision(rule: ThresholdRule, score: Any, group: Any) -> Array:
    """The chance of decision 1, [n], for scores [n] and groups [n].

    Raises:
        InputError: an argument is wrong. (Under jit the row of an unknown group or score is NaN.)
    """
    score = arguments.scores("score", score).astype(rule.high.dtype)
    groups = rule.high.shape[0]
    group = arguments.groups(group, score.shape[0], groups)
    high, low, p_high, ignore = (value[group] for value in rule[:4])
    kept = p_high * (score > high) + (1 - p_high) * (score > low)
    chance = ignore * rule.constant + (1 - ignore) * kept
    known = (group >= 0) & (group < groups) & jnp.isfinite(score)
    return jnp.where(known, chance, jnp.nan)


def draw_decision(key: Key, rule: ThresholdRule, score: Any, group: Any) -> Array:
    """A draw of the decisions, int32 0 or 1 [n], for scores [n] and groups [n].

    Raises:
        InputError: an argument is wrong. (Under jit the decision is -1 for the row of an unknown group or
            score, and wherever the rule is NaN.)
    """
    chance = expected_decision(rule, score, group)
    return jnp.where(jnp.isnan(chance), -1, jax.random.bernoulli(key, chance).astype(jnp.int32))
