"""UCB1: optimism in the face of uncertainty, with logarithmic regret at any horizon (Auer et al. 2002)."""

from __future__ import annotations

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl.bandits.policy import BanditPolicy, SampleMeans, add_pull, no_pulls
from lrn.rl.exploration.select import random_argmax
from lrn.types import Array, Key


@config
class UCB1Config:
    """Settings of UCB1.

    scale: c in the index ``mean + sqrt(c ln t / n)``. The proof for rewards in [0, 1] has c = 2.
    """

    scale: float = 2.0

    def __post_init__(self) -> None:
        check.non_negative("scale", self.scale)


def index(state: SampleMeans, scale: float) -> Array:
    """The upper confidence bounds [arms], infinite for an arm that was never pulled."""
    n = state.pulls.astype(jnp.float32)
    width = jnp.sqrt(scale * jnp.log(jnp.maximum(n.sum(), 1.0)) / jnp.maximum(n, 1.0))
    return jnp.where(state.pulls == 0, jnp.inf, state.mean + width)


def ucb1(arms: int, config: UCB1Config) -> BanditPolicy:
    """The policy that pulls every arm once, then always the arm of the largest `index`; ties at random.

    Args:
        arms: number of arms.
        config: settings.
    """

    def choose(key: Key, state: SampleMeans) -> Array:
        return random_argmax(key, index(state, config.scale))

    return BanditPolicy(lambda: no_pulls(arms), choose, add_pull)
