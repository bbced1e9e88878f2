"""An environment that pays a proxy reward, and an evaluation of both the proxy return and the true return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from lrn import check
from lrn.rl.agent import Agent
from lrn.rl.env import Env
from lrn.rl.evaluate import rollouts
from lrn.rl.shaping import Reward, with_reward
from lrn.types import Array, Key, State


def misspecified(env: Env, proxy: Reward) -> Env:
    """The environment with a proxy in place of its reward, to train an agent on.

    Everything else is unchanged, so that a policy plays the same episodes in both environments under the same
    keys.

    Args:
        env: the environment, with the true reward.
        proxy: ``proxy(observation, action, step) -> scalar``; ``step.reward`` is the true reward.

    Raises:
        InputError: the proxy is not a scalar.
    """
    return with_reward(env, proxy, f"{env.name} (proxy)")


def proxy_evaluator(
    env_of: Env | Callable[[Any], Env],
    proxy: Reward,
    episodes: int = 32,
) -> Callable[[Any, Any, Key, State, Any], Mapping[str, Array]]:
    """A function for ``evaluate=`` of `lrn.train.fit` that measures the proxy return and the true return.

    Args:
        env_of: the environment with the true reward, or ``env_of(config) -> Env``.
        proxy: the proxy, as for `misspecified`.
        episodes: number of episodes; both returns are of the same episodes.

    Returns:
        A function that measures ``true_return``, ``proxy_return`` and ``greedy_length``, means over episodes
        of the greedy policy.

    Raises:
        InputError: ``episodes`` is below 1.
    """
    check.integer("episodes", episodes, low=1)

    def evaluate(agent: Agent, config: Any, key: Key, state: State, data: Any) -> Mapping[str, Array]:
        del data
        env = env_of if isinstance(env_of, Env) else env_of(config)
        # Both rollouts use the same key, so they play the same episodes, with two rewards.
        true = rollouts(env, agent.policy, key, state, episodes)
        paid = rollouts(misspecified(env, proxy), agent.policy, key, state, episodes)
        return {
            "true_return": true.returns.mean(),
            "proxy_return": paid.returns.mean(),
            "greedy_length": true.lengths.mean(dtype=jnp.float32),
        }

    return evaluate
