"""Reptile (Nichol, Achiam and Schulman 2018): move the initialization towards the end of the inner loop.

The meta-gradient is ``start - end``, a mean over the tasks; no gradient of a gradient is taken. With one
inner step Reptile is joint training on all tasks; with more steps it meta-learns. Every inner step here
uses the whole set, where the authors use minibatches of the set, so their numbers do not apply.
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
from lrn.types import LANES, Array, Batch, Example, Goal, Key, NetState, Params, PyTree
from lrn.xla.parts import mean_of_parts


@config
class ReptileConfig:
    """Settings.

    inner: the settings of the inner loop; its order does not matter.
    meta_rate: the share of the way to the end of the inner loop, under plain gradient descent.
    optimizer: ``optimizer(meta_rate) -> optax.GradientTransformation``, the outer optimizer.
    join: whether the inner loop trains on support and query set together. The authors do so: they draw no
        queries in training. False trains on the support set alone.
    """

    inner: InnerConfig = InnerConfig(steps=5)
    meta_rate: float = 1.0
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.sgd
    join: bool = True

    def __post_init__(self) -> None:
        check_inner("inner", self.inner)
        check.positive("meta_rate", self.meta_rate)
        if self.inner.steps < 1:
            raise check.InputError(
                "reptile learns from its inner steps, got 0; choose inner.steps of 1 or more."
            )


def reptile(problem: Problem, config: ReptileConfig) -> MetaLearner:
    """Learn an initialization that is near to the end of each task's training.

    Arguments and metrics are those of `lrn.meta.maml.maml`; with ``join`` the metrics are on queries that the
    inner loop trained on.
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
    """The network and tasks of `lrn.meta.maml.example`."""
    return example_of(reptile, ReptileConfig(inner=InnerConfig(steps=2)))._replace(
        solves=Goal("loss", below=3.6)
    )
