"""What solvers give: optimal values, and how far rounding and patience let them be trusted."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from lrn.rl.mdp.evaluation import Precise, gain, plus
from lrn.rl.mdp.model import MDP, deterministic
from lrn.types import Array


class Solution(NamedTuple):
    """An optimal policy and its values.

    values: [state]. action_values: [state, action]. policy: [state, action], deterministic.
    iterations: sweeps, or improvements of the policy, that it took.
    residual: largest change that one more backup would make to the values before they were rounded, with what
        rounding may hide of it. So ``values`` are within ``residual / (1 - discount)`` of the optimal ones,
        and their own rounding.
    """

    values: Array
    action_values: Array
    policy: Array
    iterations: Array
    residual: Array


def solution(mdp: MDP, values: Precise, iterations: Array) -> Solution:
    """What follows from optimal values [state]."""
    gains, size = gain(mdp, values)
    hidden = jnp.finfo(gains.dtype).eps * size.max()
    residual = jnp.abs(gains.max(-1)).max() + hidden
    policy = deterministic(mdp, jnp.argmax(gains, -1))
    return Solution(values.high, plus(values, gains), policy, iterations, residual)
