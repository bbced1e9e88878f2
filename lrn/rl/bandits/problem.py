"""Bandit problems: families of arms, and the reward of a pull."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array, Key


class Bandit(NamedTuple):
    """A family of problems as pure functions. One problem is given by the means of its arms, [arms].

    arms: number of arms.
    sample: ``sample(key) -> means [arms]``, a problem drawn from the family.
    pull: ``pull(key, means, arm) -> reward``, a reward of expectation ``means[arm]``.
    divergence: ``divergence(mean, other)``, elementwise: the Kullback-Leibler divergence in nats from the
        rewards of an arm with the first mean to those of an arm with the other mean.
    """

    arms: int
    sample: Callable[[Key], Array]
    pull: Callable[[Key, Array, Array], Array]
    divergence: Callable[[Array, Array], Array]


def bernoulli(arms: int = 10, means: Sequence[float] | None = None) -> Bandit:
    """Arms that pay 1 or 0.

    Args:
        arms: number of arms; ignored if ``means`` are given.
        means: means of the arms, [arms]; drawn uniformly from [0, 1] for each problem by default.

    Raises:
        ValueError: fewer than two arms, or a mean outside of [0, 1].
    """
    arms = _arms(arms, means)
    for mean in means or ():
        check.between("a mean", mean, 0.0, 1.0)

    def sample(key: Key) -> Array:
        return jax.random.uniform(key, (arms,)) if means is None else jnp.asarray(means, jnp.float32)

    def pull(key: Key, means: Array, arm: Array) -> Array:
        return (jax.random.uniform(key) < means[arm]).astype(jnp.float32)

    def divergence(mean: Array, other: Array) -> Array:
        return jax.scipy.special.kl_div(mean, other) + jax.scipy.special.kl_div(1 - mean, 1 - other)

    return Bandit(arms, sample, pull, divergence)


def gaussian(
    arms: int = 10, means: Sequence[float] | None = None, std: ArrayLike = 1.0, spread: ArrayLike = 1.0
) -> Bandit:
    """Arms that pay N(mean, std^2).

    The defaults are the ten-armed testbed (Sutton & Barto 2018, section 2.3).

    Args:
        arms: number of arms; ignored if ``means`` are given.
        means: means of the arms, [arms]; drawn from N(0, spread^2) for each problem by default.
        std: standard deviation of a reward.
        spread: standard deviation of the means.

    Raises:
        ValueError: fewer than two arms, or ``std`` or ``spread`` is not positive.
    """
    arms = _arms(arms, means)
    check.positive("std", std)
    check.positive("spread", spread)

    def sample(key: Key) -> Array:
        if means is not None:
            return jnp.asarray(means, jnp.float32)
        return jnp.asarray(spread, jnp.float32) * jax.random.normal(key, (arms,))

    def pull(key: Key, means: Array, arm: Array) -> Array:
        return means[arm] + jnp.asarray(std, jnp.float32) * jax.random.normal(key)

    def divergence(mean: Array, other: Array) -> Array:
        return jnp.square(mean - other) / (2 * jnp.square(jnp.asarray(std, jnp.float32)))

    return Bandit(arms, sample, pull, divergence)


def _arms(arms: int, means: Sequence[float] | None) -> int:
    arms = arms if means is None else len(means)
    check.integer("arms", arms, low=2)
    return arms
