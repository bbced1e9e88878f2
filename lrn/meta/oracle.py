"""The task-conditioned oracle: one network that is told which task it is, and adapts to nothing.

The ceiling for learners that must find out by the support set; an arm that beats it is a sign of a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.meta.episode import Episode
from lrn.meta.learner import MetaLearner, MetaState, check_episodes, flat
from lrn.meta.maml import example_of
from lrn.meta.problem import Problem
from lrn.meta.reptile import joined
from lrn.types import Array, Batch, Example, Key, Metrics, PyTree


@config
class OracleConfig:
    """Settings of the training: ``optimizer(meta_rate)``."""

    meta_rate: float = 1e-3
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam

    def __post_init__(self):
        check.positive("meta_rate", self.meta_rate)


def oracle(problem: Problem, config: OracleConfig) -> MetaLearner:
    """Train on all tasks at once, each example [d] with its task's code [c] beside it.

    The body takes [n, d + c]. Metrics: ``loss`` of the training.

    Raises:
        ValueError: from ``init``: the tasks have no code, or an example is not a vector.
    """
    optimizer = config.optimizer(config.meta_rate)

    def told(x: Array, code: Array) -> Array:
        return jnp.concatenate([x, jnp.broadcast_to(code[None], (x.shape[0], *code.shape))], axis=1)

    def init(key: Key, episodes: Episode) -> MetaState:
        check_episodes(episodes)
        x = episodes.support["x"][0]
        if not jax.tree.leaves(episodes.code):
            raise check.InputError(
                "the oracle is told the task, and these tasks have no code; give them one."
            )
        if x.ndim != 2:
            raise check.InputError(
                f"the oracle puts the code beside each example, which must be a vector, got shape "
                f"{list(x.shape[1:])}; flatten the examples."
            )
        params, net_state = problem.init(key, told(x, episodes.code[0]))
        return MetaState(params, net_state, optimizer.init(params), jnp.int32(0))

    def step(key: Key, state: MetaState, episodes: Episode) -> tuple[MetaState, Metrics]:
        del key

        def loss(params: PyTree) -> Array:
            def one(episode: Episode) -> Array:
                seen = joined(episode)
                seen = {**seen, "x": told(seen["x"], episode.code)}
                return problem.loss_on(params, state.net_state, seen, seen)

            return jax.vmap(one)(episodes).mean()

        value, gradient = jax.value_and_grad(loss)(state.meta)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.meta)
        meta = optax.apply_updates(state.meta, updates)
        return MetaState(meta, state.net_state, opt_state, state.taken + 1), {"loss": value}

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        support = {**support, "x": told(support["x"], code)}
        return flat(problem.predict(state.meta, state.net_state, support, told(x, code)), steps)

    return MetaLearner(init, step, curve)


def example() -> Example:
    """As `lrn.meta.maml.example`."""
    return example_of(oracle, OracleConfig())
