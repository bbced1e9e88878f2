"""The best mixture of given classifiers under bounds on violations: a small linear program, by the simplex.

    minimize over q and s:  sum_h q_h error_h + size * s
    with  sum_h q_h violation_hk - bound_k <= s for each constraint k,  q a distribution,  s >= 0.

The program's dual variables are the multipliers of the constraints, whose sum is at most ``size``. A basis
has one column more than there are constraints, so a step solves a system of this size anew: no error
accumulates. The first basis is feasible, hence the mixture is feasible after any number of steps.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn.types import Array


class Mixture(NamedTuple):
    """The solution. q: [classifiers], the distribution. multipliers: [constraints], the dual variables."""

    q: Array
    multipliers: Array


@functools.partial(jax.jit, static_argnames="steps")
def best_mixture(error: Array, excess: Array, known: Array, size: Array, steps: int = 200) -> Mixture:
    """The best mixture of the known classifiers.

    Args:
        error: the objective of each classifier, [classifiers].
        excess: each classifier's violation minus its bound, [classifiers, constraints].
        known: bools [classifiers], the classifiers that may be used; at least one.
        size: the largest sum of the multipliers, a scalar.
        steps: the largest number of steps. A solution after fewer steps than needed is feasible, not optimal.
    """
    count, rows = excess.shape
    dtype = error.dtype
    # Columns: the classifiers, s, and a slack a constraint. Rows: the constraints, and the sum of q.
    top = jnp.concatenate([excess.T, -jnp.ones((rows, 1), dtype), jnp.eye(rows, dtype=dtype)], axis=1)
    last = jnp.concatenate([jnp.ones(count, dtype), jnp.zeros(1 + rows, dtype)])
    columns = jnp.concatenate([top, last[None]], axis=0)
    costs = jnp.concatenate([error, jnp.reshape(size, 1).astype(dtype), jnp.zeros(rows, dtype)])
    right = jnp.zeros(rows + 1, dtype).at[-1].set(1)
    allowed = jnp.concatenate([known, jnp.ones(1 + rows, bool)])
    tolerance = 20 * jnp.finfo(dtype).eps * (1 + jnp.max(jnp.abs(jnp.where(known, error, 0))))

    def duals(basis: Array) -> Array:
        return jnp.linalg.solve(columns[:, basis].T, costs[basis])

    def reduced(basis: Array) -> Array:
        price = jnp.dot(duals(basis), columns, precision="highest")
        return jnp.where(allowed, costs - price, jnp.inf).at[basis].set(jnp.inf)

    def going(carry: tuple[Array, Array, Array]) -> Array:
        _, done, step = carry
        return ~done & (step < steps)

    def pivot(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        basis, _, step = carry
        cost = reduced(basis)
        first = jnp.argmax(cost < -tolerance)  # Bland's rule, which cannot cycle, in the second half
        entering = jnp.where(step < steps // 2, jnp.argmin(cost), first)
        both = jnp.stack([right, columns[:, entering]], axis=1)
        value, change = jnp.linalg.solve(columns[:, basis], both).T
        movable = change > 1e-6
        ratio = jnp.where(movable, jnp.maximum(value, 0) / jnp.where(movable, change, 1), jnp.inf)
        ties = movable & (ratio <= jnp.min(ratio))
        leaving = jnp.where(
            step < steps // 2,
            jnp.argmax(jnp.where(ties, change, -jnp.inf)),
            jnp.argmin(jnp.where(ties, basis, basis.max() + 1)),
        )
        done = (cost[entering] >= -tolerance) | ~jnp.any(movable)
        return jnp.where(done, basis, basis.at[leaving].set(entering)), done, step + 1

    # Feasible: the first known classifier, s at its largest excess if that is positive, all other slacks.
    first = jnp.argmax(known)
    worst = jnp.argmax(excess[first])
    slacks = count + 1 + jnp.arange(rows)
    slacks = jnp.where((jnp.arange(rows) == worst) & (excess[first, worst] > 0), count, slacks)
    start = jnp.concatenate([slacks, first[None]])
    basis, _, _ = jax.lax.while_loop(going, pivot, (start, jnp.asarray(False), jnp.zeros((), jnp.int32)))
    value = jnp.maximum(jnp.linalg.solve(columns[:, basis], right), 0)
    q = jnp.zeros(columns.shape[1], dtype).at[basis].set(value)[:count]
    return Mixture(q / jnp.sum(q), jnp.maximum(-duals(basis)[:rows], 0))
