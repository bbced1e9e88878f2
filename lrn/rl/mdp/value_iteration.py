"""Value iteration: apply Bellman's optimality operator until values stop changing (Bellman 1957)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.mdp.evaluation import Precise, gain
from lrn.rl.mdp.model import MDP, deterministic, leaving
from lrn.rl.mdp.policy_iteration import improvements
from lrn.rl.mdp.solution import Solution, solution
from lrn.types import Array

_PATIENCE = 100  # sweeps without a new smallest change after which the sweeps count as stuck


class _Sweeps(NamedTuple):
    """State of the sweeps.

    values: values after the last sweep.
    change: largest change of the last sweep.
    least: smallest ``change`` of any sweep.
    idle: number of sweeps since the smallest change.
    sweeps: number of sweeps.
    """

    values: Precise
    change: Array
    least: Array
    idle: Array
    sweeps: Array


def value_iteration(mdp: MDP, tolerance: ArrayLike = 1e-6, max_sweeps: int = 1_000_000) -> Solution:
    """Sweep all states at once until no value changes by more than ``tolerance``.

    Each sweep multiplies the largest error by at most the discount, so the result is within
    ``discount / (1 - discount) * tolerance`` of the optimal values. If rounding keeps the changes above the
    tolerance, `policy_iteration` continues from the values of the sweeps.

    A ``residual`` above the tolerance says that the tolerance was not met: ``max_sweeps`` were too few, or
    the tolerance is below the precision of the dtype, about 1e-6 of the largest reward in single precision.

    Args:
        mdp: the MDP.
        tolerance: largest change of a value at which the sweeps stop, in the unit of the rewards.
        max_sweeps: the largest number of sweeps.
    """
    check.integer("max_sweeps", max_sweeps, low=1)
    check.non_negative("tolerance", tolerance)

    return _value_iteration(mdp, tolerance, max_sweeps)


@jax.jit
def _value_iteration(mdp: MDP, tolerance: ArrayLike, most: ArrayLike) -> Solution:
    hidden = jnp.finfo(mdp.rewards.dtype).eps * jnp.abs(mdp.rewards).max()

    def stuck(at: _Sweeps) -> Array:
        # With a discount below 1 the change of a sweep is smaller than that of the one before, up to
        # rounding.
        return (at.idle >= _PATIENCE) & ((leaving(mdp) > 0) | (at.change <= hidden))

    def unfinished(at: _Sweeps) -> Array:
        return (at.change > tolerance) & ~stuck(at) & (at.sweeps < most)

    def sweep(at: _Sweeps) -> _Sweeps:
        best = gain(mdp, at.values)[0].max(-1)
        change = jnp.abs(best).max()
        idle = jnp.where(change < at.least, 0, at.idle + 1)
        return _Sweeps(at.values.add(best), change, jnp.minimum(change, at.least), idle, at.sweeps + 1)

    zeros, endless = jnp.zeros_like(mdp.initial), jnp.asarray(jnp.inf, mdp.initial.dtype)
    start = _Sweeps(Precise(zeros, zeros), endless, endless, jnp.int32(0), jnp.int32(0))
    swept = jax.lax.while_loop(unfinished, sweep, start)
    greedy = deterministic(mdp, jnp.argmax(gain(mdp, swept.values)[0], -1))
    goes_on = stuck(swept) & (swept.change > tolerance)
    values, _ = improvements(mdp, greedy, swept.values, goes_on, 1000)
    return solution(mdp, values, swept.sweeps)
