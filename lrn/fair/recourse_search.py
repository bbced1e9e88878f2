"""Recourse for differentiable models: cheap changes that turn decision 0 into 1 (Wachter et al. 2018).

The logit is linearized at the current point, the linear problem is solved exactly with its costs and bounds
(`lrn.fair.recourse`), and the point moves toward the solution; again from there. Of all points with decision
1 the search keeps the cheapest, and a bisection brings it to the boundary on the segment to the row. The cost
is thus an upper bound on the cheapest one: the search is local. For a linear model it is exact.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.fair import arguments
from lrn.fair.recourse import NORMS, Recourse, Terms, change_cost, cheapest, terms
from lrn.types import Array


@config
class RecourseConfig:
    """Settings of the search.

    norm: "l1", "l2" or "linf" of the changes times their costs.
    steps: the number of linearizations.
    step: how far the point moves toward the solution of each, in (0, 1].
    margin: the logit to reach, above 0; the bisection ends between 0 and the point found.
    bisections: halvings of the last segment; each halves the excess of the cost.
    """

    norm: str = "l2"
    steps: int = 30
    step: float = 0.5
    margin: float = 1e-3
    bisections: int = 20

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, NORMS)
        check.counts(self, "steps", "bisections")
        check.positive("step", self.step)
        check.between("step", self.step, 0, 1)
        check.positive("margin", self.margin)


def search_recourse(
    logit: Callable[[Array], Array],
    x: Array,
    allowed: Terms | None = None,
    config: RecourseConfig = RecourseConfig(),  # noqa: B008
) -> Recourse:
    """Cheap changes under a differentiable model; jit and vmap safe.

    Args:
        logit: from one row [dim] to its logit, a scalar; decision 1 is a logit above 0. Of a ``predict`` it
            is ``lambda row: jax.scipy.special.logit(predict(row[None])[0])``.
        x: features [n, dim].
        allowed: what may change at what cost, made by `lrn.fair.recourse.terms`; None: everything at cost 1.
        config: the settings.

    Returns:
        The changes found. A cost of inf says that the search found none; there may still be one.

    Raises:
        InputError: an argument is wrong. (Under jit a wrong value gives NaN.)
    """
    x = arguments.features("x", x)
    allowed = terms(x.shape[1]) if allowed is None else allowed
    change, known = jax.vmap(lambda row: _search(logit, row, allowed, config))(x)
    cost = change_cost(change, allowed, config.norm, jnp.where(known, 0, jnp.nan))
    return Recourse(change, cost)


def _search(
    logit: Callable[[Array], Array], row: Array, allowed: Terms, config: RecourseConfig
) -> tuple[Array, Array]:
    """The change of one row [dim], NaN if none is found, and whether its logit is a number."""
    both = jax.value_and_grad(logit)

    def price(point: Array) -> Array:
        return change_cost((point - row)[None], allowed, config.norm)[0]

    def advance(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        point, best, least = carry
        value, slope = both(point)
        cost = price(point)
        better = (value > 0) & (cost < least)
        best, least = jnp.where(better, point, best), jnp.where(better, cost, least)
        # The linear model through the point, asked for a change of the row itself.
        missing = config.margin - value + jnp.sum(slope * (point - row))
        goal = row + _reached(slope, row, missing, allowed, config.norm)
        moved = point + config.step * (goal - point)
        return (jnp.where(jnp.all(jnp.isfinite(moved)), moved, point), best, least), None

    start = logit(row)
    inf = jnp.full((), jnp.inf, row.dtype)
    carry = (row, jnp.full_like(row, jnp.nan), inf)
    (point, best, least), _ = jax.lax.scan(advance, carry, None, config.steps)
    last = (logit(point) > 0) & (price(point) < least)
    best = jnp.where(last, point, best)

    def halve(_: int, segment: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = segment
        middle = (low + high) / 2
        fine = logit(row + middle * (best - row)) > 0
        return jnp.where(fine, low, middle), jnp.where(fine, middle, high)

    zero = jnp.zeros((), row.dtype)
    _, share = jax.lax.fori_loop(0, config.bisections, halve, (zero, zero + 1))
    change = jnp.where(start > 0, 0, share * (best - row))
    return change, ~jnp.isnan(start) & jnp.all(allowed.cost > 0)


def _reached(coef: Array, row: Array, missing: Array, allowed: Terms, norm: str) -> Array:
    """The cheapest change under a linear model; where it is impossible, all that is allowed."""
    change = cheapest(coef, row, missing, allowed, norm)
    room = jnp.maximum(jnp.where(coef > 0, allowed.high - row, row - allowed.low), 0)
    may = (allowed.cost < jnp.inf) & (coef != 0)
    return jnp.where(jnp.isnan(change), jnp.where(may, jnp.sign(coef) * room, 0), change)
