"""Boltzmann exploration: arms drawn with probability proportional to exp(sample mean / temperature)."""

from __future__ import annotations

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl.bandits.policy import BanditPolicy, SampleMeans, add_pull, no_pulls, total_pulls
from lrn.rl.exploration import select
from lrn.types import Array, Key


@config
class BoltzmannConfig:
    """Settings of Boltzmann exploration.

    temperature: temperature in the unit of the reward.
    schedule: "constant", or "decaying": ``temperature / ln(t + 1)`` at pull t. The decaying policy becomes
        greedy in the limit and pulls every arm infinitely often if the temperature is at least the largest
        gap (Singh et al. 2000).
    """

    temperature: float = 0.1
    schedule: str = "constant"

    def __post_init__(self) -> None:
        check.positive("temperature", self.temperature)
        check.choice("schedule", self.schedule, ("constant", "decaying"))


def boltzmann(arms: int, config: BoltzmannConfig) -> BanditPolicy:
    """The policy that draws an arm with probability proportional to exp(sample mean / temperature).

    Args:
        arms: number of arms.
        config: settings.
    """

    def choose(key: Key, state: SampleMeans) -> Array:
        temperature = config.temperature
        if config.schedule == "decaying":
            temperature = temperature / jnp.log(total_pulls(state) + 2.0)
        return select.boltzmann(key, state.mean, temperature)

    return BanditPolicy(lambda: no_pulls(arms), choose, add_pull)
