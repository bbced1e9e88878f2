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

from lrn import check
from lrn.fair import arguments
from lrn.types import Array, Key

OBJECTIVES = ("accuracy", "balanced_accuracy", "selection_rate", "true_positive_rate", "true_negative_rate")
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
        rate). objective: the objective on the training data; for accuracy and the like in [0, 1].
    """

    high: Array
    low: Array
    p_high: Array
    ignore: Array
    constant: Array
    rate: Array
    objective: Array


class _Curve(NamedTuple):
    """A group's thresholds from the highest to the lowest, [points], in the order of rising x."""

    x: Array
    y: Array
    left: Array  # the hull's vertex at or before each point, an index
    right: Array  # the hull's vertex at or after each point
    threshold: Array


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
    equalized odds it is that of the whole data. With a tie the lowest rate is taken.

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
    score = _scores(score)
    y = arguments.labels("y", y, score.shape[0]).astype(score.dtype)
    group = arguments.groups(group, score.shape[0], groups)
    weights = arguments.weights(weights, score.shape[0]).astype(score.dtype)
    weights = arguments.nan_unless_valid(weights, y, group, groups)
    cells = jax.ops.segment_sum(weights, y.astype(jnp.int32) * groups + group, 2 * groups).reshape(2, groups)
    arguments.both_labels(cells)
    arguments.no_empty_group(cells)
    x_name, y_name = (
        ("false_positive_rate", "true_positive_rate") if odds else (_RATES[constraint], objective)
    )

    order = jnp.argsort(-score, stable=True)
    sorted_rows = score[order], y[order], group[order], weights[order]
    curves = jax.vmap(lambda g: _curve(*sorted_rows, g, x_name, y_name))(jnp.arange(groups))
    rates = jnp.linspace(0, 1, grid + 1, dtype=score.dtype) if grid else _vertices(curves)
    mass = jnp.sum(cells, axis=0) / jnp.sum(cells)

    def value(heights: Array, at: Array) -> Array:
        if not odds:
            return jnp.sum(mass[:, None] * heights, axis=0)
        share = jnp.sum(cells, axis=1) / jnp.sum(cells) if objective == "accuracy" else jnp.full(2, 0.5)
        return share[1] * jnp.min(heights, axis=0) + share[0] * (1 - at)

    heights = _heights(curves, rates)
    values = value(heights, rates)
    if odds and not grid:
        rates = jnp.concatenate([rates, _crossings(rates, heights, jnp.argmax(values))])
        heights = _heights(curves, rates)
        values = value(heights, rates)
    slack = 8 * jnp.finfo(values.dtype).eps
    at = jnp.min(jnp.where(values >= jnp.max(values) - slack, rates, jnp.inf))
    rule = jax.vmap(lambda curve: _between(curve, at))(curves)
    height = _heights(curves, at[None])[:, 0]
    above = height - jnp.min(height)
    ignore = jnp.where(odds & (height > at), above / jnp.where(height > at, height - at, 1), 0)
    found = ThresholdRule(*rule, ignore, at, at, jnp.max(values))
    whole = jnp.all(cells > 0)
    return jax.tree.map(lambda leaf: jnp.where(whole, leaf, jnp.nan), found)


def expected_decision(rule: ThresholdRule, score: Any, group: Any) -> Array:
    """The chance of decision 1, [n], for scores [n] and groups [n].

    Raises:
        InputError: an argument is wrong. (Under jit the row of an unknown group or score is NaN.)
    """
    score = _scores(score).astype(rule.high.dtype)
    groups = rule.high.shape[0]
    group = arguments.groups(group, score.shape[0], groups)
    high, low, p_high, ignore = (value[group] for value in rule[:4])
    kept = p_high * (score > high) + (1 - p_high) * (score > low)
    chance = ignore * rule.constant + (1 - ignore) * kept
    known = (group >= 0) & (group < groups) & ~jnp.isnan(score)
    return jnp.where(known, chance, jnp.nan)


def draw_decision(key: Key, rule: ThresholdRule, score: Any, group: Any) -> Array:
    """A draw of the decisions, int32 0 or 1 [n], for scores [n] and groups [n].

    Raises:
        InputError: an argument is wrong. (Under jit the decision is -1 for the row of an unknown group or
            score, and wherever the rule is NaN.)
    """
    chance = expected_decision(rule, score, group)
    return jnp.where(jnp.isnan(chance), -1, jax.random.bernoulli(key, chance).astype(jnp.int32))


def _curve(
    score: Array, y: Array, group: Array, weights: Array, this: Array, x_name: str, y_name: str
) -> _Curve:
    own = weights * (group == this)
    true, false = _running_sum(own * y), _running_sum(own * (1 - y))
    # A threshold lies between different scores, so a point counts at the last of equal scores only.
    last = jnp.concatenate([jnp.ones(1, bool), score[1:] != score[:-1], jnp.ones(1, bool)])
    positives, negatives = true[-1], false[-1]
    tpr, fpr = true / positives, false / negatives
    measures = {
        "selection_rate": (true + false) / (positives + negatives),
        "true_positive_rate": tpr,
        "false_positive_rate": fpr,
        "true_negative_rate": 1 - fpr,
        "false_negative_rate": 1 - tpr,
        "accuracy": (true + negatives - false) / (positives + negatives),
        "balanced_accuracy": (tpr + 1 - fpr) / 2,
    }
    threshold = _midpoints(score, own > 0)
    x, height = measures[x_name], measures[y_name]
    if x_name in ("true_negative_rate", "false_negative_rate"):
        x, height, threshold, last = (value[::-1] for value in (x, height, threshold, last))
    return _Curve(x, height, *_hull(x, height, last), threshold)


