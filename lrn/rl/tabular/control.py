"""What the tabular control methods share: settings, and the loop of acting, learning and counting."""

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

    discount: of the return that is learnt.
    step_size: at the n-th update of a (state, action).
    epsilon: chance of a random action at the n-th visit of a state; ``Schedule(1.0, power=1.0)`` is 1/n:
        greedy in the limit with infinite exploration (GLIE).
    initial: value of every (state, action) at first; a high one makes for optimistic exploration.
    interactions: environment steps, each with its update, in one learner step.
    """

    discount: float = 0.99
    step_size: Schedule = Schedule(0.1)
    epsilon: Schedule = Schedule(0.1)
    initial: float = 0.0
    interactions: int = 100

    def __post_init__(self):
        check.between("discount", self.discount, 0, 1)
        check.between("initial", self.initial, -np.inf, np.inf)
        check.integer("interactions", self.interactions, low=1)


class Transition(NamedTuple):
    """One step as the updates see it; all scalars.

    next_state: what the action led to, before any reset. next_action: what the behavior takes there.
    next_epsilon: its chance of a random action there. table: which of the tables is to be updated.
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

    tables: [tables, state, action], one but for double Q-learning. visits: updates of each entry.
    live: the environment. action: [1], what will be taken next.
    """

    tables: Array
    visits: Array
    live: play.Live
    action: Array

    @property
    def q(self) -> Array:
        """The estimate [..., state, action] of the action values; what the policy is greedy in."""
        return self.tables.mean(-3)


def states_of(env: Env) -> int:
    """How many states an environment has that observes them one-hot (in any shape)."""
    return int(np.prod(env.observation_shape))


def index(observation: Array, batch_dims: int = 0) -> Array:
    """The numbers of the states of one-hot observations with so many leading axes."""
    return jnp.argmax(observation.reshape(*observation.shape[:batch_dims], -1), -1).astype(jnp.int32)


def act(u: Array, values: Array, epsilon: Array) -> Array:
    """An epsilon-greedy action in ``values`` [action], ties at random, by uniform numbers u [action + 1]."""
    best = jnp.where(values == values.max(), u[:-1], -1.0)
    return jnp.argmax(jnp.where(u[-1] < epsilon, u[:-1], best)).astype(jnp.int32)


def move(q: Array, at: Any, target: Array, step_size: Any) -> tuple[Array, Array]:
    """Move the entry ``at`` of a table towards a target; the new table, and how far off it was."""
    error = target - q[at]
    return q.at[at].add(step_size * error), error


def control(
    env: Env, config: ControlConfig, learn: Learn, initial: Array | None = None, tables: int = 1
) -> tuple[Init, Step, Policy]:
    """The init, step and policy of an `Agent` that updates its tables after every step.

    Args:
        env: discrete actions, and states observed one-hot.
        config: settings.
        learn: ``learn(tables, transition, step_size) -> (tables, td_error)``.
        initial: action values [state, action] to begin with, in place of ``config.initial``.
        tables: how many; a fair coin decides which one an update is for.

    Raises:
        ValueError: continuous actions, or an ``initial`` of the wrong shape.
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
        # A sum of counts may be more than an int32 holds.
        return config.epsilon(visits[:, states].sum((0, 2), dtype=jnp.float32) + 1)

    def one(state: ControlState, drawn: Any) -> Any:
        key, u = drawn
        q = state.q
        s, a = index(state.live.observation[0]), state.action[0]
        live, result, ended = play.advance(env, key, state.live, state.action)
        step = jax.tree.map(lambda x: x[0], result)
        s_next, s_now = index(step.final_observation), index(live.observation[0])
        table = (u[0, 0] * tables).astype(jnp.int32)
        visits = rates.count_at(state.visits, (table, s, a))
        # Actions are chosen before the update, by the estimates that SARSA's target is about.
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
        # All random numbers of the acting in one go: a call of the generator costs more than the rest.
        u = jax.random.uniform(act_key, (config.interactions, 3, actions + 1))
        keys = jax.random.split(env_key, config.interactions)
        state, (ended, errors) = jax.lax.scan(one, state, (keys, u))
        return state, {**play.episode_metrics(ended), "td_error": errors.mean()}

    def greedy(state: State, observation: Array) -> Array:
        return jnp.argmax(state.q[index(observation, 1)], -1)

    def sample(key: Key, state: ControlState, observation: Array) -> Array:
        s, u = index(observation, 1), jax.random.uniform(key, (observation.shape[0], actions + 1))
        return jax.vmap(act)(u, state.q[s], epsilon(state.visits, s))

    return init, step, memoryless(greedy, sample)
