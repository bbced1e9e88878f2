"""The task-conditioned oracle: one network whose input includes the task's code, without adaptation.

The oracle is the ceiling for learners that must infer the task from the support set. An arm that beats the
oracle is a sign of a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lrn import check
from lrn.config import config
from lrn.meta.episode import Episode, joined
from lrn.meta.learner import MetaLearner, MetaState, by_gradient, check_episodes, flat, of_tasks
from lrn.meta.maml import example_of
from lrn.meta.problem import Problem
from lrn.types import Array, Batch, Example, Goal, Key, Metrics, NetState, PyTree


@config
class OracleConfig:
    """Settings of the training.

    meta_rate: the learning rate. optimizer: ``optimizer(meta_rate) -> optax.GradientTransformation``.
    """

    meta_rate: float = 1e-3
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam

    def __post_init__(self) -> None:
        check.positive("meta_rate", self.meta_rate)


def oracle(problem: Problem, config: OracleConfig) -> MetaLearner:
    """Train one network on all tasks, each input [d] concatenated with its task's code [c].

    Metrics: ``loss`` of the training, over support and query set together.

    Args:
        problem: the network and the loss; its body takes inputs [n, d + c].
        config: the settings.

    Raises:
        ValueError: from ``init``: the tasks have no code, or an input is not a vector.
    """

    def loss(key: Key, meta: PyTree, net_state: NetState, episode: Episode, count: Array) -> Any:
        del count
        seen = joined(episode)
        (own_key,) = problem.training_keys(key, meta["body"], net_state, seen["x"], 1)
        value = problem.loss_on(meta, net_state, seen, seen, own_key)
        return value, {"loss": value}

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        support = _told(support, code)
        x = _told({"x": x}, code)["x"]
        return flat(problem.predict(state.meta, state.net_state, support, x), steps)

    blind = by_gradient(problem.init, of_tasks(loss), curve, config.optimizer(config.meta_rate))

    def init(key: Key, episodes: Episode) -> MetaState:
        return blind.init(key, tell(episodes))

    def step(key: Key, state: MetaState, episodes: Episode) -> tuple[MetaState, Metrics]:
        return blind.step(key, state, tell(episodes))

    return MetaLearner(init, step, curve)


def tell(episodes: Episode) -> Episode:
    """The same episodes, leaves [tasks, ...], with each input concatenated with its task's code.

    Raises:
        ValueError: the tasks have no code, or an input is not a vector.
    """
    check_episodes(episodes)
    if not jax.tree.leaves(episodes.code):
        raise check.InputError(
            "the oracle needs the code of a task, and these tasks have no code; give their family a code."
        )
    shape = episodes.support["x"].shape[2:]
    if len(shape) != 1:
        raise check.InputError(
            f"the oracle puts the code beside each example, which must be a vector, got shape {list(shape)}; "
            "flatten the examples."
        )
    return jax.vmap(lambda e: Episode(_told(e.support, e.code), _told(e.query, e.code), e.code))(episodes)


def _told(batch: Batch, code: Array) -> Batch:
    x = batch["x"]
    beside = jnp.broadcast_to(code[None], (x.shape[0], *code.shape)).astype(x.dtype)
    return {**batch, "x": jnp.concatenate([x, beside], axis=1)}


def example() -> Example:
    """The network and tasks of `lrn.meta.maml.example`."""
    return example_of(oracle, OracleConfig())._replace(solves=Goal("loss", below=4.6))