def _running_sum(values: Array) -> Array:
    """Sums of the first 0, 1, ... values, [n + 1]; never falling, in spite of rounding."""
    return jax.lax.cummax(jnp.concatenate([jnp.zeros(1, values.dtype), jnp.cumsum(values)]))


def _midpoints(score: Array, own: Array) -> Array:
    """The threshold after each number of rows, [n + 1]: halfway between the group's scores on both sides."""
    above = jnp.concatenate([jnp.full(1, jnp.inf), jax.lax.cummin(jnp.where(own, score, jnp.inf))])
    below = jax.lax.cummax(jnp.where(own, score, -jnp.inf)[::-1])[::-1]
    below = jnp.concatenate([below, jnp.full(1, -jnp.inf)])
    middle = above / 2 + below / 2
    return jnp.where(jnp.isinf(above), jnp.inf, jnp.where(jnp.isinf(below), -jnp.inf, middle)).astype(
        score.dtype
    )


def _hull(x: Array, y: Array, usable: Array) -> tuple[Array, Array]:
    """The vertices of the upper hull before and after each point, [points], for sorted x; by quickhull.

    Each round adds, in every stretch between two vertices, the point farthest above the chord.
    """
    size = x.shape[0]
    index = jnp.arange(size)
    eps = jnp.finfo(x.dtype).eps
    # Compilers may round x and x[0] differently, so equal ends are equal up to rounding. Of the equal ends
    # the inner one is better in the rate that neither axis shows.
    at_start, at_end = x <= x[0] + 4 * eps, x >= x[-1] - 4 * eps
    first = size - 1 - jnp.argmax(jnp.where(usable & at_start, y, -jnp.inf)[::-1])
    last = jnp.argmax(jnp.where(usable & at_end, y, -jnp.inf))
    inner = usable & ~at_start & ~at_end

    def neighbors(vertex: Array) -> tuple[Array, Array]:
        left = jax.lax.cummax(jnp.where(vertex, index, -1))
        right = jax.lax.cummin(jnp.where(vertex, index, size)[::-1])[::-1]
        return jnp.where(left < 0, first, left), jnp.where(right >= size, last, right)

    def advance(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        vertex, _ = carry
        left, right = neighbors(vertex)
        run, rise = x[right] - x[left], y[right] - y[left]
        height = (y - y[left]) * run - rise * (x - x[left])
        rounding = 4 * eps * (run + jnp.abs(rise))
        height = jnp.where(inner & ~vertex & (height > rounding), height, -jnp.inf)
        highest = jax.ops.segment_max(height, left, size)
        is_highest = jnp.isfinite(height) & (height >= highest[left])
        chosen = jax.ops.segment_min(jnp.where(is_highest, index, size), left, size)
        added = is_highest & (index == chosen[left])
        return vertex | added, jnp.any(added)

    start = (index == first) | (index == last)
    vertex, _ = jax.lax.while_loop(lambda carry: carry[1], advance, (start, jnp.asarray(True)))
    return neighbors(vertex)


def _vertices(curves: _Curve) -> Array:
    """The rates of all vertices of all groups, in rising order; other entries repeat a vertex."""
    return jnp.sort(jnp.take_along_axis(curves.x, curves.left, axis=1).reshape(-1))


def _segment(curve: _Curve, at: Array) -> tuple[Array, Array, Array]:
    """The vertices on both sides of rates of any shape, and the share of the left one."""
    place = jnp.clip(jnp.searchsorted(curve.x, at, side="right") - 1, 0, curve.x.shape[0] - 1)
    left = curve.left[place]
    next_place = jnp.minimum(place + 1, curve.x.shape[0] - 1)
    right = jnp.where(at > curve.x[left], curve.right[next_place], left)
    run = curve.x[right] - curve.x[left]
    share = jnp.where(run > 0, (curve.x[right] - at) / jnp.where(run > 0, run, 1), 1)
    return left, right, jnp.clip(share, 0, 1)


def _heights(curves: _Curve, at: Array) -> Array:
    """The hulls' heights at rates [m], [groups, m]."""

    def one(curve: _Curve) -> Array:
        left, right, share = _segment(curve, at)
        return share * curve.y[left] + (1 - share) * curve.y[right]

    return jax.vmap(one)(curves)


def _between(curve: _Curve, at: Array) -> tuple[Array, Array, Array]:
    """The two thresholds of a rate, and the chance of the first."""
    left, right, share = _segment(curve, at)
    return curve.threshold[left], curve.threshold[right], share


def _crossings(rates: Array, heights: Array, best: Array) -> Array:
    """The rates where two hulls cross, in the stretches beside the best vertex: the optimum may lie there."""
    found = []
    at = rates[best]
    low = jnp.max(jnp.where(rates < at, rates, -jnp.inf))
    high = jnp.min(jnp.where(rates > at, rates, jnp.inf))
    for a, b in ((low, at), (at, high)):
        first = heights[:, jnp.argmax(rates == a)]
        second = heights[:, jnp.argmax(rates == b)]
        gap = first[:, None] - first[None]
        change = gap - (second[:, None] - second[None])
        share = jnp.where(change != 0, gap / jnp.where(change != 0, change, 1), 0)
        crosses = (share > 0) & (share < 1) & jnp.isfinite(a) & jnp.isfinite(b)
        found.append(jnp.where(crosses, a + share * (b - a), at).reshape(-1))
    return jnp.concatenate(found)


def _scores(score: Any) -> Array:
    score = jnp.asarray(score)
    if score.ndim != 1 or score.size == 0:
        raise check.InputError(f"score must have shape [n], n at least 1, got {score.shape}; give one a row.")
    return arguments.floats("score", score, score.shape[0])
