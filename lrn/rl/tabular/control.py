"""Parts that the tabular control methods share: settings, and the loop of acting, learning and counting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.config import config
from lrn.rl import play, rates
from lrn.rl.agent import Policy, memoryless
from lrn.rl.env import Env, require_discrete
from lrn.rl.tabular.schedule import Schedule
from lrn.types import Array, Batch, Key, Metrics, State


@config
class ControlConfig:
    """Settings of SARSA, expected SARSA, Q-learning and double Q-learning.

    discount: discount of the return, in [0, 1].
    step_size: schedule of the step size over updates of a (state, action).
    epsilon: schedule of the chance of a random action over visits of a state. ``Schedule(1.0, power=1.0)`` is
        1/n, which is greedy in the limit with infinite exploration (GLIE).
    initial: value of every (state, action) at the start; a high value makes exploration optimistic.
    interactions: environment steps in one learner step; each is followed by an update.
    """

    discount: float = 0.99
    step_size: Schedule = Schedule(0.1)
    epsilon: Schedule = Schedule(0.1)
    initial: float = 0.0
    interactions: int = 100

    def __post_init__(self) -> None:
        check.between("discount", self.discount, 0, 1)
        check.between("initial", self.initial, -np.inf, np.inf)
        check.integer("interactions", self.interactions, low=1)


class Transition(NamedTuple):
    """One step for the updates; all fields are scalars.

    state: int32, the state.
    action: int32, the action taken.
    reward: the reward.
    terminated: bool, whether the episode terminated.
    next_state: int32, the state that the action led to, before any reset.
    next_action: int32, the action that the behavior takes in the next state.
    next_epsilon: the behavior's chance of a random action in the next state.
    table: int32, the index of the table to update.
    """

    state: Array
    action: Array
    reward: Array
    terminated: Array
    next_state: Array
    next_action: Array
    next_epsilon: Array
    table: Array


Init = Callable[[Key, Batch], State]
Step = Callable[[Key, State, Batch], tuple[State, Metrics]]
Learn = Callable[[Array, Transition, Array], tuple[Array, Array]]


class ControlState(NamedTuple):
    """State of a tabular agent.

    tables: action values, [tables, state, action]; two tables for double Q-learning, one for the others.
    visits: updates of each entry, int32 [tables, state, action].
    live: the environment in the middle of its episode.
    action: the action that is taken next, int32 [1].
    """

    tables: Array
    visits: Array
    live: play.Live
    action: Array

    @property
    def q(self) -> Array:
        """The estimated action values [..., state, action]: the mean over tables, used to act greedily."""
        return self.tables.mean(-3)


def states_of(env: Env) -> int:
    """The number of states of an environment that observes its state one-hot, in an array of any shape."""
    return int(np.prod(env.observation_shape))


def index(observation: Array, batch_dims: int = 0) -> Array:
    """The numbers of the states in one-hot observations, int32 [...].

    Args:
        observation: one-hot observations, [..., *shape].
        batch_dims: the number of leading axes [...].
    """
    return jnp.argmax(observation.reshape(*observation.shape[:batch_dims], -1), -1).astype(jnp.int32)


def act(u: Array, values: Array, epsilon: Array) -> Array:
    """An epsilon-greedy action, int32, with ties broken at random.

    Args:
        u: uniform numbers in [0, 1), [action + 1].
        values: action values, [action].
        epsilon: scalar, the chance of a random action.
    """
    best = jnp.where(values == values.max(), u[:-1], -1.0)
    return jnp.argmax(jnp.where(u[-1] < epsilon, u[:-1], best)).astype(jnp.int32)


def move(q: Array, at: Any, target: Array, step_size: Any) -> tuple[Array, Array]:
    """Move the entry ``at`` of a table towards a target; returns the new table and ``target - entry``."""
    error = target - q[at]
    return q.at[at].add(step_size * error), error


def control(
    env: Env, config: ControlConfig, learn: Learn, initial: Array | None = None, tables: int = 1
) -> tuple[Init, Step, Policy]:
    """The init, step and policy of an `Agent` that updates its tables after every step.

    Args:
        env: an environment with discrete actions that observes its state one-hot.
        config: settings.
        learn: ``learn(tables, transition, step_size) -> (tables, td_error)``, the update of the method.
        initial: action values at the start, [state, action], in place of ``config.initial``.
        tables: number of tables; each update is for a table that is drawn uniformly.

    Raises:
        ValueError: the actions are continuous, or ``initial`` has another shape.
    """
    n, actions = states_of(env), require_discrete(env, "a tabular method")
    if initial is not None and jnp.shape(initial) != (n, actions):
        raise check.InputError(
            f"initial must have shape [{n}, {actions}], got {list(jnp.shape(initial))}; "
            "give a value for each state and action."
        )

    def init(key: Key, batch: Batch) -> ControlState:
        del batch
        start_key, act_key = jax.random.split(key)
        live = play.start(env, start_key, 1)
        first = jnp.full((n, actions), config.initial, jnp.float32) if initial is None else initial
        q = jnp.broadcast_to(jnp.asarray(first, jnp.float32)[None], (tables, n, actions))
        s = index(live.observation[0])
        u = jax.random.uniform(act_key, (actions + 1,))
        action = act(u, q[0, s], config.epsilon(jnp.int32(1)))
        return ControlState(q, jnp.zeros((tables, n, actions), jnp.int32), live, action[None])

    def epsilon(visits: Array, states: Array) -> Array:
        """The chance of a random action at the next visit of each of the states [n]."""
        # Summed as floats, since a sum of counts may exceed an int32.
        return config.epsilon(visits[:, states].sum((0, 2), dtype=jnp.float32) + 1)

    def one_step(state: ControlState, drawn: Any) -> Any:
        key, u = drawn
        q = state.q
        s, a = index(state.live.observation[0]), state.action[0]
        live, result, ended = play.advance(env, key, state.live, state.action)
        step = jax.tree.map(lambda x: x[0], result)
        s_next, s_now = index(step.final_observation), index(live.observation[0])
        table = (u[0, 0] * tables).astype(jnp.int32)
        visits = rates.count_at(state.visits, (table, s, a))
        # Actions are chosen before the update, from the same estimates that SARSA's target uses.
        epsilons = epsilon(visits, jnp.stack([s_next, s_now]))
        next_action = act(u[1], q[s_next], epsilons[0])
        fresh_action = act(u[2], q[s_now], epsilons[1])
        transition = Transition(s, a, step.reward, step.terminated, s_next, next_action, epsilons[0], table)
        learnt, error = learn(state.tables, transition, config.step_size(visits[table, s, a]))
        action = jnp.where(step.ended, fresh_action, next_action)
        return ControlState(learnt, visits, live, action[None]), (ended, jnp.abs(error))

    def step(key: Key, state: ControlState, batch: Batch) -> tuple[ControlState, Metrics]:
        del batch
        env_key, act_key = jax.random.split(key)
        # All random numbers of acting are drawn at once: a call of the generator costs more than the rest.
        u = jax.random.uniform(act_key, (config.interactions, 3, actions + 1))
        keys = jax.random.split(env_key, config.interactions)
        state, (ended, errors) = jax.lax.scan(one_step, state, (keys, u))
        return state, {**play.episode_metrics(ended), "td_error": errors.mean()}

    def greedy(state: State, observation: Array) -> Array:
        return jnp.argmax(state.q[index(observation, 1)], -1)

    def sample(key: Key, state: ControlState, observation: Array) -> Array:
        s, u = index(observation, 1), jax.random.uniform(key, (observation.shape[0], actions + 1))
        return jax.vmap(act)(u, state.q[s], epsilon(state.visits, s))

    return init, step, memoryless(greedy, sample)
