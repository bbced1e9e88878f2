"""What a group's thresholds achieve: one rate against another, and the upper hull of such a curve.

A threshold gives each group a point; drawing between two thresholds reaches the points of the chord between
theirs. So the upper hull of the points is all that thresholds can achieve (Hardt et al. 2016).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn.fair import arguments, comparable
from lrn.types import Array


class Curve(NamedTuple):
    """A group's thresholds from the highest to the lowest, [points], in the order of rising x."""

    x: Array
    y: Array
    left: Array  # the hull's vertex at or before each point, an index
    right: Array  # the hull's vertex at or after each point
    threshold: Array


def curves(
    score: Any, y: Any, group: Any, groups: int, weights: Any, x_name: str, y_name: str
) -> tuple[Curve, Array]:
    """The curves of all groups, with leaves [groups, points], and the weight of each cell [2, groups].

    Raises:
        InputError: an argument is wrong, or a group lacks one of the labels. (Under jit the curves are NaN.)
    """
    score = arguments.scores("score", score)
    y = arguments.labels("y", y, score.shape[0]).astype(score.dtype)
    group = arguments.groups(group, score.shape[0], groups)
    weights = arguments.weights(weights, score.shape[0]).astype(score.dtype)
    weights = jnp.where(jnp.all(jnp.isfinite(score)), weights, jnp.nan)
    weights = arguments.nan_unless_valid(weights, y, group, groups)
    cells = jax.ops.segment_sum(weights, y.astype(jnp.int32) * groups + group, 2 * groups).reshape(2, groups)
    comparable.both_labels(cells)
    comparable.no_empty_group(cells)
    return _curves(score, y, group, weights, groups, x_name, y_name), cells


@functools.partial(jax.jit, static_argnames=("groups", "x_name", "y_name"))
def _curves(
    score: Array, y: Array, group: Array, weights: Array, groups: int, x_name: str, y_name: str
) -> Curve:
    order = jnp.argsort(-score, stable=True)
    rows = score[order], y[order], group[order], weights[order]
    return jax.vmap(lambda g: _curve(*rows, g, x_name, y_name))(jnp.arange(groups))


def _curve(
    score: Array, y: Array, group: Array, weights: Array, this: Array, x_name: str, y_name: str
) -> Curve:
    own = weights * (group == this)
    true, false = _running_sum(own * y), _running_sum(own * (1 - y))
    # A threshold lies between different scores, so a point counts at the last of equal scores only.
    last = jnp.concatenate([jnp.ones(1, bool), score[1:] != score[:-1], jnp.ones(1, bool)])
    positives, negatives = true[-1], false[-1]
    tpr, fpr = true / positives, false / negatives
    all_true, all_false = jnp.sum(weights * y), jnp.sum(weights * (1 - y))
    share = (positives + negatives) / jnp.sum(weights)
    measures = {
        "selection_rate": (true + false) / (positives + negatives),
        "true_positive_rate": tpr,
        "false_positive_rate": fpr,
        "true_negative_rate": 1 - fpr,
        "false_negative_rate": 1 - tpr,
        "accuracy": (true + negatives - false) / (positives + negatives),
        "balanced_accuracy": (tpr + 1 - fpr) / 2,
        # The group's part of the balanced accuracy of all rows, in units of the group's share.
        "overall_balanced_accuracy": (true / all_true + (negatives - false) / all_false) / (2 * share),
    }
    threshold = _midpoints(score, own > 0)
    x, height = measures[x_name], measures[y_name]
    if x_name in ("true_negative_rate", "false_negative_rate"):
        x, height, threshold, last = (value[::-1] for value in (x, height, threshold, last))
    return Curve(x, height, *_hull(x, height, last), threshold)


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


def vertices(curves: Curve) -> Array:
    """The rates of all vertices of all groups, in rising order; other entries repeat a vertex."""
    return jnp.sort(jnp.take_along_axis(curves.x, curves.left, axis=1).reshape(-1))


def _segment(curve: Curve, at: Array) -> tuple[Array, Array, Array]:
    """The vertices on both sides of rates of any shape, and the share of the left one."""
    place = jnp.clip(jnp.searchsorted(curve.x, at, side="right") - 1, 0, curve.x.shape[0] - 1)
    left = curve.left[place]
    next_place = jnp.minimum(place + 1, curve.x.shape[0] - 1)
    right = jnp.where(at > curve.x[left], curve.right[next_place], left)
    run = curve.x[right] - curve.x[left]
    share = jnp.where(run > 0, (curve.x[right] - at) / jnp.where(run > 0, run, 1), 1)
    return left, right, jnp.clip(share, 0, 1)


def height(curve: Curve, at: Array) -> Array:
    """The height of one group's hull at rates of any shape."""
    left, right, share = _segment(curve, at)
    return share * curve.y[left] + (1 - share) * curve.y[right]


def heights_at(curves: Curve, at: Array) -> Array:
    """The hulls' heights at rates [m], [groups, m]."""
    return jax.vmap(height, (0, None))(curves, at)


def between(curve: Curve, at: Array) -> tuple[Array, Array, Array]:
    """The two thresholds of a rate, and the chance of the first."""
    left, right, share = _segment(curve, at)
    return curve.threshold[left], curve.threshold[right], share


def crossings(rates: Array, heights: Array, best: Array) -> Array:
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
