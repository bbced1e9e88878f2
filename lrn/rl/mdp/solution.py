"""The result of solvers: optimal values, and a bound on their error."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from lrn.rl.mdp.evaluation import Precise, gain, plus
from lrn.rl.mdp.model import MDP, deterministic
from lrn.types import Array


class Solution(NamedTuple):
    """An optimal policy and its values.

    values: optimal values, [state].
    action_values: optimal action values, [state, action].
    policy: a deterministic optimal policy, [state, action].
    iterations: int32, number of sweeps of value iteration, or of improvements of the policy.
    residual: scalar, the largest change that one more backup would make to the unrounded values, plus a bound
        on the rounding error of that change. ``values`` are within ``residual / (1 - discount)`` of the
        optimal values, up to their own rounding.
    """

    values: Array
    action_values: Array
    policy: Array
    iterations: Array
    residual: Array


def solution(mdp: MDP, values: Precise, iterations: Array) -> Solution:
    """The `Solution` that belongs to optimal values [state]."""
    gains, size = gain(mdp, values)
    hidden = jnp.finfo(gains.dtype).eps * size.max()
    residual = jnp.abs(gains.max(-1)).max() + hidden
    policy = deterministic(mdp, jnp.argmax(gains, -1))
    return Solution(values.high, plus(values, gains), policy, iterations, residual)
