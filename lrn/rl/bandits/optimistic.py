"""Optimistic initial values: greedy, from values that each arm must disappoint (Sutton & Barto 2018, 2.6)."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl.bandits.policy import BanditPolicy
from lrn.rl.exploration.select import random_argmax
from lrn.types import Array, Key


@config
class OptimisticConfig:
    """initial: the value every arm starts with, well above what it pays; step_size: of the running means.

    A constant step size, since a sample mean would forget its initial value at the first pull.
    """

    initial: float = 5.0
    step_size: float = 0.1

    def __post_init__(self):
        check.between("step_size", self.step_size, 0.0, 1.0)


class OptimisticState(NamedTuple):
    """value: the estimate of each arm, [arms]."""

    value: Array


def optimistic(arms: int, config: OptimisticConfig) -> BanditPolicy:
    """The arm of the largest estimate, ties at random; nothing else explores."""

    def init() -> OptimisticState:
        return OptimisticState(jnp.full(arms, config.initial, jnp.float32))

    def choose(key: Key, state: OptimisticState) -> Array:
        return random_argmax(key, state.value)

    def update(state: OptimisticState, arm: Array, reward: Array) -> OptimisticState:
        return OptimisticState(state.value.at[arm].add(config.step_size * (reward - state.value[arm])))

    return BanditPolicy(init, choose, update)
