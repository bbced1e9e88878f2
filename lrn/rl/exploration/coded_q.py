"""Q-learning on coded observations, with a table or linear in tiles: a small agent to study exploration with.

A network would add problems of its own to an experiment on exploration. With a table the values of different
places do not interfere, with tiles only those of neighbors, and a step costs microseconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl import play, rates, spaces
from lrn.rl.agent import Agent, memoryless
from lrn.rl.env import Env, require_discrete
from lrn.rl.exploration import select
from lrn.rl.exploration.bonus import Bonus, Transitions
from lrn.rl.exploration.coding import Coding
from lrn.rl.exploration.noise import Noise
from lrn.rl.exploration.schedules import linear_schedule
from lrn.types import Array, Batch, Example, Goal, Key, Metrics, PyTree

SELECTORS = ("epsilon_greedy", "boltzmann", "ucb")


@config
class CodedQConfig:
    """Settings of Q-learning on coded observations.

    select: rule of choosing actions: "epsilon_greedy", "boltzmann", or "ucb", which uses the number of visits
        to (observation, action).
    epsilon_start: chance of a random action at the first step.
    epsilon_end: chance of a random action from the end of the schedule on.
    exploration_fraction: fraction of ``total_steps`` over which the chance falls linearly.
    temperature: temperature of Boltzmann's rule, in the unit of the values.
    ucb_scale: weight of UCB's width, in the unit of the values. With 0, UCB only takes actions first that
        were never taken in a place.
    noise_scale: scale of the noise on the action, if there is a noise, in units of half the range of actions.
    discount: discount per step, in [0, 1].
    learning_rate: step size of the update, divided among the active features.
    initial: value of every (observation, action) at the start; optimistic if above all reachable values.
    num_envs: environments played side by side.
    rollout_length: steps in each environment of one step of the agent.
    total_steps: environment steps of the training, all environments together.
    """

    select: str = "epsilon_greedy"
    epsilon_start: float = 0.1
    epsilon_end: float = 0.1
    exploration_fraction: float = 0.5
    temperature: float = 0.1
    ucb_scale: float = 1.0
    noise_scale: float = 0.0
    discount: float = 0.99
    learning_rate: float = 0.5
    initial: float = 0.0
    num_envs: int = 1
    rollout_length: int = 128
    total_steps: int = 100_000

    def __post_init__(self) -> None:
        check.choice("select", self.select, SELECTORS)
        for name in ("epsilon_start", "epsilon_end", "exploration_fraction", "discount", "learning_rate"):
            check.between(name, getattr(self, name), 0.0, 1.0)
        check.positive("temperature", self.temperature)
        check.non_negative("ucb_scale", self.ucb_scale)
        check.non_negative("noise_scale", self.noise_scale)
        rates.check_total_steps(self.total_steps)
        for name in ("num_envs", "rollout_length"):
            check.integer(name, getattr(self, name), low=1)

    @property
    def interactions(self) -> int:
        """Steps of the environments in one step of the agent."""
        return self.num_envs * self.rollout_length


class CodedQState(NamedTuple):
    """State of Q-learning on coded observations.

    weights: weights, [features, actions]; the value of an observation is the sum over its active features.
    visits: number of updates of each weight, int32 [features, actions].
    coding: parameters of the coding.
    bonus: state of the exploration bonus, () without one.
    noise: state of the noise, () without one.
    live: the environments in the middle of their episodes.
    steps: int32, environment steps so far, all environments together.
    """

    weights: Array
    visits: Array
    coding: PyTree
    bonus: PyTree
    noise: PyTree
    live: play.Live
    steps: Array


def coded_q(
    env: Env,
    coding: Coding,
    config: CodedQConfig,
    bonus: Bonus | None = None,
    noise: Noise | None = None,
    dimensions: int = 1,
) -> Agent:
    """Online Q-learning (Watkins 1989), updated after every step of the environments.

    A truncated episode is bootstrapped from its final observation. With several environments the updates of
    one step add up: k environments in the same place move its value by k times the learning rate.

    The values learn of a bonus only after it was paid. With zero initial values a greedy agent therefore
    prefers visited places to new ones (Rashid et al. 2020). Set ``initial`` above the future bonuses, or
    select by "ucb", which tries every action.

    Args:
        env: the environment, with discrete actions.
        coding: the coding of its observations.
        config: settings.
        bonus: an exploration bonus that is added to the rewards.
        noise: noise that moves the levels of the chosen action, independently in each dimension. The actions
            must then be those that `lrn.rl.env.discretize` makes of so many dimensions.
        dimensions: the number of dimensions of an action.

    Metrics: ``return`` and ``length`` of the episodes that ended, without the bonus; ``td_error``, the mean
    absolute error of a step; ``bonus``, its mean.

    Raises:
        InputError: the environment's actions are continuous; or no whole number of levels, to the power of
            ``dimensions``, makes them.
    """
    actions = require_discrete(env, "coded_q")
    bins = _bins(actions, dimensions)

    def values(weights: Array, active: Array) -> Array:
        """Values [n, actions] of observations with active features [n, active]."""
        return weights[active].sum(1)

    def act(key: Key, state: CodedQState, q: Array, active: Array) -> Array:
        if config.select == "boltzmann":
            return select.boltzmann(key, q, config.temperature)
        if config.select == "ucb":
            # The count of the rarest active feature: features shared by many places say little of novelty.
            return select.ucb(key, q, state.visits[active].min(1), config.ucb_scale)
        epsilon = linear_schedule(
            state.steps,
            config.epsilon_start,
            config.epsilon_end,
            jnp.maximum(config.exploration_fraction, 1e-6) * config.total_steps,
        )
        return select.epsilon_greedy(key, q, epsilon)

    def pushed(action: Array, noise: Array) -> Array:
        moved = spaces.levels_of(action, bins, dimensions) + config.noise_scale * noise * (bins - 1) / 2
        return spaces.action_of(jnp.clip(jnp.round(moved), 0, bins - 1).astype(jnp.int32), bins)

    def init(key: Key, batch: Batch) -> CodedQState:
        env_key, coding_key, bonus_key, noise_key = jax.random.split(key, 4)
        live = play.start(env, env_key, config.num_envs)
        return CodedQState(
            jnp.full((coding.size, actions), config.initial / coding.active, jnp.float32),
            jnp.zeros((coding.size, actions), jnp.int32),
            coding.init(coding_key, live.observation),
            () if bonus is None else bonus.init(bonus_key, live.observation),
            () if noise is None else noise.init(noise_key, (config.num_envs, dimensions)),
            live,
            jnp.int32(0),
        )

    def one(state: CodedQState, key: Key) -> tuple[CodedQState, Any]:
        act_key, env_key, bonus_key, noise_key = jax.random.split(key, 4)
        observation = state.live.observation
        active = coding.encode(state.coding, observation)
        q = values(state.weights, active)
        action, noise_state = act(act_key, state, q, active), state.noise
        if noise is not None:
            push, noise_state = noise.sample(noise_key, noise_state, 1)
            action = pushed(action, push[0])
        live, step, ended = play.advance(env, env_key, state.live, action)

        intrinsic, bonus_state = jnp.zeros(config.num_envs), state.bonus
        if bonus is not None:
            fresh = Transitions(observation, action, step.final_observation)
            bonus_state = bonus.update(bonus_key, bonus_state, fresh)
            intrinsic = bonus.bonus(bonus_state, *fresh)

        after = values(state.weights, coding.encode(state.coding, step.final_observation)).max(-1)
        target = step.reward + intrinsic + config.discount * jnp.where(step.terminated, 0.0, after)
        error = target - jnp.take_along_axis(q, action[:, None], 1)[:, 0]
        change = jnp.broadcast_to((config.learning_rate / coding.active * error)[:, None], active.shape)
        state = CodedQState(
            state.weights.at[active, action[:, None]].add(change),
            rates.count_at(state.visits, (active, action[:, None]), config.num_envs * coding.active),
            state.coding,
            bonus_state,
            noise_state,
            live,
            rates.count(state.steps, config.num_envs),
        )
        return state, (ended, jnp.abs(error).mean(), intrinsic.mean())

    def step(key: Key, state: CodedQState, batch: Batch) -> tuple[CodedQState, Metrics]:
        keys = jax.random.split(key, config.rollout_length)
        state, (ended, error, intrinsic) = jax.lax.scan(one, state, keys)
        metrics = {"td_error": error.mean(), "bonus": intrinsic.mean()}
        return state, {**play.episode_metrics(ended), **metrics}

    def greedy(state: CodedQState, observation: Array) -> Array:
        return jnp.argmax(values(state.weights, coding.encode(state.coding, observation)), -1).astype(
            jnp.int32
        )

    def sample(key: Key, state: CodedQState, observation: Array) -> Array:
        act_key, noise_key = jax.random.split(key)
        active = coding.encode(state.coding, observation)
        action = act(act_key, state, values(state.weights, active), active)
        if noise is None:
            return action
        # White noise, whatever the color of the training's noise.
        return pushed(action, jax.random.normal(noise_key, (*action.shape, dimensions)))

    return Agent(init, step, memoryless(greedy, sample))


def _bins(actions: int, dimensions: int) -> int:
    """How many levels in each dimension make so many actions."""
    check.integer("dimensions", dimensions, low=1)
    bins = round(actions ** (1 / dimensions))
    if bins**dimensions != actions:
        raise check.InputError(
            f"{actions} actions are no power of {dimensions} of a number of levels; give the dimensions that "
            "discretize was given."
        )
    return bins


def example() -> Example:
    """A table on a delayed reward, with a bonus for new hashes of observations."""
    from lrn.rl.exploration.coding import grid, simhash
    from lrn.rl.exploration.counts import CountConfig, count_bonus
    from lrn.rl.identity import delayed_reward

    env, bonus = delayed_reward(3), count_bonus(simhash(6, center=0.5), CountConfig(), actions=2)
    size = env.observation_shape[0]
    coding = grid([0.0] * size, [1.0] * size, [2] * size)
    config = CodedQConfig(num_envs=2, rollout_length=5, total_steps=60)
    return Example(
        lambda config: coded_q(env, coding, config, bonus),
        config,
        solves=Goal("td_error", below=0.02),
    )
