"""What is proven about regret, to hold measurements against."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn.rl.bandits.problem import Bandit
from lrn.types import Array


def lai_robbins(bandit: Bandit, means: Array) -> Array:
    """The least constant: no consistent policy's regret grows slower than this times ln t.

    The sum over suboptimal arms of gap / KL(arm, best) (Lai & Robbins 1985), for means [..., arms]; [...].
    Consistent is a policy whose regret is below every power of t on every problem of the family.
    """
    best = means.max(-1, keepdims=True)
    gap = best - means
    divergence = bandit.divergence(means, jnp.broadcast_to(best, means.shape))
    return jnp.where(gap > 0, gap / jnp.where(gap > 0, divergence, 1.0), 0.0).sum(-1)


def ucb1_bound(means: Array, t: ArrayLike) -> Array:
    """UCB1's regret after t pulls is below this, for rewards in [0, 1] (Auer et al. 2002, theorem 1).

    ``8 sum(ln t / gap) + (1 + pi^2 / 3) sum(gap)`` over suboptimal arms, for means [..., arms]; [...].
    """
    gap = means.max(-1, keepdims=True) - means
    inverse = jnp.where(gap > 0, 1 / jnp.where(gap > 0, gap, 1.0), 0.0)
    return 8 * jnp.log(jnp.asarray(t, jnp.float32)) * inverse.sum(-1) + (1 + np.pi**2 / 3) * gap.sum(-1)


def uniform_regret(means: Array, t: ArrayLike) -> Array:
    """The regret of pulling arms at random: t times the mean gap, for means [..., arms]; [...]."""
    return jnp.asarray(t, jnp.float32) * (means.max(-1) - means.mean(-1))
