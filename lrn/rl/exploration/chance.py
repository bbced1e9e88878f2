"""Chance: how often random play succeeds, which is what a way of exploring has to beat."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn.rl.agent import memoryless
from lrn.rl.env import Env, require_discrete
from lrn.rl.evaluate import rollouts
from lrn.types import Array, Key


def chance(env: Env, key: Key, episodes: int, mark: float = 0.0) -> Array:
    """Successes of random play in a step: the episodes that succeed, over the steps of all, float32.

    Args:
        env: with discrete actions, all of which are drawn equally often.
        key: key of the environments and of the actions.
        episodes: how many are played.
        mark: the return above which an episode succeeds.

    Raises:
        InputError: the environment's actions are continuous, or ``episodes`` is below 1.
    """
    actions = require_discrete(env, "chance")

    def first(_: tuple, seen: Array) -> Array:
        return jnp.zeros(len(seen), jnp.int32)

    def draw(key: Key, _: tuple, seen: Array) -> Array:
        return jax.random.randint(key, (len(seen),), 0, actions)

    played = rollouts(env, memoryless(first, draw), key, (), episodes, sample=True)
    return (played.returns > mark).sum() / played.lengths.sum()
