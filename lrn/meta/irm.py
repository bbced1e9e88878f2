"""Invariant risk minimization (Arjovsky et al. 2019, IRMv1): the tasks of a meta-batch are the environments.

One network is trained on all environments, as in `lrn.meta.pooled`, with a penalty for each environment. The
penalty is the squared derivative of the environment's loss by a factor on the outputs, at factor 1: it is
positive where a rescaling of the outputs would lower the loss in this environment. The square of a derivative
that is estimated from a few examples is biased by the noise of the estimate. The product of the
derivatives on two halves of the examples is unbiased (appendix D of the paper). So is the mean product
over all pairs of examples, which this file uses; it is the mean over all ways to halve the examples.
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
from lrn.types import Array, Batch, Example, Goal, Key, NetState, Params, PyTree


@config
class IRMConfig:
    """Settings.

    penalty: the weight of the penalty; with 0 the training is pooled training. Where the weight is above
        1, loss and penalty are divided by it, as in the authors' code, so that the gradient stays bounded.
    begin: the meta-step at which the weight changes from ``before`` to ``penalty``.
    before: the weight before that meta-step.
    meta_rate: the learning rate. optimizer: ``optimizer(meta_rate) -> optax.GradientTransformation``.
    """

    penalty: float = 1.0
    begin: int = 0
    before: float = 0.0
    meta_rate: float = 1e-3
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam

    def __post_init__(self) -> None:
        check.non_negative("penalty", self.penalty)
        check.integer("begin", self.begin, low=0)
        check.non_negative("before", self.before)
        check.positive("meta_rate", self.meta_rate)


def irm(problem: Problem, config: IRMConfig) -> MetaLearner:
    """Train one network on all tasks, support and queries together, with IRMv1's penalty for each task.

    The learner does not adapt: all rows of its curve are equal. Metrics: ``loss``, the training loss
    without the penalty; ``penalty``, an estimate that may be negative, see `invariance_penalty`.

    Args:
        problem: the network and the loss.
        config: the settings.

    Raises:
        ValueError: from the training: a task has fewer than two examples.
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
    """An unbiased estimate of the squared derivative of E[loss(scale * outputs, y)] by the scale, at 1.

    The estimate is the mean of g_i g_j over all pairs i != j, where g_i is the derivative on example i. It is
    unbiased if the examples of an environment are drawn independently. On a balanced set, such as those of
    `lrn.meta.families.few_shot`, two examples are less often of the same class, and the estimate is a little
    too low.

    Args:
        loss: ``loss(outputs, y) -> scalar``, a mean over the examples.
        outputs: [n, outputs], n at least 2.
        y: [n, ...].

    Returns:
        A scalar, in the squared unit of the loss.

    Raises:
        ValueError: there are fewer than two examples.
    """
    n = outputs.shape[0]
    if n < 2:
        raise check.InputError(
            f"the penalty needs two examples or more of an environment, got {n}; give more examples."
        )

    def slope(f: Array, y: Array) -> Array:
        return jax.grad(lambda scale: loss(scale * f[None], y[None]))(jnp.ones((), f.dtype))

    slopes = jax.vmap(slope)(outputs, y)
    return (slopes.sum() ** 2 - (slopes**2).sum()) / (n * (n - 1))


def example() -> Example:
    """The network and tasks of `lrn.meta.maml.example`."""
    return example_of(irm, IRMConfig(penalty=10.0, begin=1))._replace(solves=Goal("loss", below=7.0))
