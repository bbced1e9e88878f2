"""The count bonus: beta / sqrt(n) at the n-th visit of a place."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl.exploration.bonus import Bonus, Transitions
from lrn.rl.exploration.coding import Coding
from lrn.types import Array, Key, PyTree


@config
class CountConfig:
    """Settings of the count bonus.

    beta: bonus of a first visit, in the unit of the reward.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        check.non_negative("beta", self.beta)


class CountState(NamedTuple):
    """State of the count bonus.

    coding: parameters of the coding.
    counts: number of visits, int32 [features] or [features, actions].
    """

    coding: PyTree
    counts: Array


def count_bonus(coding: Coding, config: CountConfig, actions: int | None = None) -> Bonus:
    """The bonus ``beta / sqrt(n)``, with n the number of visits to (observation, action) or next observation.

    With a table this is the bonus of MBIE-EB (Strehl & Littman 2008), with hashed observations that of
    #Exploration (Tang et al. 2017). With several active features, n is the mean of their counts.

    Args:
        coding: the coding that tells which observations count as the same.
        config: settings.
        actions: number of actions, to count pairs of an observation and the action taken there. None counts
            next observations. The bonus of an action outside of [0, actions) is NaN.

    Raises:
        ValueError: ``actions`` is below 1; in ``update`` and ``bonus``, actions are counted but not discrete.
    """
    if actions is not None:
        check.integer("actions", actions, low=1)

    def where(state: CountState, observation: Array, action: Array, next_observation: Array) -> tuple:
        if actions is None:
            return (coding.encode(state.coding, next_observation),)
        if not jnp.issubdtype(action.dtype, jnp.integer) or action.ndim != 1:
            raise check.InputError(
                f"count_bonus with actions={actions} counts discrete actions [n], got {action.dtype} "
                f"{list(action.shape)}; leave actions out to count next observations."
            )
        return coding.encode(state.coding, observation), action[:, None]

    def init(key: Key, observation: Array) -> CountState:
        shape = (coding.size,) if actions is None else (coding.size, actions)
        return CountState(coding.init(key, observation), jnp.zeros(shape, jnp.int32))

    def bonus(state: CountState, observation: Array, action: Array, next_observation: Array) -> Array:
        counts = state.counts[where(state, observation, action, next_observation)]
        n = counts.astype(jnp.float32).mean(-1)
        paid = config.beta / jnp.sqrt(jnp.maximum(n, 1.0))
        return paid if actions is None else jnp.where((action >= 0) & (action < actions), paid, jnp.nan)

    def update(key: Key, state: CountState, transitions: Transitions) -> CountState:
        del key
        seen = where(state, transitions.observation, transitions.action, transitions.next_observation)
        # A count that could exceed an int32 within this batch stays as it is, near 2e9.
        room = jnp.iinfo(jnp.int32).max - seen[0].size
        more = (state.counts[seen] < room).astype(jnp.int32)
        return state._replace(counts=state.counts.at[seen].add(more))

    return Bonus(init, bonus, update)
