"""Thompson sampling: draw means from the posterior and pull the arm of the largest (Thompson 1933)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl.bandits.policy import BanditPolicy, SampleMeans, add_pull, no_pulls
from lrn.types import Array, Key


@config
class BetaThompsonConfig:
    """The prior Beta(a, b) of every arm's mean; Beta(1, 1) is uniform.

    a: first parameter, above 0.
    b: second parameter, above 0.
    """

    a: float = 1.0
    b: float = 1.0

    def __post_init__(self) -> None:
        check.positive("a", self.a)
        check.positive("b", self.b)


class BetaPosterior(NamedTuple):
    """The posterior Beta(a, b) of each arm's mean, [arms]."""

    a: Array
    b: Array


def beta_thompson(arms: int, config: BetaThompsonConfig) -> BanditPolicy:
    """Thompson sampling for rewards of 0 or 1.

    Its regret meets the lower bound of Lai and Robbins (Kaufmann, Korda & Munos 2012).

    Args:
        arms: number of arms.
        config: the prior.
    """

    def init() -> BetaPosterior:
        return BetaPosterior(jnp.full(arms, config.a, jnp.float32), jnp.full(arms, config.b, jnp.float32))

    def choose(key: Key, state: BetaPosterior) -> Array:
        return jnp.argmax(jax.random.beta(key, state.a, state.b)).astype(jnp.int32)

    def update(state: BetaPosterior, arm: Array, reward: Array) -> BetaPosterior:
        return BetaPosterior(state.a.at[arm].add(reward), state.b.at[arm].add(1 - reward))

    return BanditPolicy(init, choose, update)


@config
class GaussianThompsonConfig:
    """The normal prior of every arm's mean, and the known noise of a reward.

    mean: mean of the prior.
    std: standard deviation of the prior.
    noise: standard deviation of a reward.
    """

    mean: float = 0.0
    std: float = 1.0
    noise: float = 1.0

    def __post_init__(self) -> None:
        check.positive("std", self.std)
        check.positive("noise", self.noise)


def gaussian_posterior(state: SampleMeans, config: GaussianThompsonConfig) -> tuple[Array, Array]:
    """Mean and standard deviation of each arm's posterior, [arms] each."""
    prior = 1 / jnp.square(jnp.asarray(config.std, jnp.float32))
    data = state.pulls / jnp.square(jnp.asarray(config.noise, jnp.float32))
    return (prior * config.mean + data * state.mean) / (prior + data), 1 / jnp.sqrt(prior + data)


def gaussian_thompson(arms: int, config: GaussianThompsonConfig) -> BanditPolicy:
    """Thompson sampling for normal rewards of known noise.

    Args:
        arms: number of arms.
        config: the prior and the noise.
    """

    def choose(key: Key, state: SampleMeans) -> Array:
        mean, std = gaussian_posterior(state, config)
        return jnp.argmax(mean + std * jax.random.normal(key, mean.shape)).astype(jnp.int32)

    return BanditPolicy(lambda: no_pulls(arms), choose, add_pull)
