"""The count bonus: beta / sqrt(n) for what was visited n times."""

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
    """beta: the bonus of a first visit, in the unit of the reward."""

    beta: float = 0.1

    def __post_init__(self):
        check.non_negative("beta", self.beta)


class CountState(NamedTuple):
    """coding: its params; counts: visits, int32 [features] or [features, actions]."""

    coding: PyTree
    counts: Array


def count_bonus(coding: Coding, config: CountConfig, actions: int | None = None) -> Bonus:
    """``beta / sqrt(n)``, with n the visits to (observation, action), or to where the action led.

    On a table this is MBIE-EB's bonus (Strehl & Littman 2008); with hashed observations that of
    #Exploration (Tang et al. 2017). A coding with several active features has n their mean count.

    Args:
        coding: what counts as the same observation.
        config: beta.
        actions: how many there are, to count pairs with the observation acted on; None counts next
            observations.

    An action that is none of them is paid NaN.

    Raises:
        ValueError: actions is below 1; from ``update`` and ``bonus``, actions are counted and not discrete.
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
        # A count that could pass the largest int32 within this batch stays: 2e9 visits are as good as more.
        room = jnp.iinfo(jnp.int32).max - seen[0].size
        more = (state.counts[seen] < room).astype(jnp.int32)
        return state._replace(counts=state.counts.at[seen].add(more))

    return Bonus(init, bonus, update)
