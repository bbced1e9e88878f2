"""Evaluation: the greedy policy, whole episodes, a fixed number of steps, masked.

Every episode is played for the environment's horizon, and what follows its end does not count. So all have
the same cost, short ones weigh as much as long ones, and the shapes are known to the compiler. (A mean over
whatever happened to end first would favour short episodes.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.rl.agent import Agent, Policy
from lrn.rl.env import Env
from lrn.rl.packing import packing
from lrn.types import Array, Key, State


class Episodes(NamedTuple):
    """Evaluated episodes, leaves [episodes]: undiscounted return, steps, whether it ended in the horizon."""

    returns: Array
    lengths: Array
    finished: Array


def rollouts(env: Env, policy: Policy, key: Key, state: State, episodes: int) -> Episodes:
    """Play ``episodes`` episodes side by side with the greedy policy of an agent's state."""
    reset_key, step_key = jax.random.split(key)
    observation, env_state = jax.vmap(env.reset)(jax.random.split(reset_key, episodes))

    def body(t: Array, carry: Any) -> Any:
        packed, memory = carry
        observation, env_state, alive, returns, lengths = form.unpack(packed)
        # After its end an episode goes nowhere that counts, so there is nothing to reset.
        act_key, env_key = jax.random.split(jax.random.fold_in(step_key, t))
        action, memory = policy.act(act_key, state, memory, observation)
        keys = jax.random.split(env_key, episodes)
        env_state, step = jax.vmap(env.move)(keys, env_state, action)
        returns = returns + jnp.where(alive, step.reward, 0.0)
        lengths = lengths + alive
        alive = alive & ~step.ended
        return form.pack((step.final_observation, env_state, alive, returns, lengths)), memory

    zeros = jnp.zeros(episodes)
    start = (observation, env_state, zeros == 0, zeros, zeros.astype(jnp.int32))
    form = packing(start)
    end, _ = jax.lax.fori_loop(0, env.horizon, body, (form.pack(start), policy.initial(episodes)))
    *_, alive, returns, lengths = form.unpack(end)
    return Episodes(returns, lengths, ~alive)


def evaluator(
    agent_of: Callable[[Any], Agent], env_of: Env | Callable[[Any], Env], episodes: int = 32
) -> Callable[[Any, Key, State, Any], Mapping[str, Array]]:
    """The ``evaluate=`` of `lrn.train.fit` for agents.

    Args:
        agent_of: what `fit` trains, ``agent_of(config) -> Agent``.
        env_of: the environment to evaluate on, or a function of the config that makes it. It need not be
            the one trained on: so a proxy's reward is told from the true one.
        episodes: how many.

    Returns:
        A function that measures ``greedy_return`` and ``greedy_length`` (means over the episodes) and
        ``greedy_finished`` (the fraction that ended within the horizon).

    Raises:
        ValueError: ``episodes`` is below 1.
    """
    check.integer("episodes", episodes, low=1)

    def evaluate(config: Any, key: Key, state: State, data: Any) -> Mapping[str, Array]:
        del data
        env = env_of if isinstance(env_of, Env) else env_of(config)
        played = rollouts(env, agent_of(config).policy, key, state, episodes)
        return {
            "greedy_return": played.returns.mean(),
            "greedy_length": played.lengths.mean(dtype=jnp.float32),
            "greedy_finished": played.finished.mean(dtype=jnp.float32),
        }

    return evaluate
