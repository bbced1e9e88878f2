"""An environment that pays a proxy, and an evaluation that looks at both the proxy and the true return."""

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
    """The environment as its agent is paid: ``proxy(observation, action, step) -> scalar`` is the reward.

    ``step.reward`` is the true one. Everything else is as it was, so that a policy plays the same episodes in
    both under the same keys.

    Raises:
        InputError: the proxy is no scalar.
    """
    return with_reward(env, proxy, f"{env.name} (proxy)")


def proxy_evaluator(
    env_of: Env | Callable[[Any], Env],
    proxy: Reward,
    episodes: int = 32,
) -> Callable[[Any, Any, Key, State, Any], Mapping[str, Array]]:
    """The ``evaluate=`` of `lrn.train.fit` that tells what is paid from what is wanted.

    Args:
        env_of: the environment with the true reward, or a function of the config that makes it.
        proxy: as for `misspecified`.
        episodes: how many, the same for both.

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
        # One key: the two are the same episodes, paid in two ways.
        true = rollouts(env, agent.policy, key, state, episodes)
        paid = rollouts(misspecified(env, proxy), agent.policy, key, state, episodes)
        return {
            "true_return": true.returns.mean(),
            "proxy_return": paid.returns.mean(),
            "greedy_length": true.lengths.mean(dtype=jnp.float32),
        }

    return evaluate
