"""Dyna-Q: Q-learning that also remembers outcomes and learns from them again between steps (Sutton 1990).

The method is that of Sutton and Barto (2018), sections 8.2 and 8.3. The model is a table of the last outcome
of every (state, action) that was tried, so in a random environment the model stays wrong with any amount of
data. Dyna-Q+ adds an imagined reward for actions that were not tried for long, so that it notices a change of
the environment.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl import play, rates
from lrn.rl.agent import Agent, memoryless
from lrn.rl.env import Env, require_discrete
from lrn.rl.tabular.control import act, index, states_of
from lrn.rl.tabular.q_learning import q_learning_update
from lrn.types import Array, Batch, Example, Key, Metrics


@config
class DynaConfig:
    """Settings.

    discount: discount of the return, in [0, 1].
    step_size: step size of real and imagined updates.
    epsilon: chance of a random action.
    initial: value of every (state, action) at the start.
    planning: number of imagined updates after each real update; 0 is Q-learning.
    bonus: kappa of Dyna-Q+: the imagined reward of an action grows by kappa times the square root of the
        steps since its last try.
    untried: whether to imagine also the untried actions of visited states, as staying in the state for no
        reward. Dyna-Q+ does so, since otherwise they would get no bonus.
    interactions: environment steps in one learner step; each is followed by its updates.
    """

    discount: float = 0.95
    step_size: float = 0.1
    epsilon: float = 0.1
    initial: float = 0.0
    planning: int = 5
    bonus: float = 0.0
    untried: bool = False
    interactions: int = 100

    def __post_init__(self) -> None:
        check.between("discount", self.discount, 0, 1)
        check.between("step_size", self.step_size, 0, 1)
        check.between("epsilon", self.epsilon, 0, 1)
        check.integer("planning", self.planning)
        check.non_negative("bonus", self.bonus)
        check.integer("interactions", self.interactions, low=1)


class Table(NamedTuple):
    """The model: the last outcome of each (state, action), leaves [state * action].

    A pair is numbered ``state * actions + action``.

    next_state: int32, state after the last try.
    reward: reward of the last try.
    terminated: bool, whether the last try terminated the episode.
    tried_at: int32, number of the step of the last try.
    listed: bool, whether the pair may be imagined.
    order: int32; its first ``known`` entries are the pairs that may be imagined, so that the cost of
        drawing a pair does not depend on the size of the table.
    known: scalar int32, the number of pairs that may be imagined.
    """

    next_state: Array
    reward: Array
    terminated: Array
    tried_at: Array
    listed: Array
    order: Array
    known: Array


class DynaState(NamedTuple):
    """State of Dyna-Q.

    q: action values, [state, action].
    model: the model.
    live: the environment in the middle of its episode.
    steps: int32, environment steps so far. Near the largest int32 the count stays in place, and the steps of
        the last tries in the model move back instead.
    """

    q: Array
    model: Table
    live: play.Live
    steps: Array


def dyna_q(env: Env, config: DynaConfig) -> Agent:
    """Tabular Dyna-Q on an environment that observes its state one-hot (`lrn.rl.mdp.as_env`).

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute, of real
    steps).

    Args:
        env: an environment with discrete actions.
        config: settings.

    Raises:
        ValueError: the actions are continuous.
    """
    n, actions = states_of(env), require_discrete(env, "dyna_q")

    def init(key: Key, batch: Batch = None) -> DynaState:
        pairs = jnp.arange(n * actions)
        no = jnp.zeros(n * actions, bool)
        # In the model, an action that was never tried stays in its state.
        model = Table(
            pairs // actions,
            jnp.zeros(n * actions),
            no,
            jnp.zeros_like(pairs),
            no,
            jnp.zeros_like(pairs),
            jnp.int32(0),
        )
        return DynaState(
            jnp.full((n, actions), config.initial, jnp.float32), model, play.start(env, key, 1), jnp.int32(0)
        )

    def with_listed(model: Table, pair: Array) -> Table:
        """The model with ``pair`` added to the pairs that may be imagined."""
        new, last = ~model.listed[pair], jnp.minimum(model.known, n * actions - 1)
        order = model.order.at[last].set(jnp.where(new, pair, model.order[last]))
        return model._replace(order=order, known=model.known + new, listed=model.listed.at[pair].set(True))

    def observe(model: Table, s: Array, a: Array, step: tuple[Array, Array, Array], now: Array) -> Table:
        pair, (next_state, reward, terminated) = s * actions + a, step
        for other in range(actions) if config.untried else ():
            model = with_listed(model, s * actions + other)
        model = with_listed(model, pair)
        return model._replace(
            next_state=model.next_state.at[pair].set(next_state),
            reward=model.reward.at[pair].set(reward),
            terminated=model.terminated.at[pair].set(terminated),
            tried_at=model.tried_at.at[pair].set(now),
        )

    def recounted(state: DynaState) -> DynaState:
        """The state with step numbers moved back, if needed, so that they cannot overflow while playing."""
        excess = jnp.maximum(state.steps - (rates.LARGEST - config.interactions), 0)
        tried_at = jnp.maximum(state.model.tried_at - excess, 0)
        return state._replace(model=state.model._replace(tried_at=tried_at), steps=state.steps - excess)

    def one_step(state: DynaState, drawn: tuple[Key, Array]):
        key, u = drawn
        s = index(state.live.observation[0])
        a = act(u[: actions + 1], state.q[s], jnp.asarray(config.epsilon))
        live, result, ended = play.advance(env, key, state.live, a[None])
        step = jax.tree.map(lambda x: x[0], result)
        outcome = (index(step.final_observation), step.reward, step.terminated)
        now = state.steps + 1
        model = observe(state.model, s, a, outcome, now)
        q, error = q_learning_update(
            state.q, s, a, step.reward, step.terminated, outcome[0], config.step_size, config.discount
        )

        def imagine(q: Array, u: Array) -> tuple[Array, None]:
            pair = model.order[(u * model.known).astype(jnp.int32)]
            waited = (now - model.tried_at[pair]).astype(jnp.float32)
            reward = model.reward[pair] + config.bonus * jnp.sqrt(waited)
            q, _ = q_learning_update(
                q,
                pair // actions,
                pair % actions,
                reward,
                model.terminated[pair],
                model.next_state[pair],
                config.step_size,
                config.discount,
            )
            return q, None

        q, _ = jax.lax.scan(imagine, q, u[actions + 1 :])
        return DynaState(q, model, live, now), (ended, jnp.abs(error))

    def step(key: Key, state: DynaState, batch: Batch = None) -> tuple[DynaState, Metrics]:
        env_key, draw_key = jax.random.split(key)
        u = jax.random.uniform(draw_key, (config.interactions, actions + 1 + config.planning))
        keys = jax.random.split(env_key, config.interactions)
        state, (ended, errors) = jax.lax.scan(one_step, recounted(state), (keys, u))
        return state, {**play.episode_metrics(ended), "td_error": errors.mean()}

    def greedy(state: DynaState, observation: Array) -> Array:
        return jnp.argmax(state.q[index(observation, 1)], -1)

    def sample(key: Key, state: DynaState, observation: Array) -> Array:
        u = jax.random.uniform(key, (observation.shape[0], actions + 1))
        epsilon = jnp.asarray(config.epsilon)
        return jax.vmap(lambda u, q: act(u, q, epsilon))(u, state.q[index(observation, 1)])

    return Agent(init, step, memoryless(greedy, sample))


def example() -> Example:
    """Dyna-Q+ on a slippery frozen lake with episodes of at most 20 steps."""
    from lrn.rl.tabular.examples import lake

    return Example(
        lambda config: dyna_q(lake(), config), DynaConfig(interactions=10, bonus=1e-3, untried=True)
    )
