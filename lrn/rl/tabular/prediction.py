"""The loop that tabular and linear prediction share: play a fixed policy, and learn after every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lrn import check
from lrn.rl import play
from lrn.rl.env import Env, require_discrete
from lrn.rl.tabular.control import Init, Step, index, states_of
from lrn.types import Array, Batch, Key, Metrics, PyTree


class Experience(NamedTuple):
    """One step of the policy; all fields are scalars.

    state: int32, the state.
    action: int32, the action taken.
    reward: the reward.
    terminated: bool, whether the episode terminated.
    ended: bool, whether the episode ended with this step, by termination or truncation.
    next_state: int32, the state that the action led to, before any reset.
    """

    state: Array
    action: Array
    reward: Array
    terminated: Array
    ended: Array
    next_state: Array


class PredictionState(NamedTuple):
    """State of a learner of values.

    learnt: the method's own state, such as values or weights.
    live: the environment in the middle of its episode.
    """

    learnt: Any
    live: play.Live


def prediction(
    env: Env,
    policy: Any,
    interactions: int,
    start: Callable[[], PyTree],
    learn: Callable[[Any, Experience], tuple[Any, Array]],
) -> tuple[Init, Step]:
    """The init and step of a `Learner` that plays a policy and learns after every step.

    Args:
        env: an environment with discrete actions that observes its state one-hot.
        policy: the policy to play, probabilities [state, action].
        interactions: environment steps in one learner step.
        start: ``start() -> learnt``, the method's own state before the first step.
        learn: ``learn(learnt, experience) -> (learnt, td_error)``, an update of that state.

    Raises:
        ValueError: the actions are continuous, or the policy does not fit the environment.
    """
    policy = check_policy("policy", env, policy)
    cumulative = jnp.cumsum(policy, -1)

    def init(key: Key, batch: Batch) -> PredictionState:
        del batch
        return PredictionState(start(), play.start(env, key, 1))

    def one_step(state: PredictionState, drawn: Any) -> Any:
        key, u = drawn
        s = index(state.live.observation[0])
        a = (cumulative[s] <= u * cumulative[s, -1]).sum(dtype=jnp.int32)
        live, result, ended = play.advance(env, key, state.live, a[None])
        step = jax.tree.map(lambda x: x[0], result)
        experience = Experience(s, a, step.reward, step.terminated, step.ended, index(step.final_observation))
        learnt, error = learn(state.learnt, experience)
        return PredictionState(learnt, live), (ended, jnp.abs(error))

    def step(key: Key, state: PredictionState, batch: Batch) -> tuple[PredictionState, Metrics]:
        del batch
        env_key, act_key = jax.random.split(key)
        u = jax.random.uniform(act_key, (interactions,))
        state, (ended, errors) = jax.lax.scan(one_step, state, (jax.random.split(env_key, interactions), u))
        return state, {**play.episode_metrics(ended), "td_error": errors.mean()}

    return init, step


def check_policy(name: str, env: Env, policy: Any) -> Array:
    """A policy for an environment as float32 [state, action], checked.

    Args:
        name: name of the policy in messages.
        env: the environment.
        policy: probabilities [state, action].

    Raises:
        ValueError: the policy has another shape, or its rows are not probabilities that sum to one.
    """
    shape = (states_of(env), require_discrete(env, "a tabular method"))
    if jnp.shape(policy) != shape:
        raise check.InputError(
            f"{name} must have shape {list(shape)}, got {list(jnp.shape(policy))}; "
            "give the probability of each action in each state."
        )
    if not isinstance(policy, Tracer):
        values = np.asarray(policy, np.float64)
        if values.min() < 0 or np.abs(values.sum(-1) - 1).max() > 1e-4:
            raise check.InputError(
                f"{name} must be probabilities that sum to one in each state; normalize it."
            )
    return jnp.asarray(policy, jnp.float32)
