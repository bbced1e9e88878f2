"""Garnet: random MDPs of a given size and branching (Archibald, McKinnon and Thomas 1995)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.mdp.model import MDP, complement
from lrn.types import Key


def garnet(key: Key, states: int, actions: int, branching: int, discount: ArrayLike = 0.95) -> MDP:
    """A random MDP; vmap over keys gives a stack of MDPs.

    Each state and action leads to ``branching`` different states, drawn at random. Their probabilities are
    the lengths of the parts of the unit interval cut at random points. Rewards [state, action] are uniform
    in [0, 1], the initial distribution is uniform, and nothing terminates.

    Args:
        key: key of the draw.
        states: number of states.
        actions: number of actions.
        branching: number of next states of each state and action.
        discount: discount per step, in [0, 1].

    Raises:
        ValueError: a count is below one, there are more branches than states, or the discount is out of
        range.
    """
    for name, value in (("states", states), ("actions", actions), ("branching", branching)):
        check.integer(name, value, low=1)
    if branching > states:
        raise check.InputError(
            f"branching must be at most states, got {branching} and {states}; "
            "choose fewer branches, since the next states all differ."
        )
    check.between("discount", discount, 0, 1)
    next_key, cut_key, reward_key = jax.random.split(key, 3)
    order = jnp.argsort(jax.random.uniform(next_key, (states, actions, states)), -1)
    cuts = jnp.sort(jax.random.uniform(cut_key, (states, actions, branching - 1)), -1)
    weights = jnp.diff(cuts, axis=-1, prepend=0.0, append=1.0)
    targets = jax.nn.one_hot(order[..., :branching], states)
    return MDP(
        transitions=(weights[..., None] * targets).sum(-2),
        rewards=jax.random.uniform(reward_key, (states, actions)),
        initial=jnp.full(states, 1 / states),
        discount=jnp.asarray(discount, jnp.result_type(float)),
        terminal=jnp.zeros(states, bool),
        stopping=complement(discount, jnp.result_type(float)),
    )
