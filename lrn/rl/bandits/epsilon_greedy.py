"""Epsilon-greedy: the best arm so far, or a random arm (Sutton & Barto 2018, 2.2; Auer et al. 2002)."""

from __future__ import annotations

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl.bandits.policy import BanditPolicy, SampleMeans, add_pull, no_pulls, total_pulls
from lrn.rl.exploration import select
from lrn.types import Array, Key


@config
class EpsilonGreedyConfig:
    """Settings: the chance epsilon of a random arm.

    schedule: "constant", or "decaying": ``min(1, scale * arms / (gap^2 * t))`` at pull t, the
        epsilon_n-greedy policy of Auer et al. (2002, theorem 3). Its regret is logarithmic if rewards lie
        in [0, 1], ``scale`` > 5, and ``gap`` is at most the smallest difference between the best mean and
        another.
    epsilon: chance of a random arm under the constant schedule.
    scale: scale of the decaying schedule.
    gap: gap of the decaying schedule, in the unit of the reward.
    """

    schedule: str = "constant"
    epsilon: float = 0.1
    scale: float = 5.0
    gap: float = 0.1

    def __post_init__(self) -> None:
        check.choice("schedule", self.schedule, ("constant", "decaying"))
        check.between("epsilon", self.epsilon, 0.0, 1.0)
        check.positive("scale", self.scale)
        check.positive("gap", self.gap)


def epsilon_greedy(arms: int, config: EpsilonGreedyConfig) -> BanditPolicy:
    """The policy that pulls the arm of the largest sample mean, and with chance epsilon a random arm.

    The random arm is drawn uniformly from all arms. Ties are broken at random.

    Args:
        arms: number of arms.
        config: settings.
    """

    def choose(key: Key, state: SampleMeans) -> Array:
        if config.schedule == "constant":
            epsilon = config.epsilon
        else:
            t = total_pulls(state) + 1
            epsilon = jnp.minimum(1.0, config.scale * arms / (jnp.square(config.gap) * t))
        return select.epsilon_greedy(key, state.mean, epsilon)

    return BanditPolicy(lambda: no_pulls(arms), choose, add_pull)
