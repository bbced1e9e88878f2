"""Recourse: the cheapest change of a person's features that turns decision 0 into decision 1.

For a linear model the cheapest change is exact, for the weighted L1, L2 and L-infinity norms, with features
that nobody can change and bounds on the others (Ustun et al. 2019). Each feature moves in the direction of
its coefficient. Without bounds the cost is the missing logit over the dual norm of the coefficients. With
bounds it is a water-filling: features move in proportion until they reach their bounds.

`lrn.fair.recourse_search` finds cheap changes under differentiable models. Groups may differ in cost although
their decisions are alike (Gupta et al. 2019).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import as_array, readable
from lrn.fair import arguments
from lrn.fair.gaps import spread
from lrn.fair.logistic import Linear, logits
from lrn.fair.rates import divide
from lrn.types import Array

NORMS = ("l1", "l2", "linf")


class Recourse(NamedTuple):
    """The cheapest changes.

    change: [n, dim], 0 for a row that has decision 1 already, NaN where there is none.
    cost: [n], the weighted norm of the change; inf where no allowed change gives decision 1.
    """

    change: Array
    cost: Array


class Terms(NamedTuple):
    """What changes are allowed, and what they cost.

    cost: [dim], above 0, the cost of a unit of each feature; inf for a feature that nobody can change.
    low, high: [dim], the bounds of the changed features; -inf and inf for none.
    """

    cost: Array
    low: Array
    high: Array


class GroupRecourse(NamedTuple):
    """Recourse by group, among the rows with decision 0; arrays [groups], NaN for a group without such rows.

    cost: the mean cost of those that have recourse. impossible: the share of those that have none.
    cost_gap, impossible_gap: scalars, the largest minus the smallest of each.
    """

    cost: Array
    impossible: Array
    cost_gap: Array
    impossible_gap: Array


def terms(dim: int, cost: Any = None, actionable: Any = None, low: Any = None, high: Any = None) -> Terms:
    """The terms of recourse for ``dim`` features after all checks.

    Args:
        dim: the number of features.
        cost: [dim], above 0, such as one over each feature's standard deviation; None: all 1.
        actionable: bools [dim]; None: all.
        low, high: [dim], bounds of the changed features; None: no bounds. A feature outside of its bounds
            does not move farther out, and is not brought back.

    Raises:
        InputError: a shape or a value is wrong. (Under jit a wrong value makes every cost NaN.)
    """
    cost = _vector("cost", cost, dim, 1.0)
    low, high = _vector("low", low, dim, -jnp.inf), _vector("high", high, dim, jnp.inf)
    _refuse(
        "cost must be above 0 and finite; make a feature not actionable instead", cost > 0, cost < jnp.inf
    )
    _refuse("low must be at most high, and neither NaN; mend the bounds", low <= high)
    fine = jnp.all((cost > 0) & (cost < jnp.inf) & (low <= high))
    if actionable is not None:
        cost = jnp.where(arguments.mask("actionable", actionable, dim), cost, jnp.inf)
    return Terms(jnp.where(fine, cost, jnp.nan), low, high)


def linear_recourse(
    model: Linear, x: Any, allowed: Terms | None = None, norm: str = "l2", margin: ArrayLike = 0.0
) -> Recourse:
    """The cheapest changes under a linear model; jit and vmap safe.

    Args:
        model: the classifier; decision 1 is a logit above 0.
        x: features [n, dim]. allowed: the terms; None: all features may change, at cost 1 and unbounded.
        norm: "l1", "l2" or "linf" of the changes times their costs.
        margin: the logit to reach, 0 or more. With 0 the changed row lies on the boundary, and every larger
            change in this direction gives decision 1.

    Raises:
        InputError: an argument is wrong. (Under jit a wrong value gives NaN.)
    """
    check.choice("norm", norm, NORMS)
    check.non_negative("margin", margin)
    x = arguments.features("x", x)
    dim = x.shape[1]
    if model.coef.shape != (dim,):
        raise check.InputError(
            f"the model has coefficients {model.coef.shape} and x has {dim} features; give "
            "the model's features."
        )
    allowed = terms(dim) if allowed is None else allowed
    logit = logits(model, x)
    missing = jnp.asarray(margin) - logit
    denied = ~(logit > 0)  # NaN stays
    change = jax.vmap(lambda row, gap: cheapest(model.coef, row, gap, allowed, norm))(x, missing)
    change = jnp.where(denied[:, None], change, 0)
    return Recourse(change, change_cost(change, allowed, norm, missing))


def cheapest(coef: Array, x: Array, missing: Array, allowed: Terms, norm: str) -> Array:
    """The cheapest change [dim] of a row [dim] that adds ``missing`` to its logit; NaN if there is none."""
    room = jnp.maximum(jnp.where(coef > 0, allowed.high - x, x - allowed.low), 0)
    size = jnp.abs(coef)
    useful = (size > 0) & (allowed.cost < jnp.inf) & (room > 0)
    size, room = jnp.where(useful, size, 0), jnp.where(useful, room, 0)
    cost = jnp.where(useful, allowed.cost, 1)
    missing = jnp.maximum(missing, 0)
    if norm == "l1":
        move = _in_turn(size, room, cost, missing)
    else:
        move = _together(size, room, size / cost**2 if norm == "l2" else useful / cost, missing)
    enough = jnp.sum(size * room) >= missing
    wrong = jnp.isnan(missing) | jnp.any(jnp.isnan(allowed.cost + coef + x))
    return jnp.where(enough & ~wrong, jnp.sign(coef) * move, jnp.nan)


def _in_turn(size: Array, room: Array, cost: Array, missing: Array) -> Array:
    """Features move one after another, the cheapest for its effect first, each to its bound."""
    order = jnp.argsort(-size / cost)
    size, room = size[order], room[order]
    before = jnp.concatenate([jnp.zeros(1, size.dtype), jnp.cumsum(_product(size, room))[:-1]])
    left = jnp.maximum(missing - before, 0)
    move = jnp.minimum(room, jnp.where(size > 0, left / jnp.where(size > 0, size, 1), 0))
    return jnp.zeros_like(move).at[order].set(move)


def _together(size: Array, room: Array, speed: Array, missing: Array) -> Array:
    """Features move together at their speeds, each until its bound, until the missing logit is reached."""
    moving = speed > 0
    stop = jnp.where(moving, room / jnp.where(moving, speed, 1), 0)  # the time when a bound is reached
    order = jnp.argsort(stop)
    effect = (size * speed)[order]  # of a unit of time
    filled = jnp.concatenate([jnp.zeros(1, size.dtype), jnp.cumsum(_product(size, room)[order])[:-1]])
    rate = jnp.cumsum(effect[::-1])[::-1]  # of the features that have not stopped
    time = jnp.where(rate > 0, (missing - filled) / jnp.where(rate > 0, rate, 1), jnp.inf)
    fits = time <= stop[order]
    # The last stop is the answer where rounding leaves none that fits.
    end = jnp.where(jnp.any(fits), time[jnp.argmax(fits)], stop[order][-1])
    return jnp.minimum(room, jnp.where(moving, speed * jnp.maximum(end, 0), 0))


def _product(size: Array, room: Array) -> Array:
    """``size * room``, and 0 where size is 0 and room is infinite."""
    return jnp.where(size > 0, size * jnp.where(size > 0, room, 0), 0)


def change_cost(change: Array, allowed: Terms, norm: str, missing: Array | None = None) -> Array:
    """The weighted norm of changes [n, dim], [n]; inf for a NaN change, but NaN where ``missing`` is NaN."""
    price = jnp.where(allowed.cost < jnp.inf, allowed.cost, 0)[None] * jnp.abs(change)
    if norm == "l2":
        square = jnp.sum(price**2, axis=1)
        moved = square != 0  # the square root has no gradient at 0
        total = jnp.where(moved, jnp.sqrt(jnp.where(moved, square, 1)), 0)
    else:
        total = jnp.sum(price, axis=1) if norm == "l1" else jnp.max(price, axis=1)
    known = jnp.all(allowed.cost > 0)
    known = known if missing is None else known & ~jnp.isnan(missing)
    return jnp.where(known, jnp.where(jnp.isnan(total), jnp.inf, total), jnp.nan)


def group_recourse(
    cost: Any, denied: Any, group: Any, groups: int, weights: Any = None, empty: str = "nan"
) -> GroupRecourse:
    """The mean cost of recourse of each group's rows with decision 0, and who has none.

    Args:
        cost: [n], 0 or more, inf where there is no recourse. denied: bools [n], the rows with decision 0.
        group: integers in 0..groups-1, [n]. groups: the number of groups.
        weights: weights [n], 0 or more; None: all 1.
        empty: "nan" or "skip": what the gaps do with a group without rows, as in `lrn.fair.gaps.spread`.

    Raises:
        InputError: an argument is wrong. (Under jit wrong values give NaN.)
    """
    cost = _numbers(cost)
    n = cost.shape[0]
    denied, group = arguments.mask("denied", denied, n), arguments.groups(group, n, groups)
    weights = arguments.weights(weights, n).astype(cost.dtype)
    weights = arguments.nan_unless_valid(weights, jnp.zeros_like(weights), group, groups)
    known = jnp.all((cost >= 0) & ~jnp.isnan(cost))  # XLA takes abs(x) >= 0 for true, also where x is NaN
    weights = jnp.where(known, jnp.where(denied, weights, 0 * weights), jnp.nan)
    free = cost < jnp.inf
    mass = jax.ops.segment_sum(weights, group, groups)
    able = jax.ops.segment_sum(weights * free, group, groups)
    total = jax.ops.segment_sum(weights * jnp.where(free, cost, 0), group, groups)
    mean, none = divide(total, able), divide(mass - able, mass)
    return GroupRecourse(mean, none, spread(mean, empty), spread(none, empty))


def _numbers(cost: Any) -> Array:
    cost = arguments.numbers("cost", cost)
    if cost.ndim != 1 or cost.size == 0:
        raise check.InputError(f"cost must have shape [n], n at least 1, got {cost.shape}; give one a row.")
    cost = cost.astype(jnp.promote_types(cost.dtype, jnp.float32))
    _refuse("cost must be 0 or more, inf where there is no recourse; mend the costs", cost >= 0)
    return cost


def _vector(name: str, value: Any, dim: int, default: float) -> Array:
    if value is None:
        return jnp.full(dim, default, jnp.float32)
    value = as_array(value)
    if value.shape != (dim,):
        raise check.InputError(f"{name} must have shape [{dim}], got {value.shape}; give one a feature.")
    return value.astype(jnp.promote_types(value.dtype, jnp.float32))


def _refuse(message: str, *fine: Array) -> None:
    for one in fine:
        if readable(one) and not np.asarray(one).all():
            raise check.InputError(f"{message}, as entry {int(np.argmin(np.asarray(one)))} needs.")
