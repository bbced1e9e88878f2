"""The interface of a bandit policy, and the sample means that most policies keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from lrn.rl import rates
from lrn.types import Array, Key, State


class BanditPolicy(NamedTuple):
    """A policy for one problem as pure functions, made by a factory named after the method.

    init: ``init() -> state``, the state before the first pull.
    choose: ``choose(key, state) -> arm``, the arm to pull next, int32.
    update: ``update(state, arm, reward) -> state``, the state after a pull.
    """

    init: Callable[[], State]
    choose: Callable[[Key, State], Array]
    update: Callable[[State, Array, Array], State]


class SampleMeans(NamedTuple):
    """Sample means of the arms.

    pulls: number of pulls of each arm, int32 [arms].
    mean: mean reward of each arm, [arms]; 0 for an arm that was never pulled.
    """

    pulls: Array
    mean: Array


def no_pulls(arms: int) -> SampleMeans:
    """The sample means of ``arms`` arms before the first pull."""
    return SampleMeans(jnp.zeros(arms, jnp.int32), jnp.zeros(arms))


def total_pulls(state: SampleMeans) -> Array:
    """The number of pulls of all arms, as a float32, since the sum may exceed an int32."""
    return state.pulls.sum(dtype=jnp.float32)


def add_pull(state: SampleMeans, arm: Array, reward: Array) -> SampleMeans:
    """The sample means after one more pull of ``arm`` (int32), which paid ``reward``."""
    pulls = rates.count_at(state.pulls, arm)
    return SampleMeans(pulls, state.mean.at[arm].add((reward - state.mean[arm]) / pulls[arm]))
