"""DeepSea with bsuite's score (Osband et al. 2020), a test of exploration.

The diver starts in the top left corner of an N x N grid and sinks one row at each step, to the left or to the
right. Going right costs .01 / N, and only going right N times finds the treasure of 1. Random actions find it
once in 2^N episodes. An episode that misses the treasure is bad. The problem is solved at the first episode
by which less than 9 in 10 of the episodes so far were bad.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.config import config
from lrn.rl.agent import Agent, Policy
from lrn.rl.env import Discrete, Env, Step
from lrn.rl.exploration.bonus import Bonus
from lrn.rl.exploration.coded_q import CodedQConfig, coded_q
from lrn.rl.exploration.coding import Coding, grid, simhash
from lrn.rl.exploration.counts import CountConfig, count_bonus
from lrn.types import Array, Batch, Example, Goal, Key, Mean, Metrics, State

EPISODES = 10_000  # episodes of bsuite's experiment
THRESHOLD = 0.9  # fraction of bad episodes below which the problem counts as solved
FORGIVENESS = 100  # episodes beyond 2^N within which bsuite still counts an agent as exploring


class Diver(NamedTuple):
    """Position of the diver: row and column, int32."""

    row: Array
    column: Array


def largest_of(owner: str, name: str, value: ArrayLike, largest: int | None, low: int) -> int:
    """The bound of a size that may be traced in a sweep: ``largest``, or the size itself.

    Args:
        owner, name: the environment and its size, in messages.
        value: the size, an int or a traced number.
        largest: the largest size that will occur; needed where the size is traced.
        low: the least size that makes sense.

    Raises:
        InputError: the size is below ``low``, above ``largest``, or traced without ``largest``.
    """
    known = isinstance(value, int)
    if known:
        check.integer(name, value, low=low)
    if largest is None:
        if not known:
            raise check.InputError(f"the {name} of {owner} is traced; pass largest=, which bounds it.")
        return value
    check.integer("largest", largest, low=value if known else low)
    return largest


def deep_sea(size: ArrayLike, largest: int | None = None) -> Env:
    """Deterministic DeepSea, observed as [row, column]; the dynamics are those of gymnax's "DeepSea-bsuite".

    gymnax observes an image of N x N, which costs a table more than all its learning. The action that goes
    right is drawn once for each place and is the same in every run.

    Args:
        size: N, an int; or a traced number, to sweep the size, together with ``largest``.
        largest: the largest size that will occur.

    Raises:
        ValueError: size is below 2, above ``largest``, or traced without ``largest``.
    """
    largest = largest_of("deep_sea", "size", size, largest, low=2)
    right = np.random.default_rng(largest).integers(0, 2, (largest, largest)).astype(np.int32)
    rows = jnp.asarray(size, jnp.int32)

    def observe(state: Diver) -> Array:
        return jnp.stack([state.row, state.column]).astype(jnp.float32)

    def reset(key: Key) -> tuple[Array, Diver]:
        state = Diver(jnp.int32(0), jnp.int32(0))
        return observe(state), state

    def move(key: Key, state: Diver, action: Array) -> tuple[Diver, Step]:
        goes_right = action == jnp.asarray(right)[state.row, state.column]
        treasure = goes_right & (state.column == rows - 1)
        reward = treasure.astype(jnp.float32) - jnp.where(goes_right, 0.01 / rows, 0.0)
        column = jnp.clip(state.column + jnp.where(goes_right, 1, -1), 0, rows - 1)
        after = Diver(state.row + 1, column)
        return after, Step(reward, after.row == rows, jnp.array(False), observe(after))

    return Env("DeepSea", reset, move, (2,), Discrete(2), largest)


def table(largest: int) -> Coding:
    """The coding of `deep_sea`'s observations as a table, with the terminal row."""
    return grid([-0.5, -0.5], [largest + 0.5, largest - 0.5], [largest + 1, largest])


def tabular(
    size: ArrayLike, config: CodedQConfig, bonus: Bonus | None = None, largest: int | None = None
) -> Agent:
    """Q-learning with a table on `deep_sea`, with bsuite's score (`scored`).

    One step of the agent is one step of one environment, whatever ``num_envs`` and ``rollout_length`` of the
    config.

    Args:
        size: N, see `deep_sea`.
        config: settings of the Q-learning.
        bonus: an exploration bonus.
        largest: the largest size that will occur, see `deep_sea`.
    """
    env = deep_sea(size, largest)
    stepwise = dataclasses.replace(config, num_envs=1, rollout_length=1)
    return scored(coded_q(env, table(env.horizon), stepwise, bonus))


