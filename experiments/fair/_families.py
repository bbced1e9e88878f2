"""Fronts of transparent and of black-box methods for `fair.interpretability`; every model sees the group.

A method's dial falls from 1, no treatment, to 0, the strongest one. Classes weigh the same in all trainings
but that of logistic regression for thresholds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.fair._fronts import LINEAR, SEEN, SHARES, class_balanced, fronts, parity_methods
from lrn.data.dataset import split
from lrn.fair import training
from lrn.fair.adversarial import AdversarialConfig, adversarial, predictor
from lrn.fair.confusion import Confusion, confusion
from lrn.fair.exponentiated_gradient import expected_decision, exponentiated_gradient_on_host
from lrn.fair.front import Front
from lrn.fair.methods import Method, Policy, post_processing, reduction, reweighed, unconstrained
from lrn.fair.mlp import MLPConfig, mlp_fit
from lrn.fair.model import Fit
from lrn.fair.penalized import PenalizedConfig, Penalty, fit_penalized, on_scores
from lrn.fair.penalties import covariance_penalty, hsic_penalty
from lrn.fair.people import People
from lrn.fair.rationalize import tree
from lrn.fair.reduction_game import ReductionConfig
from lrn.fair.thresholds import ThresholdRule, fit_bounded_thresholds
from lrn.fair.thresholds import expected_decision as decided
from lrn.nets.mlp import mlp
from lrn.study.context import Context
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array

HIDDEN, BATCH, RATE = (16,), 256, 0.02
TREE = tree(5, 20)
LOGISTIC, TREES, BOX = "logistic regression", "tree", "network"
GOAL = "overall_balanced_accuracy"
STRONGEST = {"parity penalty": 300.0, "HSIC": 300.0, "adversary": 1.0}  # at dial 0
# The dials of transparent methods, of penalized networks, and of the reduction of networks.
BOUNDS = (1.0, 0.2, 0.1, 0.05, 0.02, 0.0)
STRENGTHS = (1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0)
MANY_BOUNDS = (1.0, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01, 0.0)


def strength(dial: Array, most: float) -> Array:
    """The strength of a penalty at a dial: none at 1, else falling over three decades from ``most``."""
    return jnp.where(dial >= 1, 0.0, most * 10.0 ** (-3 * dial))


def penalized_network(penalty: Penalty, most: float, steps: int) -> Method:
    """A network trained under a penalty."""

    def method(key: Any, train: People, validation: People, groups: int, bound: Any) -> Policy:
        del validation
        optimizer = OptimizerConfig("adam", RATE)
        config = PenalizedConfig(optimizer, strength=strength(bound, most))  # pyright: ignore
        net, rows = mlp(1, HIDDEN), (train.x, train.y, train.group)
        fitted = fit_penalized(
            key, net, penalty, *rows, groups, config, train.weights, steps=steps, batch_size=BATCH
        )
        return unconstrained(lambda *given: fitted)(key, train, train, groups, bound)

    return method


def adversarial_network(most: float, steps: int) -> Method:
    """A network trained against an adversary that reads its logit; at dial 1 it is trained alone."""

    def method(key: Any, train: People, validation: People, groups: int, bound: Any) -> Policy:
        del validation
        optimizer = OptimizerConfig("adam", RATE)
        config = AdversarialConfig(optimizer, alpha=strength(bound, most))  # pyright: ignore
        net = mlp(1, HIDDEN)
        learner = adversarial(net, mlp(groups, (8,)), groups, config)
        batch = training.whole(train.x, train.y, train.group, groups, train.weights)
        state, _ = training.descend(key, learner, batch, steps, BATCH)
        fitted = predictor(net, state)
        return unconstrained(lambda *given: fitted)(key, train, train, groups, bound)

    return method


def penalized_networks(steps: int) -> dict[str, Method]:
    """Networks under a parity penalty, under HSIC, and against an adversary."""
    penalties = {"parity penalty": covariance_penalty, "HSIC": hsic_penalty}
    found = {
        what: penalized_network(on_scores(penalty, 2), STRONGEST[what], steps)
        for what, penalty in penalties.items()
    }
    found["adversary"] = adversarial_network(STRONGEST["adversary"], steps)
    return {f"{BOX}, {what}": class_balanced(method) for what, method in found.items()}


def reduced_network(rounds: int, steps: int) -> dict[str, Method]:
    """The reduction of networks."""
    config = MLPConfig(OptimizerConfig("adam", RATE), HIDDEN, steps, BATCH)
    method = reduction(mlp_fit(config), ReductionConfig(rounds=rounds, every_response=True))
    return {f"{BOX}, reduction": class_balanced(method)}


def logistic_methods(rounds: int) -> dict[str, Method]:
    """Logistic regression: reweighing, the reduction, thresholds by group (fitted on the training rows)."""
    every = parity_methods(rounds)
    found = {f"{LOGISTIC}, {what}": every[f"{what}, {SEEN[0]}"] for what in ("reweighing", "reduction")}
    fitted = post_processing(LINEAR, objective=GOAL, held_out=False)
    return found | {f"{LOGISTIC}, thresholds": fitted}


def tree_methods(rounds: int) -> dict[str, Method]:
    """The same for trees, on the host."""
    game = ReductionConfig(rounds=rounds, every_response=True)
    found = {"reweighing": reweighed(TREE), "reduction": _reduction_on_host(TREE, game)}
    found["thresholds"] = _thresholds_on_host(TREE)
    return {f"{TREES}, {what}": class_balanced(method) for what, method in found.items()}


def _reduction_on_host(fit: Fit, config: ReductionConfig) -> Method:
    def method(key: Any, train: People, validation: People, groups: int, bound: Any) -> Policy:
        del key, validation
        own = dataclasses.replace(config, bound=float(bound) / 2)
        rows = (train.x, train.y, train.group)
        found = exponentiated_gradient_on_host(fit, *rows, groups, own, train.weights)
        return lambda x, group: expected_decision(found, x)

    return method


def _thresholds_on_host(fit: Fit) -> Method:
    def method(key: Any, train: People, validation: People, groups: int, bound: Any) -> Policy:
        del key, validation
        predict = fit(train.x, train.y, train.weights)
        rule = _rule(predict(train.x), train.y, train.group, bound)
        return lambda x, group: decided(rule, predict(x), group)

    return method


@jax.jit
def _rule(score: Array, y: Array, group: Array, bound: Array) -> ThresholdRule:
    return fit_bounded_thresholds(score, y, group, 2, bound, objective=GOAL)


def fronts_on_host(
    context: Context,
    name: str,
    rows: People,
    methods: Mapping[str, Method],
    bounds: Sequence[float],
    most: int,
) -> dict[str, Front]:
    """`fronts` for methods that run on the host, with the same splits."""
    share = min(1.0, most / len(rows.y))
    shares = tuple(share * part for part in SHARES)
    found = {}
    for what, method in methods.items():
        compute = functools.partial(_on_host, method, rows, bounds, context.seeds, shares)
        arrays = context.once(f"{name}, {what}", compute)
        counts = [Confusion(*arrays[where]) for where in ("validation", "test")]
        found[what] = Front(jnp.asarray(bounds), *counts)
    return found


def _on_host(
    method: Method, rows: People, bounds: Sequence[float], seeds: Sequence[int], shares: tuple[float, ...]
) -> dict[str, np.ndarray]:
    """The counts on validation and test rows, [4, seeds, bounds, groups] each."""
    found: dict[str, list[Any]] = {"validation": [], "test": []}
    for seed in seeds:
        split_key, method_key = jax.random.split(jax.random.key(seed))
        parts = [rows.take(own) for own in split(split_key, len(rows.y), shares)]
        for bound in bounds:
            policy = method(method_key, parts[0], parts[1], 2, bound)
            for where, own in zip(found, parts[1:]):
                decision = np.asarray(policy(own.x, own.group))
                found[where].append(confusion(own.y, decision, own.group, 2))
    shape = (len(seeds), len(bounds), 2)
    return {
        where: np.stack([np.stack(leaf).reshape(shape) for leaf in zip(*counts)])
        for where, counts in found.items()
    }


def every_front(
    context: Context, name: str, rows: People, most: int, rounds: int, steps: int
) -> dict[str, Front]:
    """The front of each method, by the name of the method.

    Args:
        context, name, rows, most: as for `fronts`. rounds: of a reduction. steps: of a network.
    """
    makers: tuple[tuple[Callable, Mapping[str, Method], Sequence[float]], ...] = (
        (fronts, logistic_methods(rounds), BOUNDS),
        (fronts_on_host, tree_methods(rounds), BOUNDS),
        (fronts, penalized_networks(steps), STRENGTHS),
        (fronts, reduced_network(rounds, steps), MANY_BOUNDS),
    )
    found = {}
    for make, methods, dials in makers:
        found |= make(context, name, rows, methods, dials, most)
    return found
