"""An MDP as an environment, so that any agent can be run where the exact solution is known."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.env import Discrete, Env, Step
from lrn.rl.mdp.model import MDP
from lrn.types import Array, Key


class Place(NamedTuple):
    """State of an episode: the number of the MDP's state, and the steps taken, both int32."""

    state: Array
    time: Array


def as_env(
    mdp: MDP,
    time_limit: int | None = None,
    *,
    reward_noise: ArrayLike = 0.0,
    horizon: int = 1000,
    name: str = "MDP",
) -> Env:
    """The environment of an MDP. It observes the state one-hot and pays the expected reward, plus noise.

    Args:
        mdp: the MDP. Its discount is not used: agents have one of their own.
        time_limit: steps after which an episode is truncated; none by default. The value of a truncated
            episode goes on.
        reward_noise: standard deviation of the Gaussian noise on each reward.
        horizon: steps that an evaluation plays at most, if there is no time limit.
        name: name of the environment in messages.

    Raises:
        ValueError: a count is below one, or the noise is negative.
    """
    if time_limit is not None:
        check.integer("time_limit", time_limit, low=1)
    check.integer("horizon", horizon, low=1)
    check.non_negative("reward_noise", reward_noise)
    starts, moves = jnp.cumsum(mdp.initial), jnp.cumsum(mdp.transitions, -1)

    def observe(place: Place) -> Array:
        return jax.nn.one_hot(place.state, mdp.states, dtype=jnp.float32)

    def reset(key: Key) -> tuple[Array, Place]:
        place = Place(draw(jax.random.uniform(key), starts), jnp.int32(0))
        return observe(place), place

    def move(key: Key, place: Place, action: Array) -> tuple[Place, Step]:
        # One call of the generator serves the move and the noise.
        u = jax.random.uniform(key, (2,))
        after = Place(draw(u[0], moves[place.state, action]), place.time + 1)
        noise = reward_noise * gaussian(u[1])
        terminated = mdp.terminal[after.state]
        truncated = jnp.array(False) if time_limit is None else after.time >= time_limit
        reward = (mdp.rewards[place.state, action] + noise).astype(jnp.float32)
        return after, Step(reward, terminated, truncated, observe(after))

    return Env(name, reset, move, (mdp.states,), Discrete(mdp.actions), time_limit or horizon)


def draw(u: Array, cumulative: Array) -> Array:
    """The index, int32, that a uniform number ``u`` in [0, 1) draws from cumulative weights [n]."""
    # Scaled by the last sum, which differs from one by rounding, so that an index of weight 0 is never drawn.
    return (cumulative <= u * cumulative[-1]).sum(dtype=jnp.int32)


def gaussian(u: Array) -> Array:
    """The standard normal quantile of a uniform number in [0, 1)."""
    # The quantile of 0, drawn once in eight million, is infinite; times a noise of zero it would be NaN.
    return jnp.sqrt(2.0) * jax.scipy.special.erfinv(jnp.clip(2 * u - 1, -1 + 2.0**-23, 1 - 2.0**-23))
