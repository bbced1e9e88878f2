"""Meta-regularized MAML (Yin et al. 2020): Gaussian weights, with a penalty on their information.

A network that recognizes tasks by their inputs may memorize the tasks and ignore the support set. Here the
body's weights are Gaussian, and the loss includes their divergence from a prior (MR-MAML on weights, eq. 5).
Memorizing a task in the weights then costs more than adapting the head to the support set.
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
from lrn.meta.episode import Episode
from lrn.meta.inner import PARTS, adapt_part, curve_of, judged
from lrn.meta.learner import MetaLearner, MetaState, by_gradient, of_tasks
from lrn.meta.maml import example_of
from lrn.meta.problem import Problem
from lrn.types import Array, Batch, Example, Goal, Key, NetState, Params, PyTree


@config
class MRMAMLConfig:
    """Settings.

    inner: the settings of the inner loop.
    beta: the weight of the divergence, in units of the loss per nat.
    prior_std: the standard deviation of the body's weights under the prior, a normal of mean 0.
    initial_std: the standard deviation of the body's weights at the start of the training.
    adapted: the part that the inner loop changes, from the drawn weights on: "head", "all" or "body".
    meta_rate, optimizer, tasks_at_once: as for `lrn.meta.maml.MAMLConfig`.
    """

    inner: InnerConfig = InnerConfig()
    beta: float = 1e-4
    prior_std: float = 1.0
    initial_std: float = 0.02
    adapted: str = "head"
    meta_rate: float = 1e-3
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam
    tasks_at_once: int = 0

    def __post_init__(self) -> None:
        check_inner("inner", self.inner)
        check.non_negative("beta", self.beta)
        for name in ("prior_std", "initial_std", "meta_rate"):
            check.positive(name, getattr(self, name))
        check.choice("adapted", self.adapted, PARTS)
        check.integer("tasks_at_once", self.tasks_at_once, low=0)


def gaussian_divergence(mean: Params, log_std: Params, prior_std: Any) -> Array:
    """KL(N(mean, std^2) || N(0, prior_std^2)) in nats, summed over all weights, scalar.

    Args:
        mean: a tree of means.
        log_std: a tree of the same form, the logarithms of the standard deviations.
        prior_std: the standard deviation of the prior.
    """

    def each(m: Array, s: Array) -> Array:
        ratio = jnp.exp(2 * s) / prior_std**2
        return 0.5 * jnp.sum(ratio + m**2 / prior_std**2 - 1 - jnp.log(ratio))

    return jnp.stack(jax.tree.leaves(jax.tree.map(each, mean, log_std))).sum()


def mr_maml(problem: Problem, config: MRMAMLConfig) -> MetaLearner:
    """MAML with a Gaussian body; an evaluation uses the mean weights.

    The meta-parameters are ``{"params": ..., "log_std": ...}``; ``params`` holds the means, ``log_std``
    has the form of the body. Arguments and metrics are those of `lrn.meta.maml.maml`; a further metric is
    ``divergence`` (nats).
    """

    def start(key: Key, x: Array) -> tuple[PyTree, NetState]:
        params, net_state = problem.init(key, x)
        log_std = jax.tree.map(lambda p: jnp.full_like(p, jnp.log(config.initial_std)), params["body"])
        return {"params": params, "log_std": log_std}, net_state

    def loss(key: Key, meta: PyTree, net_state: NetState, episode: Episode, count: Array) -> Any:
        del count
        params, log_std = meta["params"], meta["log_std"]
        noise = optax.tree.random_like(key, params["body"], jax.random.normal)
        body = jax.tree.map(lambda m, s, z: m + jnp.exp(s) * z, params["body"], log_std, noise)
        support = episode.support
        inner_key, outer_key = problem.training_keys(
            jax.random.fold_in(key, 1), body, net_state, support["x"]
        )
        adapted, _ = adapt_part(
            problem, {**params, "body": body}, net_state, support, config.inner, config.adapted, key=inner_key
        )
        value, scores = judged(problem, adapted, net_state, episode, outer_key)
        divergence = gaussian_divergence(params["body"], log_std, config.prior_std)
        return value + config.beta * divergence, {**scores, "divergence": divergence}

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        del code
        return curve_of(
            problem, state.meta["params"], state.net_state, support, x, config.inner, steps, config.adapted
        )

    return by_gradient(start, of_tasks(loss, config.tasks_at_once), curve, config.optimizer(config.meta_rate))


def example() -> Example:
    """The network and tasks of `lrn.meta.maml.example`."""
    return example_of(mr_maml, MRMAMLConfig())._replace(solves=Goal("loss", below=5.5))
