"""Optimistic initial values: greedy choices from estimates that start too high (Sutton & Barto 2018, 2.6)."""

from __future__ import annotations

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl import rates
from lrn.rl.bandits.policy import BanditPolicy, SampleMeans
from lrn.rl.exploration.select import random_argmax
from lrn.types import Array, Key


@config
class OptimisticConfig:
    """Settings of the estimates.

    initial: estimate of every arm at the start, well above the arms' means.
    step: "constant" for a constant step size, as in the book: recent rewards count most, and estimates never
        settle. "mean" for sample means, in which the initial estimate counts as one pull.
    step_size: the constant step size, in [0, 1].
    """

    initial: float = 5.0
    step: str = "constant"
    step_size: float = 0.1

    def __post_init__(self) -> None:
        check.choice("step", self.step, ("constant", "mean"))
        check.between("step_size", self.step_size, 0.0, 1.0)


def optimistic(arms: int, config: OptimisticConfig) -> BanditPolicy:
    """The policy that always pulls the arm of the largest estimate; ties are broken at random.

    Only the optimistic start makes it explore.

    Args:
        arms: number of arms.
        config: settings.
    """

    def init() -> SampleMeans:
        return SampleMeans(jnp.zeros(arms, jnp.int32), jnp.full(arms, config.initial, jnp.float32))

    def choose(key: Key, state: SampleMeans) -> Array:
        return random_argmax(key, state.mean)

    def update(state: SampleMeans, arm: Array, reward: Array) -> SampleMeans:
        pulls = rates.count_at(state.pulls, arm)
        step = config.step_size if config.step == "constant" else 1 / (pulls[arm] + 1.0)
        return SampleMeans(pulls, state.mean.at[arm].add(step * (reward - state.mean[arm])))

    return BanditPolicy(init, choose, update)
