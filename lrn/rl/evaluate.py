"""Evaluation: the greedy policy, whole episodes, side by side.

A fixed number of episodes begins at once, and the mean is over those; what follows an episode's end does not
count. (A mean over whatever happened to end first would favor short episodes.) Play stops when the last of
them is over, or at the environment's horizon.
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
    """What happened in episodes, leaves [time, episodes, ...], for the environment's horizon.

    state: of the environment, before the action. observation: before the action. final_observation: what the
    action led to. action: in the environment's units. counted: whether the step is part of the episode; after
    its end the others hold whatever.
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
        """One episode up to its end, leaves [its length, ...]; not under a trace.

        Raises:
            InputError: no such episode.
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

    returns: undiscounted. lengths: steps.
    finished: whether the episode ended, by a termination or a truncation. Where it did not, the environment
        has no time limit within its horizon, and return and length are those of the horizon's steps alone.
    steps: what happened, if it was recorded.
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
    """Play ``episodes`` episodes side by side with the policy of an agent's state.

    Args:
        env: where to play; an agent may be asked in another environment than it was trained in.
        policy: of the agent, ``agent.policy``.
        key: drives the environments, and the policy if it needs one.
        state: of the agent.
        episodes: how many.
        sample: act as in training, exploration included, in place of greedily.
        record: keep every step, on the accelerator. Then the whole horizon is played, and memory grows with
            it: with an observation, an action and a state of the environment for each step.

    Raises:
        InputError: ``episodes`` is below 1; or ``sample`` and the policy does not say how it explores.
    """
    check.integer("episodes", episodes, low=1)
    act = policy.sample if sample else policy.act
    reset_key, step_key = jax.random.split(key)
    observation, env_state = jax.vmap(env.reset)(jax.random.split(reset_key, episodes))

    def play(t: Array, packed: Any, memory: PyTree) -> tuple[Any, PyTree, Array, Recorded]:
        observation, before, alive, returns, lengths = form.unpack(packed)
        # After its end an episode goes nowhere that counts, so there is nothing to reset.
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
    """The ``evaluate=`` of `lrn.train.fit` for agents.

    Args:
        env_of: the environment to evaluate on, or a function of the config that makes it. It need not be
            the one trained on: so a proxy's reward is told from the true one.
        episodes: how many.

    Returns:
        A function that measures ``greedy_return`` and ``greedy_length`` (means over the episodes) and
        ``greedy_finished``, the fraction of episodes that ended. It is 1 where the horizon is a time limit,
        as in all environments of `lrn.rl.env.make` and `from_gymnax`. Below 1 the environment, an `Env` made
        by hand, goes on beyond its horizon, and the return is what the first ``env.horizon`` steps paid, not
        that of an episode: give it its limit by `lrn.rl.env.time_limit`.

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
