"""Thresholds by group from a search over validation data: any metric under a bound on any other.

After OxonFair (Delaney et al. 2024): all metrics of decisions are functions of each group's confusion counts,
so the counts at a grid of thresholds a group give every metric at every combination of thresholds. The best
combinations for all bounds at once are the Pareto front of the two metrics. For two and three groups the
front is exact on the grid. For more groups `lrn.fair.coordinate_search` gives a front without this guarantee.

The thresholds decide without chance, unlike those of `lrn.fair.thresholds`. Fit them on data that did not
train the scores. The group must be known at prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import readable
from lrn.fair import arguments
from lrn.fair.arguments import Scored
from lrn.fair.confusion import Confusion
from lrn.types import Array

# A metric of decisions: confusion counts [..., groups] -> [...], such as those of `lrn.fair.gaps`.
CountMetric = Callable[[Confusion], Array]
_LARGEST = 20_000_000  # combinations of thresholds


class Front(NamedTuple):
    """The Pareto front: no other combination has a larger objective and no larger constraint.

    The constraint rises from point to point, and so does the objective. The entries after the last point are
    NaN, since the number of points is not known before the search.

    threshold: [points, groups]; the decision is whether a score exceeds its group's threshold.
    objective, constraint: [points], the two metrics on the data of the search.
    """

    threshold: Array
    objective: Array
    constraint: Array


class SearchRule(NamedTuple):
    """One point of a front. threshold: [groups]. objective, constraint: scalars."""

    threshold: Array
    objective: Array
    constraint: Array


class Table(NamedTuple):
    """A group's thresholds from inf to -inf, [groups, levels], and the counts of each, [groups, levels]."""

    threshold: Array
    counts: Confusion


def threshold_front(
    score: Any,
    y: Any,
    group: Any,
    groups: int,
    objective: CountMetric,
    constraint: CountMetric,
    *,
    weights: Any = None,
    levels: int = 51,
) -> Front:
    """The Pareto front over all combinations of the groups' thresholds; jit and vmap safe.

    A group's thresholds lie halfway between its neighboring scores, at equally spaced ranks. With more levels
    than a group has rows all its thresholds are on the grid. Combinations whose objective or constraint is
    not finite are left out, such as those that leave a rate without trials.

    Args:
        score: scores [n]; a higher score speaks for label 1.
        y: labels, 0 or 1 [n]. group: integers in 0..groups-1, [n]. groups: the number of groups, 2 or 3.
        objective: the metric to maximize, a function of confusion counts [..., groups] that gives [...];
            ``lambda c: rate(overall(c), "accuracy")[..., 0]`` is the accuracy of all rows.
        constraint: the metric to bound from above, of the same form, such as
            `lrn.fair.gaps.demographic_parity_difference`. A bound from below is one on the negative.
        weights: weights [n], 0 or more; None: all 1. Rows with a weight count once for the ranks.
        levels: the number of thresholds a group; time and memory grow with ``levels ** groups``.

    Raises:
        InputError: an argument is wrong. (Under jit wrong values give a front of NaN.)
    """
    check.integer("groups", groups, 2)
    check.integer("levels", levels, 2)
    if groups > 3:
        raise check.InputError(
            f"the exact front needs 2 or 3 groups, got {groups}; use lrn.fair.coordinate_search for more."
        )
    if levels**groups > _LARGEST:
        raise check.InputError(
            f"levels of {levels} give {levels**groups} combinations of thresholds, more than {_LARGEST}; "
            "choose fewer levels."
        )
    table = threshold_table(arguments.scored(score, y, group, groups, weights), groups, levels)
    rest = jnp.indices((levels,) * (groups - 1)).reshape(groups - 1, -1).T

    def block(first: Array) -> tuple[Array, Array]:
        index = jnp.concatenate([jnp.full((rest.shape[0], 1), first), rest], axis=1)
        return metrics(counts_at(table, index), objective, constraint)

    values, gaps = jax.lax.map(block, jnp.arange(levels))
    every = jnp.indices((levels,) * groups).reshape(groups, -1).T
    return pareto_front(thresholds_at(table, every), values.reshape(-1), gaps.reshape(-1))


def choose(front: Front, bound: ArrayLike) -> SearchRule:
    """The point of the front with the best objective among those whose constraint is at most the bound.

    Args:
        front: the result of a search. bound: the largest constraint, a scalar; may be swept under vmap, and
            the search is then done once. The comparison is exact: leave room for rounding.

    Raises:
        InputError: no point of the front keeps the bound. (Under jit the rule is NaN.)
    """
    check.finite("bound", bound)
    kept = front.constraint <= bound
    if readable(kept) and not np.asarray(kept).any():
        raise check.InputError(
            f"no thresholds keep the constraint at or below {float(np.asarray(bound)):g}, the smallest that "
            f"the search found is {float(front.constraint[0]):g}; raise the bound, or search more levels."
        )
    at = jnp.maximum(jnp.sum(kept) - 1, 0)
    return SearchRule(*(jnp.where(kept[0], leaf[at], jnp.nan) for leaf in front))


