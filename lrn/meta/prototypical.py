"""Prototypical networks (Snell, Swersky and Zemel 2017): the mean of its features represents a class."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from lrn import check
from lrn.config import config
from lrn.meta.episode import Episode, joined
from lrn.meta.learner import NET_STATE, MetaLearner, MetaState, by_gradient, flat, of_tasks
from lrn.meta.problem import Problem, check_labels, one_hot_or_nan
from lrn.types import Array, Batch, Example, Goal, Key, NetState, Params, PyTree


@config
class PrototypicalConfig:
    """Settings; the defaults are the authors' for Omniglot.

    meta_rate: the learning rate of Adam at the start.
    halve_every: the number of meta-steps after which the rate is halved, each time; 0 for never.
    tasks_at_once: as for `lrn.meta.maml.MAMLConfig`.
    """

    meta_rate: float = 1e-3
    halve_every: int = 2000
    tasks_at_once: int = 0

    def __post_init__(self) -> None:
        check.positive("meta_rate", self.meta_rate)
        check.integer("halve_every", self.halve_every, low=0)
        check.integer("tasks_at_once", self.tasks_at_once, low=0)


def prototypes(features: Array, y: Array, ways: int) -> Array:
    """The mean feature of each class, [ways, d], from features [n, d] and labels int [n].

    Where labels are traced and cannot be checked, a class without examples gets the mean of all features,
    and a label outside of the classes makes all prototypes NaN.

    Raises:
        ValueError: the labels are not int [n]; or their values are known, and a class has no example or a
            label is outside of the classes.
    """
    y = check_labels(y, features.shape[0], ways)
    if not isinstance(y, Tracer):
        missing = sorted(set(range(ways)) - set(np.asarray(y).tolist()))
        if missing:
            raise check.InputError(
                f"the support set has no example of class {missing[0]} of {ways}; give at least one of each."
            )
    members = one_hot_or_nan(y, ways, features.dtype)
    count = members.sum(axis=0)[:, None]
    means = (members.T @ features) / jnp.maximum(count, 1)
    return jnp.where(count == 0, features.mean(axis=0, keepdims=True), means)


def prototype_logits(features: Array, centers: Array) -> Array:
    """Minus the squared Euclidean distances of features [n, d] to prototypes [ways, d], [n, ways]."""
    cross = features @ centers.T
    squares = (features**2).sum(1)[:, None] + (centers**2).sum(1)[None]
    return 2 * cross - squares


def prototypical(problem: Problem, config: PrototypicalConfig) -> MetaLearner:
    """Learn features in which the nearest class mean of the support set is the class of a query.

    Only the body is learned: distances are between the body's features, and the problem's head is not
    used. The ways of training and test may therefore differ, as in the paper (60 in training, 5 or 20 at
    test): train with a problem of the one number of ways, and evaluate a learner with a problem of the other.

    Args:
        problem: the body and the loss.
        config: the settings.

    Metrics are those of `lrn.meta.maml.maml`.
    """

    def start(key: Key, x: Array) -> tuple[Params, NetState]:
        params, net_state = problem.init(key, x)
        return params["body"], net_state

    def logits(of_support: Array, y: Array, of_queries: Array) -> Array:
        return prototype_logits(of_queries, prototypes(of_support, y, problem.outputs))

    def features(
        meta: Params, net_state: NetState, support: Batch, x: Array, keys: Any = (None, None)
    ) -> tuple[Array, Array]:
        of_support, of_x = (
            problem.features(meta, net_state, support, part, key)
            for part, key in zip((support["x"], x), keys)
        )
        return of_support, of_x

    def loss(key: Key, meta: Params, net_state: NetState, episode: Episode, count: Array) -> Any:
        del count
        support, query = episode.support, episode.query
        kept = {}
        keys = problem.training_keys(key, meta, net_state, support["x"])
        if problem.trained:  # one batch gives the statistics, as in the authors' code
            both, kept[NET_STATE] = problem.trained(meta, net_state, joined(episode)["x"], keys[0])
            of_support, of_queries = jnp.split(both, [support["x"].shape[0]])
        else:
            of_support, of_queries = features(meta, net_state, support, query["x"], keys)
        outputs = logits(of_support, support["y"], of_queries)
        scores = problem.score(outputs, query["y"])
        return problem.loss(outputs, query["y"]), {**{k: v.mean() for k, v in scores.items()}, **kept}

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        del code
        of_support, of_queries = features(state.meta, state.net_state, support, x)
        return flat(logits(of_support, support["y"], of_queries), steps)

    rate = optax.constant_schedule(config.meta_rate)
    if config.halve_every:
        rate = optax.exponential_decay(config.meta_rate, config.halve_every, 0.5, staircase=True)
    return by_gradient(start, of_tasks(loss, config.tasks_at_once), curve, optax.adam(rate))


def example() -> Example:
    """A small network on classes of points."""
    from lrn import nets
    from lrn.meta.episode import episodes
    from lrn.meta.families.blobs import blobs
    from lrn.meta.problem import classification

    problem = classification(nets.mlp(None, (8,)), ways=3)
    return Example(
        factory=lambda config: prototypical(problem, config),
        config=PrototypicalConfig(),
        sampler=episodes(blobs(ways=3), 3),
        solves=Goal("loss", below=4.4),
    )
