"""Meta-SGD (Li et al. 2017): learn an inner rate for every single parameter along with the initialization.

A rate may become negative, so the rates determine the direction of a step as well as its length.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lrn.meta.episode import Episode
from lrn.meta.inner import adapt_part, curve_of, judged
from lrn.meta.learner import MetaLearner, MetaState, by_gradient, of_tasks
from lrn.meta.maml import MAMLConfig, example_of
from lrn.meta.problem import Problem
from lrn.types import Array, Batch, Example, Goal, Key, NetState, PyTree


def meta_sgd(problem: Problem, config: MAMLConfig) -> MetaLearner:
    """MAML with a learned rate for each parameter; all rates begin at ``config.inner.rate``.

    The meta-parameters are ``{"params": ..., "rates": ...}``, two trees of the same form. Arguments and
    metrics are those of `lrn.meta.maml.maml`.
    """

    def start(key: Key, x: Array) -> tuple[PyTree, NetState]:
        params, net_state = problem.init(key, x)
        rates = jax.tree.map(lambda p: jnp.full_like(p, config.inner.rate), params)
        return {"params": params, "rates": rates}, net_state

    def each_step(rates: PyTree, steps: int) -> PyTree:
        return jax.tree.map(lambda rate: jnp.broadcast_to(rate[None], (steps, *rate.shape)), rates)

    def loss(key: Key, meta: PyTree, net_state: NetState, episode: Episode, count: Array) -> Any:
        del count
        params, support = meta["params"], episode.support
        inner_key, outer_key = problem.training_keys(key, params["body"], net_state, support["x"])
        rates = each_step(meta["rates"], config.inner.steps)
        params, _ = adapt_part(problem, params, net_state, support, config.inner, rates=rates, key=inner_key)
        return judged(problem, params, net_state, episode, outer_key)

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        del code
        rates = each_step(state.meta["rates"], steps)
        return curve_of(
            problem, state.meta["params"], state.net_state, support, x, config.inner, steps, rates=rates
        )

    return by_gradient(start, of_tasks(loss, config.tasks_at_once), curve, config.optimizer(config.meta_rate))


def example() -> Example:
    """The network and tasks of `lrn.meta.maml.example`."""
    return example_of(meta_sgd)._replace(solves=Goal("loss", below=4.7))
