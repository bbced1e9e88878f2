"""DeepSea as bsuite scores it (Osband et al. 2020): does an agent find what dithering finds in 2^N episodes?

The diver starts in the top left corner of an N x N grid and sinks a row a step, to the left or the right;
going right costs .01 / N, and only going right N times finds the treasure, 1. An episode that leaves the
diagonal is bad. Solved is the problem at the first episode by which the bad ones have fallen below 9 in 10.
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
from lrn.types import Array, Batch, Example, Key, Mean, Metrics, State

EPISODES = 10_000  # of bsuite's experiment
THRESHOLD = 0.9
FORGIVENESS = 100


class Diver(NamedTuple):
    """Where the diver is."""

    row: Array
    column: Array


def deep_sea(size: ArrayLike, largest: int | None = None) -> Env:
    """Deterministic DeepSea, observed as [row, column]; otherwise gymnax's "DeepSea-bsuite", step by step.

    gymnax observes an image of N x N, which costs a table more than all its learning. Which of the two
    actions goes right is drawn once for each place, the same in every run.

    Args:
        size: N, an int; or a traced number, to sweep it, and then ``largest`` is needed.
        largest: no size will exceed it.

    Raises:
        ValueError: size is below 2, above ``largest``, or traced without it.
    """
    if isinstance(size, int):
        check.integer("size", size, low=2)
    if largest is None:
        if not isinstance(size, int):
            raise check.InputError("the size of deep_sea is traced; pass largest=, which bounds it.")
        largest = size
    check.integer("largest", largest, low=size if isinstance(size, int) else 2)
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
    """The coding of `deep_sea`'s observations as a table, terminal row included."""
    return grid([-0.5, -0.5], [largest + 0.5, largest - 0.5], [largest + 1, largest])


def tabular(
    size: ArrayLike, config: CodedQConfig, bonus: Bonus | None = None, largest: int | None = None
) -> Agent:
    """A scored table on `deep_sea`: each step is one of the environment, whatever ``config`` says of that."""
    env = deep_sea(size, largest)
    stepwise = dataclasses.replace(config, num_envs=1, rollout_length=1)
    return scored(coded_q(env, table(env.horizon), stepwise, bonus))


@config
class DeepSeaConfig:
    """A table on DeepSea, all of it sweepable in one compile.

    size: N. beta: of a count bonus on (place, action), 0 for none. learner: of the table.
    """

    size: float
    beta: float
    learner: CodedQConfig

    @property
    def interactions(self) -> int:
        """Environment steps of one learner step (see `tabular`)."""
        return 1

    @property
    def total_steps(self) -> int:
        """Of all, in the training."""
        return self.learner.total_steps


def swept(config: DeepSeaConfig, largest: int) -> Agent:
    """`tabular` with a count bonus, for sizes up to ``largest``."""
    bonus = count_bonus(table(largest), CountConfig(beta=config.beta), actions=2)
    return tabular(config.size, config.learner, bonus, largest)


class Scored(NamedTuple):
    """The agent's state; episodes, and the bad among them; the episode at which it was solved, 0 before."""

    agent: State
    episodes: Array
    bad: Array
    solved_at: Array


def scored(agent: Agent) -> Agent:
    """Keep bsuite's score for an agent on deterministic DeepSea whose steps end at most one episode.

    So for one environment and at most N steps an iteration. The metric ``bad``, the fraction of bad episodes,
    is added to the agent's own. See `score` for the result.

    Raises:
        ValueError: at trace time, for an agent that does not report ``return``.
    """

    def init(key: Key, batch: Batch) -> Scored:
        return Scored(agent.init(key, batch), jnp.int32(0), jnp.int32(0), jnp.int32(0))

    def step(key: Key, state: Scored, batch: Batch) -> tuple[Scored, Metrics]:
        inner, metrics = agent.step(key, state.agent, batch)
        returns = metrics.get("return")
        if not isinstance(returns, Mean):
            raise check.InputError('scored needs the metric "return" as a Mean; give an agent of lrn.rl.')
        ended = (returns.weight > 0).astype(jnp.int32)
        bad = (returns.value < 0.5).astype(jnp.int32)  # the best is .99, all others are 0 at most
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
    """The ``evaluate=`` of `lrn.train.fit` for a scored agent.

    Measures ``solved`` (0 or 1) and ``solved_at``, the episode; where it is not solved, all those played,
    which the true number exceeds.
    """
    del agent, config, key, data
    solved = state.solved_at > 0
    return {
        "solved": solved.astype(jnp.float32),
        "solved_at": jnp.where(solved, state.solved_at, state.episodes).astype(jnp.float32),
    }


def example() -> Example:
    """A table on DeepSea of size 4, with a bonus for new hashes of where it comes."""
    seen = count_bonus(simhash(4, center=2.0), CountConfig())
    return Example(lambda config: tabular(4, config, seen), CodedQConfig(initial=1.0, total_steps=400))


def beats_dithering(size: int, solved: Array, solved_at: Array) -> Array:
    """Whether bsuite counts it: solved before 2^size + 100 episodes."""
    return (solved > 0) & (solved_at < 2.0**size + FORGIVENESS)
