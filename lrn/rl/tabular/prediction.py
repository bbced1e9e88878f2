"""What the prediction methods, tabular and linear, share: a fixed policy is played and learnt from."""

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
    """One step of the policy; all scalars.

    next_state: what the action led to, before any reset. ended: a new episode begins, after an end or a cut.
    """

    state: Array
    action: Array
    reward: Array
    terminated: Array
    ended: Array
    next_state: Array


class PredictionState(NamedTuple):
    """State of a learner of values: what the method keeps, and the environment."""

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
        env: discrete actions, and states observed one-hot.
        policy: [state, action], probabilities.
        interactions: environment steps in one learner step.
        start: ``start() -> learnt``, what the method begins with.
        learn: ``learn(learnt, experience) -> (learnt, td_error)``.

    Raises:
        ValueError: continuous actions, or a policy that is none for this environment.
    """
    policy = check_policy("policy", env, policy)
    cumulative = jnp.cumsum(policy, -1)

    def init(key: Key, batch: Batch) -> PredictionState:
        del batch
        return PredictionState(start(), play.start(env, key, 1))

    def one(state: PredictionState, drawn: Any) -> Any:
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
        state, (ended, errors) = jax.lax.scan(one, state, (jax.random.split(env_key, interactions), u))
        return state, {**play.episode_metrics(ended), "td_error": errors.mean()}

    return init, step


def check_policy(name: str, env: Env, policy: Any) -> Array:
    """A policy for an environment, or a ValueError that says why it is none."""
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
