"""Evaluation: whole episodes of the greedy policy, played side by side.

A fixed number of episodes starts at the same time, and means are over these episodes; steps after the end of
an episode do not count. (A mean over the first episodes to end would favor short episodes.) Play stops when
the last episode is over, or at the environment's horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.rl.agent import Agent, Policy
from lrn.rl.env import Env
from lrn.types import Array, Key, PyTree, State
from lrn.xla.packing import packing


class Recorded(NamedTuple):
    """All steps of recorded episodes, leaves [time, episodes, ...]; time runs over the environment's horizon.

    state: states of the environment before the action.
    observation: observations before the action.
    action: actions in the environment's units.
    reward: rewards.
    terminated: bool, whether the step terminated the episode.
    truncated: bool, whether a time limit cut the episode at this step.
    final_observation: observations that the actions led to.
    counted: bool, whether the step belongs to the episode. After the end of an episode the other fields are
        meaningless.
    """

    state: PyTree
    observation: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    final_observation: Array
    counted: Array

    def episode(self, i: int) -> Recorded:
        """Episode ``i`` up to its end, leaves [length of the episode, ...]; cannot be called under a trace.

        Raises:
            InputError: there is no such episode.
        """
        check.integer("episode", i)
        if i >= self.counted.shape[1]:
            raise check.InputError(
                f"there is no episode {i}, as {self.counted.shape[1]} were recorded; they count from 0."
            )
        length = int(self.counted[:, i].sum())
        return jax.tree.map(lambda x: x[:length, i], self)


class Episodes(NamedTuple):
    """Evaluated episodes, leaves [episodes].

    returns: undiscounted returns.
    lengths: int32, steps of each episode.
    finished: bool, whether the episode ended, by a termination or a truncation. An episode that did not end
        outlasted the environment's horizon; its return and length are those of the horizon's steps.
    steps: all steps of the episodes, if they were recorded.
    """

    returns: Array
    lengths: Array
    finished: Array
    steps: Recorded | None = None


def rollouts(
    env: Env,
    policy: Policy,
    key: Key,
    state: State,
    episodes: int,
    *,
    sample: bool = False,
    record: bool = False,
) -> Episodes:
    """Play episodes side by side with the policy of a trained agent.

    Args:
        env: the environment to play; it may differ from the environment of the training.
        policy: the policy of the agent, ``agent.policy``.
        key: key of the environments and of the policy.
        state: state of the agent.
        episodes: number of episodes.
        sample: whether to act as in training, exploration included; else greedily.
        record: whether to keep every step, on the accelerator. The whole horizon is then played, and memory
            grows with the horizon: each step keeps an observation, an action and a state of the environment.

    Raises:
        InputError: ``episodes`` is below 1; or ``sample`` is set for a policy without ``sample``.
    """
    check.integer("episodes", episodes, low=1)
    act = policy.sample if sample else policy.act
    reset_key, step_key = jax.random.split(key)
    observation, env_state = jax.vmap(env.reset)(jax.random.split(reset_key, episodes))

    def play(t: Array, packed: Any, memory: PyTree) -> tuple[Any, PyTree, Array, Recorded]:
        observation, before, alive, returns, lengths = form.unpack(packed)
        # Steps after the end of an episode do not count, so nothing needs a reset.
        act_key, env_key = jax.random.split(jax.random.fold_in(step_key, t))
        action, memory = act(act_key, state, memory, observation)
        keys = jax.random.split(env_key, episodes)
        after, step = jax.vmap(env.move)(keys, before, action)
        row = Recorded(
            before, observation, action, step.reward, step.terminated, step.truncated,
            step.final_observation, alive,
        )  # fmt: skip
        returns = returns + jnp.where(alive, step.reward, 0.0)
        lengths = lengths + alive
        alive = alive & ~step.ended
        packed = form.pack((step.final_observation, after, alive, returns, lengths))
        return packed, memory, alive.any(), row

    def goes_on(carry: Any) -> Array:
        t, alive, *_ = carry
        return (t < env.horizon) & alive

    def until_over(carry: Any) -> Any:
        t, _, packed, memory = carry
        packed, memory, alive, _ = play(t, packed, memory)
        return t + 1, alive, packed, memory

    def recorded(carry: Any, t: Array) -> Any:
        packed, memory, _, row = play(t, *carry)
        return (packed, memory), row

    zeros = jnp.zeros(episodes)
    start = (observation, env_state, zeros == 0, zeros, zeros.astype(jnp.int32))
    form = packing(start)
    first = (form.pack(start), policy.initial(episodes))
    if record:
        (end, _), steps = jax.lax.scan(recorded, first, jnp.arange(env.horizon, dtype=jnp.int32))
    else:
        _, _, end, _ = jax.lax.while_loop(goes_on, until_over, (jnp.int32(0), jnp.array(True), *first))
        steps = None
    *_, alive, returns, lengths = form.unpack(end)
    return Episodes(returns, lengths, ~alive, steps)


def evaluator(
    env_of: Env | Callable[[Any], Env], episodes: int = 32
) -> Callable[[Any, Any, Key, State, Any], Mapping[str, Array]]:
    """A function for the argument ``evaluate=`` of `lrn.train.fit` that plays the greedy policy of an agent.

    Args:
        env_of: the environment to evaluate on, or ``env_of(config) -> Env``. It may differ from the
            environment of the training, for example to measure the true reward of an agent that was trained
            on a proxy.
        episodes: number of episodes.

    Returns:
        A function that measures ``greedy_return`` and ``greedy_length`` (means over the episodes) and
        ``greedy_finished`` (the fraction of episodes that ended). ``greedy_finished`` is 1 for every
        environment of `lrn.rl.env.make` and `from_gymnax`, whose horizon is a time limit. Below 1, episodes
        outlast ``env.horizon``, as may happen with an `Env` made by hand; ``greedy_return`` then sums the
        rewards of the first ``env.horizon`` steps only. `lrn.rl.env.time_limit` gives such an environment a
        limit.

    Raises:
        ValueError: ``episodes`` is below 1.
    """
    check.integer("episodes", episodes, low=1)

    def evaluate(agent: Agent, config: Any, key: Key, state: State, data: Any) -> Mapping[str, Array]:
        del data
        env = env_of if isinstance(env_of, Env) else env_of(config)
        played = rollouts(env, agent.policy, key, state, episodes)
        return {
            "greedy_return": played.returns.mean(),
            "greedy_length": played.lengths.mean(dtype=jnp.float32),
            "greedy_finished": played.finished.mean(dtype=jnp.float32),
        }

    return evaluate
