"""Thresholds for many groups by coordinate ascent: `lrn.fair.search` without its guarantee.

The number of combinations of thresholds grows exponentially with the number of groups. Here each group's
threshold in turn takes its best value while the others stay, until none changes. The ascent starts from many
points, in which all groups have the same selection rate, and is done for a grid of bounds. Its points are
locally best: no change of one group's threshold on the grid improves them, a change of two may.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.fair import arguments
from lrn.fair.search import (
    CountMetric,
    Front,
    Table,
    counts_at,
    metrics,
    pareto_front,
    threshold_table,
    thresholds_at,
)
from lrn.types import Array


def coordinate_front(
    score: Any,
    y: Any,
    group: Any,
    groups: int,
    objective: CountMetric,
    constraint: CountMetric,
    *,
    weights: Any = None,
    levels: int = 51,
    bounds: int = 20,
    sweeps: int = 20,
) -> Front:
    """The front of the points that the ascents reach, for any number of groups; jit and vmap safe.

    Points of the exact front may be missing, and a point of this front need not be on the exact one. All
    other arguments, the errors and the use of the front are those of `lrn.fair.search.threshold_front`.

    Args:
        score, y, group, groups, objective, constraint, weights, levels: as there; ``groups`` is 2 or more.
        bounds: the number of bounds on the constraint, equally spaced between the smallest and the largest
            constraint of the starts; one more ascent minimizes the constraint itself. 2 or more.
        sweeps: the largest number of rounds over the groups.

    Raises:
        InputError: an argument is wrong. (Under jit wrong values give a front of NaN.)
    """
    check.integer("groups", groups, 2)
    check.integer("levels", levels, 2)
    check.integer("bounds", bounds, 2)
    check.integer("sweeps", sweeps, 1)
    table = threshold_table(arguments.scored(score, y, group, groups, weights), groups, levels)
    starts = jnp.broadcast_to(jnp.arange(levels)[:, None], (levels, groups))
    _, cost = metrics(counts_at(table, starts), objective, constraint)
    known = jnp.isfinite(cost)
    low = jnp.min(jnp.where(known, cost, jnp.inf))
    high = jnp.max(jnp.where(known, cost, -jnp.inf))
    share = jnp.linspace(0, 1, bounds, dtype=cost.dtype)
    # Below the first bound lies nothing, so the ascent under it minimizes the constraint.
    asked = jnp.concatenate([low[None] - 1 - jnp.abs(high - low), low + share * (high - low)])

    def under(bound: Array) -> Array:
        climb = lambda start: _climb(table, start, bound, objective, constraint, sweeps)  # noqa: E731
        return jax.vmap(climb)(starts)

    found = jnp.concatenate([starts, jax.lax.map(under, asked).reshape(-1, groups)])
    return pareto_front(thresholds_at(table, found), *metrics(counts_at(table, found), objective, constraint))


def _climb(
    table: Table, start: Array, bound: Array, objective: CountMetric, constraint: CountMetric, sweeps: int
) -> Array:
    """The levels [groups] that the ascent reaches from a start [groups]."""
    groups, levels = table.threshold.shape

    def improve(g: Array, index: Array) -> Array:
        tried = jnp.broadcast_to(index, (levels, groups)).at[:, g].set(jnp.arange(levels))
        gain, cost = metrics(counts_at(table, tried), objective, constraint)
        known = jnp.isfinite(gain) & jnp.isfinite(cost)
        excess = jnp.where(known, jnp.maximum(cost - bound, 0), jnp.inf)
        gain = jnp.where(known & (excess <= jnp.min(excess)), gain, -jnp.inf)
        stay = gain[index[g]] >= jnp.max(gain)
        return index.at[g].set(jnp.where(stay, index[g], jnp.argmax(gain)))

    def going(carry: tuple[Array, Array, Array]) -> Array:
        _, changed, count = carry
        return changed & (count < sweeps)

    def sweep(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        index, _, count = carry
        after = jax.lax.fori_loop(0, groups, improve, index)
        return after, jnp.any(after != index), count + 1

    begin = (start, jnp.asarray(True), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(going, sweep, begin)[0]
