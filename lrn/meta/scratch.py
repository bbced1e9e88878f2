"""Training from scratch: a fresh network on the support set of each task, nothing learned from other tasks.

The floor: what adaptation alone can do. Its settings are tuned like everyone's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.meta.adapt import InnerConfig, check_inner
from lrn.meta.episode import Episode
from lrn.meta.inner import curve_of, judged
from lrn.meta.learner import MetaLearner, MetaState, check_episodes
from lrn.meta.maml import example_of
from lrn.meta.problem import Problem
from lrn.types import Array, Batch, Example, Key, Metrics, PyTree


@config
class ScratchConfig:
    """Settings.

    train: the training on a support set; as many steps as one asks for.
    scale: of the first weights, times what the network draws.
    """

    train: InnerConfig = InnerConfig()
    scale: float = 1.0

    def __post_init__(self):
        check_inner("train", self.train)
        check.positive("scale", self.scale)


def scratch(problem: Problem, config: ScratchConfig) -> MetaLearner:
    """No meta-learning: steps change nothing, and each task begins at the random initialization.

    Metrics: ``loss`` of the queries before any training; not a number where that of the support set is none.
    """

    def init(key: Key, episodes: Episode) -> MetaState:
        check_episodes(episodes)
        params, net_state = problem.init(key, episodes.support["x"][0])
        params = jax.tree.map(lambda x: config.scale * x, params)
        return MetaState(params, net_state, (), jnp.int32(0))

    def step(key: Key, state: MetaState, episodes: Episode) -> tuple[MetaState, Metrics]:
        del key
        check_episodes(episodes)

        def one(episode: Episode) -> Metrics:
            loss, scores = judged(problem, state.meta, state.net_state, episode)
            first, _ = judged(problem, state.meta, state.net_state, episode._replace(query=episode.support))
            return {**scores, "loss": jnp.where(jnp.isnan(first), first, loss)}

        scores = jax.vmap(one)(episodes)
        return state._replace(taken=state.taken + 1), jax.tree.map(jnp.mean, scores)

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        del code
        return curve_of(problem, state.meta, state.net_state, support, x, config.train, steps)

    return MetaLearner(init, step, curve)


def example() -> Example:
    """As `lrn.meta.maml.example`."""
    return example_of(scratch, ScratchConfig())
