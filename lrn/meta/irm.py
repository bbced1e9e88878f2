"""Invariant risk minimization (Arjovsky et al. 2019, IRMv1): the tasks of a meta-batch are the environments.

One network for all, as in `lrn.meta.pooled`, and a penalty where its outputs could be made better in one
environment by a scale of that environment's own: the squared derivative of the loss by a factor on the
outputs, at 1. Squaring a derivative estimated from a few examples would pay for its noise. The product of two
halves' derivatives does not (their appendix D), nor does the mean product over all pairs of examples, which
is what that is on average over all ways to halve them.
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
from lrn.meta.problem import Problem
from lrn.types import Array, Batch, Example, Key, NetState, Params, PyTree


@config
class IRMConfig:
    """Settings.

    penalty: its weight; at 0 this is pooled training. Above 1 loss and penalty are divided by it, as the
        authors do, so that the gradient stays in bounds.
    begin: the meta-step at which the weight goes from ``before`` to ``penalty``.
    before: the weight at first.
    meta_rate, optimizer: of the training.
    """

    penalty: float = 1.0
    begin: int = 0
    before: float = 0.0
    meta_rate: float = 1e-3
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam

    def __post_init__(self):
        check.non_negative("penalty", self.penalty)
        check.integer("begin", self.begin, low=0)
        check.non_negative("before", self.before)
        check.positive("meta_rate", self.meta_rate)


def irm(problem: Problem, config: IRMConfig) -> MetaLearner:
    """Train one network on all tasks, support and queries together, with IRMv1's penalty in each.

    It adapts to nothing: all rows of its curve are equal. Metrics: ``loss`` of the training without the
    penalty, and ``penalty`` (an estimate, which may be negative: see `invariance_penalty`).
    """

    def loss(key: Key, meta: Params, net_state: NetState, episode: Episode, count: Array) -> Any:
        seen = joined(episode)
        (own_key,) = problem.training_keys(key, meta["body"], net_state, seen["x"], 1)
        outputs = problem.predict(meta, net_state, seen, seen["x"], own_key)
        value = problem.loss(outputs, seen["y"])
        penalty = invariance_penalty(problem.loss, outputs, seen["y"])
        weight = jnp.where(count < config.begin, config.before, config.penalty)
        total = (value + weight * penalty) / jnp.maximum(weight, 1.0)
        return total, {"loss": value, "penalty": penalty}

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        del code
        return flat(problem.predict(state.meta, state.net_state, support, x), steps)

    return by_gradient(problem.init, of_tasks(loss), curve, config.optimizer(config.meta_rate))


def invariance_penalty(loss: Callable[[Array, Array], Array], outputs: Array, y: Array) -> Array:
    """The squared derivative of loss(scale * outputs, y) by the scale at 1, estimated without its noise.

    With g_i that of one example, the mean of g_i g_j over all pairs i != j: unbiased where the examples of an
    environment are drawn independently. In a set that was balanced, as `lrn.meta.families.few_shot` is, other
    examples are less often of the same class, and it is a little too low.

    Args:
        loss: ``loss(outputs, y) -> scalar``, a mean over the examples.
        outputs: [n, outputs], n at least 2.
        y: [n, ...].

    Raises:
        ValueError: fewer than two examples.
    """
    n = outputs.shape[0]
    if n < 2:
        raise check.InputError(f"the penalty needs pairs of an environment's examples, got {n}; give more.")

    def slope(f: Array, y: Array) -> Array:
        return jax.grad(lambda scale: loss(scale * f[None], y[None]))(jnp.ones((), f.dtype))

    slopes = jax.vmap(slope)(outputs, y)
    return (slopes.sum() ** 2 - (slopes**2).sum()) / (n * (n - 1))


def example() -> Example:
    """As `lrn.meta.maml.example`."""
    return example_of(irm, IRMConfig(penalty=10.0, begin=1))
