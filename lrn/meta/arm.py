"""Adaptive risk minimization by a context (Zhang et al. 2021, ARM-CML): adaptation without labels.

A context network maps each unlabeled input of the support set to a few numbers. The mean of these
numbers, the context, is concatenated to every input of the main network. Both networks are trained
together on tasks that differ as deployments do. The context network thus learns to extract a property of
the task (the brightness of its pictures, say) from a batch of its inputs.
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
from lrn.meta.learner import MetaLearner, MetaState, by_gradient, flat, of_tasks
from lrn.meta.maml import example_of
from lrn.meta.problem import Problem, draws
from lrn.types import Array, Batch, Example, Goal, Key, Net, NetState, Params, PyTree


@config
class ARMConfig:
    """Settings of the training.

    meta_rate: the learning rate. optimizer: ``optimizer(meta_rate) -> optax.GradientTransformation``.
    """

    meta_rate: float = 1e-3
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam

    def __post_init__(self) -> None:
        check.positive("meta_rate", self.meta_rate)


def arm(problem: Problem, context: Net, config: ARMConfig) -> MetaLearner:
    """Learn a classifier, or a regression, together with the context network.

    The training loss is over support and query set together, as in `lrn.meta.pooled`, and uses the
    labels of both. Neither the context network nor ``curve`` uses the support labels. Metrics:
    ``loss`` of the training.

    Args:
        problem: the main network and the loss. Its body takes inputs with the context as further entries
            of the last axis: vectors [n, d + c], or images [n, height, width, channels + c].
        context: the context network, from the inputs [n, ...] of a task to [n, c]; it keeps no statistics.
        config: the settings.

    Raises:
        ValueError: from ``init``: the context network keeps statistics, or does not give [n, c].
    """

    def start(key: Key, x: Array) -> tuple[PyTree, NetState]:
        context_key, key = jax.random.split(key)
        params, kept = context.init(context_key, x)
        _check_context(context, params, kept, x)
        base, net_state = problem.init(key, told(x, context_of(context, params, x)))
        return {"context": params, "params": base}, net_state

    def loss(key: Key, meta: PyTree, net_state: NetState, episode: Episode, count: Array) -> Any:
        del count
        context_key, key = jax.random.split(key)
        x = episode.support["x"]
        drawn = context_key if draws(context, meta["context"], (), x) else None
        about = context_of(context, meta["context"], x, drawn)
        seen = joined(episode)
        seen = {**seen, "x": told(seen["x"], about)}
        (own_key,) = problem.training_keys(key, meta["params"]["body"], net_state, seen["x"], 1)
        value = problem.loss_on(meta["params"], net_state, seen, seen, own_key)
        return value, {"loss": value}

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        del code
        about = context_of(context, state.meta["context"], support["x"])
        support = {**support, "x": told(support["x"], about)}
        outputs = problem.predict(state.meta["params"], state.net_state, support, told(x, about))
        return flat(outputs, steps)

    return by_gradient(start, of_tasks(loss), curve, config.optimizer(config.meta_rate))


def context_of(net: Net, params: Params, x: Array, key: Key | None = None) -> Array:
    """The context [c] of a batch of inputs x [n, ...]: the mean of the context network's outputs.

    Args:
        net: the context network.
        params: its parameters.
        x: the inputs.
        key: the key of dropout, in training; None in evaluation.
    """
    return net.apply(params, (), x, key=key, train=key is not None)[0].mean(axis=0)


def told(x: Array, context: Array) -> Array:
    """Inputs [n, ..., d] with the context [c] concatenated to each, [n, ..., d + c]."""
    beside = jnp.broadcast_to(context, (*x.shape[:-1], context.shape[0])).astype(x.dtype)
    return jnp.concatenate([x, beside], axis=-1)


def _check_context(net: Net, params: Params, net_state: NetState, x: Array) -> None:
    if jax.tree.leaves(net_state):
        raise check.InputError(
            "the context network keeps statistics (BatchNorm), a second context; give a network without them."
        )
    out = jax.eval_shape(lambda p: net.apply(p, (), x)[0], params)
    if out.ndim != 2 or out.shape[0] != x.shape[0]:
        raise check.InputError(
            f"the context network must map x [n, ...] to [n, c], and gives {list(out.shape)} for "
            f"{list(x.shape)}; flatten its output."
        )


def example() -> Example:
    """A small network on the sinusoids."""
    from lrn import nets

    return example_of(lambda problem, config: arm(problem, nets.mlp(2, (8,)), config), ARMConfig())._replace(
        solves=Goal("loss", below=5.5)
    )
