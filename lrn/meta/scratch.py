"""Training from scratch: each task trains a randomly initialized network on its support set.

No task learns from other tasks, so this baseline shows what adaptation alone achieves. Tune its settings like
those of every other arm.
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

    train: the settings of the training on a support set; the evaluation chooses the number of steps.
    scale: a factor of the first weights that the network draws.
    """

    train: InnerConfig = InnerConfig()
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_inner("train", self.train)
        check.positive("scale", self.scale)


def scratch(problem: Problem, config: ScratchConfig) -> MetaLearner:
    """A learner without meta-learning: its steps change nothing, and each task begins at the initialization.

    Metrics: the scores of the queries before any training. ``loss`` is NaN where the loss of the support
        set is
    NaN.

    Args:
        problem: the network and the loss.
        config: the settings.
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
    """The network and tasks of `lrn.meta.maml.example`."""
    return example_of(scratch, ScratchConfig())
