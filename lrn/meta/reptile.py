"""Reptile (Nichol, Achiam and Schulman 2018): move towards where the inner loop ends.

No gradient of a gradient: the meta-gradient is ``start - end``, a mean over the tasks. With one inner step it
is joint training on all tasks; what it meta-learns comes from the later ones. Every inner step sees the whole
set; the authors' see minibatches of it, so their numbers are not this one's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.meta.adapt import InnerConfig, check_inner
from lrn.meta.episode import Episode, joined
from lrn.meta.inner import adapt_part, curve_of, judged
from lrn.meta.learner import Gradient, MetaLearner, MetaState, by_gradient
from lrn.meta.maml import example_of
from lrn.meta.problem import Problem
from lrn.types import LANES, Array, Batch, Example, Key, NetState, Params, PyTree
from lrn.xla.parts import mean_of_parts


@config
class ReptileConfig:
    """Settings.

    inner: the inner loop; its order does not matter.
    meta_rate: how far to move towards the end of the inner loop. optimizer: ``optimizer(meta_rate)``.
    join: train the inner loop on support and query set together, as the authors do, who draw no queries in
        training; otherwise on the support set alone.
    """

    inner: InnerConfig = InnerConfig(steps=5)
    meta_rate: float = 1.0
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.sgd
    join: bool = True

    def __post_init__(self):
        check_inner("inner", self.inner)
        check.positive("meta_rate", self.meta_rate)
        if self.inner.steps < 1:
            raise check.InputError(
                "reptile learns from its inner steps, got 0; choose inner.steps of 1 or more."
            )


def reptile(problem: Problem, config: ReptileConfig) -> MetaLearner:
    """Learn an initialization that is near to where each task's training ends.

    Metrics as for `lrn.meta.maml.maml`; with ``join`` the queries have been trained on.
    """

    def gradient(key: Key, meta: Params, net_state: NetState, episodes: Episode, count: Array) -> Any:
        del count

        def one(task: tuple[Key, Episode]) -> Any:
            key, episode = task
            seen = joined(episode) if config.join else episode.support
            (key,) = problem.training_keys(key, meta["body"], net_state, seen["x"], 1)
            params, _ = adapt_part(problem, meta, net_state, seen, config.inner, key=key)
            return params, judged(problem, params, net_state, episode)[1]

        def mean(tasks: tuple[Key, Episode]) -> Any:
            return jax.tree.map(lambda x: x.mean(axis=0), jax.vmap(one, axis_name=LANES)(tasks))

        keys = jax.random.split(key, episodes.support["y"].shape[0])
        end, metrics = mean_of_parts(mean, (keys, episodes))
        return jax.tree.map(jnp.subtract, meta, end), metrics

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        del code
        return curve_of(problem, state.meta, state.net_state, support, x, config.inner, steps)

    def divides(meta: Params, net_state: NetState, episodes: Episode, count: Array) -> int:
        return episodes.support["y"].shape[0]

    return by_gradient(problem.init, Gradient(gradient, divides), curve, config.optimizer(config.meta_rate))


def example() -> Example:
    """As `lrn.meta.maml.example`."""
    return example_of(reptile, ReptileConfig(inner=InnerConfig(steps=2)))
