"""Epsilon-greedy: the best arm so far, and now and then any (Sutton & Barto 2018, 2.2; Auer et al. 2002)."""

from __future__ import annotations

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl.bandits.policy import BanditPolicy, SampleMeans, add_pull, no_pulls, total_pulls
from lrn.rl.exploration import select
from lrn.types import Array, Key


@config
class EpsilonGreedyConfig:
    """How often a random arm is pulled.

    schedule: "constant", or "decaying": ``min(1, scale arms / (gap^2 t))`` at pull t, epsilon_n-greedy of
        Auer et al. (2002), whose regret is logarithmic when ``gap`` is at most the smallest gap between the
        best mean and another, rewards lie in [0, 1] and ``scale`` > 5.
    epsilon: of the constant schedule. scale, gap: of the decaying one.
    """

    schedule: str = "constant"
    epsilon: float = 0.1
    scale: float = 5.0
    gap: float = 0.1

    def __post_init__(self):
        check.choice("schedule", self.schedule, ("constant", "decaying"))
        check.between("epsilon", self.epsilon, 0.0, 1.0)
        check.positive("scale", self.scale)
        check.positive("gap", self.gap)


def epsilon_greedy(arms: int, config: EpsilonGreedyConfig) -> BanditPolicy:
    """The arm of the best sample mean, and with chance epsilon one drawn evenly from all; ties at random."""

    def choose(key: Key, state: SampleMeans) -> Array:
        if config.schedule == "constant":
            epsilon = config.epsilon
        else:
            t = total_pulls(state) + 1
            epsilon = jnp.minimum(1.0, config.scale * arms / (jnp.square(config.gap) * t))
        return select.epsilon_greedy(key, state.mean, epsilon)

    return BanditPolicy(lambda: no_pulls(arms), choose, add_pull)
