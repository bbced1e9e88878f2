"""Value iteration: Bellman's optimality operator until nothing moves (Bellman 1957)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.mdp.evaluation import action_values
from lrn.rl.mdp.model import MDP, deterministic
from lrn.types import Array


class Solution(NamedTuple):
    """An optimal policy and its values.

    values: [state]. action_values: [state, action]. policy: [state, action], deterministic.
    iterations: sweeps, or improvements of the policy, that it took.
    residual: largest change that one more backup would make to ``values``.
    """

    values: Array
    action_values: Array
    policy: Array
    iterations: Array
    residual: Array


def value_iteration(mdp: MDP, tolerance: ArrayLike = 1e-6, max_sweeps: int = 100_000) -> Solution:
    """Sweep all states at once until no value changes by more than ``tolerance``.

    Each sweep shrinks the largest error by the discount, so the result is within
    ``discount / (1 - discount) * tolerance`` of the optimal values. In single precision a tolerance below
    some 1e-7 of the largest value is never met, and ``max_sweeps`` ends it.
    """
    check.integer("max_sweeps", max_sweeps, low=1)
    check.non_negative("tolerance", tolerance)

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        _, change, sweeps = carry
        return (change > tolerance) & (sweeps < max_sweeps)

    def sweep(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        values, _, sweeps = carry
        new = action_values(mdp, values).max(-1)
        return new, jnp.abs(new - values).max(), sweeps + 1

    start = (jnp.zeros_like(mdp.initial), jnp.asarray(jnp.inf, mdp.initial.dtype), jnp.int32(0))
    values, _, sweeps = jax.lax.while_loop(unfinished, sweep, start)
    return solution(mdp, values, sweeps)


def solution(mdp: MDP, values: Array, iterations: Array) -> Solution:
    """What follows from optimal values [state]."""
    q = action_values(mdp, values)
    residual = jnp.abs(q.max(-1) - values).max()
    return Solution(values, q, deterministic(mdp, jnp.argmax(q, -1)), iterations, residual)