def search_decision(rule: SearchRule, score: Any, group: Any) -> Array:
    """The decisions of a rule, floats 0 or 1 [n], for scores [n] and groups [n].

    Raises:
        InputError: an argument is wrong. (Under jit the row of an unknown group or score is NaN.)
    """
    return decisions(rule.threshold, score, group)


def decisions(threshold: Array, score: Any, group: Any) -> Array:
    """Whether a score exceeds its group's threshold [groups], floats 0 or 1 [n]; NaN for an unknown row."""
    score = arguments.scores("score", score)
    groups = threshold.shape[0]
    group = arguments.groups(group, score.shape[0], groups)
    own = threshold[group]
    known = (group >= 0) & (group < groups) & jnp.isfinite(score) & ~jnp.isnan(own)
    return jnp.where(known, (score > own).astype(score.dtype), jnp.nan)


def threshold_table(rows: Scored, groups: int, levels: int) -> Table:
    """Each group's thresholds at equally spaced ranks, from inf to -inf, and their counts."""
    ranks = jnp.linspace(0, 1, levels, dtype=rows.score.dtype)

    def one(g: Array) -> Array:
        own = (rows.group == g) & (rows.weights != 0)  # NaN, the mark of wrong values, stays
        value = jnp.sort(jnp.where(own, rows.score, -jnp.inf), descending=True)
        edge = jnp.full(1, jnp.inf, value.dtype)
        ends = jnp.concatenate([edge, value, -edge])
        after = jnp.round(ranks * jnp.sum(own)).astype(jnp.int32)
        return ends[after] / 2 + ends[after + 1] / 2

    threshold = jax.vmap(one)(jnp.arange(groups))
    return Table(threshold, _counts(rows, threshold))


def _counts(rows: Scored, threshold: Array) -> Confusion:
    """The counts of each group at its thresholds [groups, m], each [groups, m]."""

    def one(g: Array, cuts: Array) -> Confusion:
        own = jnp.where(rows.group == g, rows.weights, 0)
        order = jnp.argsort(-rows.score)
        above = jnp.searchsorted(-rows.score[order], -cuts)  # how many scores exceed the threshold
        hit, false = (
            jnp.concatenate([jnp.zeros(1, own.dtype), jnp.cumsum(part[order])])
            for part in (own * rows.y, own * (1 - rows.y))
        )
        return Confusion(hit[above], false[above], hit[-1] - hit[above], false[-1] - false[above])

    return jax.vmap(one)(jnp.arange(threshold.shape[0]), threshold)


def counts_of(rows: Scored, threshold: Array) -> Confusion:
    """The counts of all groups at combinations of thresholds [points, groups], each [points, groups]."""
    return Confusion(*(count.T for count in _counts(rows, threshold.T)))


def counts_at(table: Table, index: Array) -> Confusion:
    """The counts at combinations of levels [..., groups], each [..., groups]."""
    return Confusion(*(_pick(count, index) for count in table.counts))


def thresholds_at(table: Table, index: Array) -> Array:
    """The thresholds at combinations of levels [..., groups], [..., groups]."""
    return _pick(table.threshold, index)


def _pick(values: Array, index: Array) -> Array:
    group = jnp.arange(values.shape[0]).reshape((1,) * (index.ndim - 1) + (-1,))
    return values[group, index]


def metrics(counts: Confusion, objective: CountMetric, constraint: CountMetric) -> tuple[Array, Array]:
    """Both metrics of counts [points, groups], each [points].

    Raises:
        InputError: a metric gives another shape.
    """
    found = []
    for name, metric in (("objective", objective), ("constraint", constraint)):
        value = jnp.asarray(metric(counts))
        if value.shape != counts.tp.shape[:-1]:
            raise check.InputError(
                f"{name} must give one number for counts [..., groups], got shape {value.shape} for counts "
                f"{counts.tp.shape}; sum or compare over the last axis, as in lrn.fair.gaps."
            )
        found.append(value.astype(counts.tp.dtype))
    return found[0], found[1]


def pareto_front(threshold: Array, objective: Array, constraint: Array) -> Front:
    """The Pareto front of points: thresholds [points, groups], and their metrics [points].

    Of points with equal metrics the first stays.
    """
    known = jnp.isfinite(objective) & jnp.isfinite(constraint)
    gain, cost = jnp.where(known, objective, -jnp.inf), jnp.where(known, constraint, jnp.inf)
    order = jnp.lexsort((-gain, cost))
    best = jax.lax.cummax(gain[order])
    kept = gain[order] > jnp.concatenate([jnp.full(1, -jnp.inf, best.dtype), best[:-1]])
    first = jnp.argsort(~kept, stable=True)
    place, kept = order[first], kept[first]
    return Front(
        jnp.where(kept[:, None], threshold[place], jnp.nan),
        jnp.where(kept, objective[place], jnp.nan),
        jnp.where(kept, constraint[place], jnp.nan),
    )
