"""The shape of a bandit policy, and the sample means that most of them keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from lrn.rl import rates
from lrn.types import Array, Key, State


class BanditPolicy(NamedTuple):
    """A policy as pure functions, for one problem; made by a factory named after the method.

    init: ``init() -> state`` before the first pull.
    choose: ``choose(key, state) -> arm``, int32.
    update: ``update(state, arm, reward) -> state``.
    """

    init: Callable[[], State]
    choose: Callable[[Key, State], Array]
    update: Callable[[State, Array, Array], State]


class SampleMeans(NamedTuple):
    """pulls: of each arm, int32 [arms]; mean: the mean reward of each, 0 before its first, [arms]."""

    pulls: Array
    mean: Array


def no_pulls(arms: int) -> SampleMeans:
    """Before the first pull."""
    return SampleMeans(jnp.zeros(arms, jnp.int32), jnp.zeros(arms))


def total_pulls(state: SampleMeans) -> Array:
    """How many pulls there were, as a float: their sum may be more than an int32 holds."""
    return state.pulls.sum(dtype=jnp.float32)


def add_pull(state: SampleMeans, arm: Array, reward: Array) -> SampleMeans:
    """One pull more."""
    pulls = rates.count_at(state.pulls, arm)
    return SampleMeans(pulls, state.mean.at[arm].add((reward - state.mean[arm]) / pulls[arm]))
