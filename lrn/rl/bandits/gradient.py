"""The gradient bandit: stochastic gradient ascent on a softmax of preferences (Sutton & Barto 2018, 2.8)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl import rates
from lrn.rl.bandits.policy import BanditPolicy
from lrn.types import Array, Key


@config
class GradientConfig:
    """Settings of the gradient bandit.

    step_size: step size of the gradient ascent.
    baseline: whether the mean of the earlier rewards is subtracted from a reward.
    """

    step_size: float = 0.1
    baseline: bool = True

    def __post_init__(self) -> None:
        check.non_negative("step_size", self.step_size)


class GradientState(NamedTuple):
    """State of the gradient bandit.

    preference: preferences of the arms, [arms].
    mean: scalar, mean of all rewards so far.
    pulls: int32, number of pulls so far.
    """

    preference: Array
    mean: Array
    pulls: Array


def gradient(arms: int, config: GradientConfig) -> BanditPolicy:
    """The policy that draws arms from softmax(preference).

    Each reward moves the preferences by ``step_size`` times this estimate of the gradient of the expected
    reward:

        (reward - baseline) d log softmax(preference)[arm] / d preference

    The baseline is the mean of the earlier rewards. It excludes the current reward, which would bias the
    estimate.

    Args:
        arms: number of arms.
        config: settings.
    """

    def init() -> GradientState:
        return GradientState(jnp.zeros(arms), jnp.zeros(()), jnp.int32(0))

    def choose(key: Key, state: GradientState) -> Array:
        return jax.random.categorical(key, state.preference).astype(jnp.int32)

    def update(state: GradientState, arm: Array, reward: Array) -> GradientState:
        advantage = reward - state.mean if config.baseline else reward
        direction = jax.nn.one_hot(arm, arms) - jax.nn.softmax(state.preference)
        pulls = rates.count(state.pulls, 1)
        return GradientState(
            state.preference + config.step_size * advantage * direction,
            state.mean + (reward - state.mean) / pulls,
            pulls,
        )

    return BanditPolicy(init, choose, update)