@config
class DeepSeaConfig:
    """Settings of a table on DeepSea, all of which can be swept in one compile.

    size: N.
    beta: bonus of a first visit to a (place, action), see `CountConfig`; 0 for no bonus.
    learner: settings of the Q-learning.
    """

    size: float
    beta: float
    learner: CodedQConfig

    @property
    def interactions(self) -> int:
        """Environment steps of one learner step: 1, see `tabular`."""
        return 1

    @property
    def total_steps(self) -> int:
        """Environment steps of the training."""
        return self.learner.total_steps


def swept(config: DeepSeaConfig, largest: int) -> Agent:
    """The agent of `tabular` with a count bonus, for sizes up to ``largest``."""
    bonus = count_bonus(table(largest), CountConfig(beta=config.beta), actions=2)
    return tabular(config.size, config.learner, bonus, largest)


class Scored(NamedTuple):
    """State of an agent with bsuite's score.

    agent: state of the agent.
    episodes: int32, number of episodes that ended.
    bad: int32, number of bad episodes among them.
    solved_at: int32, number of the episode at which the problem was solved; 0 before that.
    """

    agent: State
    episodes: Array
    bad: Array
    solved_at: Array


def scored(agent: Agent) -> Agent:
    """An agent that also keeps bsuite's score; `score` reads it.

    A step of the agent must end at most one episode of deterministic DeepSea, so the agent must play one
    environment and at most N steps in an iteration. The metric ``bad``, the fraction of bad episodes, is
    added to the agent's own metrics.

    Raises:
        ValueError: at trace time, the agent does not report ``return``.
    """

    def init(key: Key, batch: Batch) -> Scored:
        return Scored(agent.init(key, batch), jnp.int32(0), jnp.int32(0), jnp.int32(0))

    def step(key: Key, state: Scored, batch: Batch) -> tuple[Scored, Metrics]:
        inner, metrics = agent.step(key, state.agent, batch)
        returns = metrics.get("return")
        if not isinstance(returns, Mean):
            raise check.InputError('scored needs the metric "return" as a Mean; give an agent of lrn.rl.')
        ended = (returns.weight > 0).astype(jnp.int32)
        bad = (returns.value < 0.5).astype(jnp.int32)  # the best return is .99, all others are at most 0
        episodes, total = state.episodes + ended, state.bad + ended * bad
        now = (state.solved_at == 0) & (total < THRESHOLD * episodes)
        after = Scored(inner, episodes, total, jnp.where(now, episodes, state.solved_at))
        return after, {**metrics, "bad": Mean(bad.astype(jnp.float32), ended.astype(jnp.float32))}

    def act(key: Key, state: Scored, memory: Any, observation: Array) -> tuple[Array, Any]:
        return agent.policy.act(key, state.agent, memory, observation)

    def sample(key: Key, state: Scored, memory: Any, observation: Array) -> tuple[Array, Any]:
        return agent.policy.sample(key, state.agent, memory, observation)

    return Agent(init, step, Policy(agent.policy.initial, act, sample))


def score(agent: Any, config: Any, key: Key, state: Scored, data: Any) -> Mapping[str, Array]:
    """A function for ``evaluate=`` of `lrn.train.fit`, for an agent made by `scored`.

    It measures ``solved`` (0 or 1) and ``solved_at``, the number of the episode at which the problem was
    solved. If the problem is not solved, ``solved_at`` is the number of episodes played, a lower bound.
    """
    del agent, config, key, data
    solved = state.solved_at > 0
    return {
        "solved": solved.astype(jnp.float32),
        "solved_at": jnp.where(solved, state.solved_at, state.episodes).astype(jnp.float32),
    }


def example() -> Example:
    """A table on DeepSea of size 4, with a bonus for new hashes of the next observation."""
    bonus = count_bonus(simhash(4, center=2.0), CountConfig())
    return Example(
        lambda config: tabular(4, config, bonus),
        CodedQConfig(initial=1.0, total_steps=400),
        solves=Goal("return", above=0.1),
    )


def beats_dithering(size: int, solved: Array, solved_at: Array) -> Array:
    """Whether an agent solved DeepSea before episode 2^size + 100, as bsuite counts it, bool [...].

    Args:
        size: N.
        solved: whether the problem was solved, from `score`, [...].
        solved_at: the episode at which it was solved, from `score`, [...].
    """
    return (solved > 0) & (solved_at < 2.0**size + FORGIVENESS)
