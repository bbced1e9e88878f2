"""Optimistic initial values: greedy, from values that each arm must disappoint (Sutton & Barto 2018, 2.6)."""

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
    """What every arm starts with, and how that is forgotten.

    initial: the value at the start, well above what an arm pays.
    step: "constant", the book's: recent rewards count most, and estimates never settle; or "mean": sample
        means, in which the initial value counts as one pull.
    step_size: of the constant step.
    """

    initial: float = 5.0
    step: str = "constant"
    step_size: float = 0.1

    def __post_init__(self):
        check.choice("step", self.step, ("constant", "mean"))
        check.between("step_size", self.step_size, 0.0, 1.0)


def optimistic(arms: int, config: OptimisticConfig) -> BanditPolicy:
    """The arm of the largest estimate, ties at random; nothing else explores."""

    def init() -> SampleMeans:
        return SampleMeans(jnp.zeros(arms, jnp.int32), jnp.full(arms, config.initial, jnp.float32))

    def choose(key: Key, state: SampleMeans) -> Array:
        return random_argmax(key, state.mean)

    def update(state: SampleMeans, arm: Array, reward: Array) -> SampleMeans:
        pulls = rates.count_at(state.pulls, arm)
        step = config.step_size if config.step == "constant" else 1 / (pulls[arm] + 1.0)
        return SampleMeans(pulls, state.mean.at[arm].add(step * (reward - state.mean[arm])))

    return BanditPolicy(init, choose, update)
