"""Proven bounds on regret, to compare measurements with."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn.rl.bandits.problem import Bandit
from lrn.types import Array


def lai_robbins(bandit: Bandit, means: Array) -> Array:
    """The constant of Lai and Robbins' lower bound (1985): regret grows at least as fast as this times ln t.

    The constant is the sum over suboptimal arms of gap / KL(arm, best). The bound holds for every consistent
    policy, that is one whose regret grows slower than every power of t on every problem of the family.

    Args:
        bandit: the family, for its divergence.
        means: means of the arms, [..., arms].

    Returns:
        The constants, [...].
    """
    best = means.max(-1, keepdims=True)
    gap = best - means
    divergence = bandit.divergence(means, jnp.broadcast_to(best, means.shape))
    return jnp.where(gap > 0, gap / jnp.where(gap > 0, divergence, 1.0), 0.0).sum(-1)


def ucb1_bound(means: Array, t: ArrayLike) -> Array:
    """An upper bound on UCB1's expected regret after t pulls, for rewards in [0, 1].

    The bound of Auer et al. (2002, theorem 1) is ``8 sum(ln t / gap) + (1 + pi^2 / 3) sum(gap)``, summed
    over suboptimal arms.

    Args:
        means: means of the arms, [..., arms].
        t: number of pulls.

    Returns:
        The bounds, [...].
    """
    gap = means.max(-1, keepdims=True) - means
    inverse = jnp.where(gap > 0, 1 / jnp.where(gap > 0, gap, 1.0), 0.0)
    return 8 * jnp.log(jnp.asarray(t, jnp.float32)) * inverse.sum(-1) + (1 + np.pi**2 / 3) * gap.sum(-1)


def uniform_regret(means: Array, t: ArrayLike) -> Array:
    """The expected regret [...] after t pulls of random arms: t times the mean gap, for means [..., arms]."""
    return jnp.asarray(t, jnp.float32) * (means.max(-1) - means.mean(-1))
