"""Fair training of trees for `fair.interpretability`, which runs on the host, and its fronts."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.fair._fronts import class_balanced
from lrn.data.dataset import split
from lrn.fair import reweighing
from lrn.fair.confusion import Confusion, confusion
from lrn.fair.exponentiated_gradient import expected_decision, exponentiated_gradient_on_host
from lrn.fair.front import Front
from lrn.fair.methods import Method, Policy, unconstrained
from lrn.fair.model import Fit
from lrn.fair.people import People
from lrn.fair.rationalize import tree
from lrn.fair.reduction_game import ReductionConfig
from lrn.fair.thresholds import ThresholdRule, fit_bounded_thresholds
from lrn.fair.thresholds import expected_decision as decided
from lrn.types import Array
from lrn.xla.runtime import jit_brief

TREE, TREES, GOAL = tree(5, 20), "tree", "overall_balanced_accuracy"
SAME = ("reweighing", "reduction", "thresholds")  # the treatments that every model gets


def treated_trees(rounds: int) -> dict[str, Method]:
    """The treatments `SAME` of trees, on the host."""
    game = ReductionConfig(rounds=max(rounds, 1), every_response=True)
    methods = (_reweighed_on_host(TREE), _reduction_on_host(TREE, game), _thresholds_on_host(TREE))
    return {f"{TREES}, {what}": method for what, method in zip(SAME, methods)}


def _reweighed_on_host(fit: Fit) -> Method:
    def method(key: Any, train: People, validation: People, groups: int, bound: Any) -> Policy:
        own = train._replace(weights=_weights(train, bound))
        return unconstrained(fit)(key, own, validation, groups, bound)

    return method


def _reduction_on_host(fit: Fit, config: ReductionConfig) -> Method:
    def method(key: Any, train: People, validation: People, groups: int, bound: Any) -> Policy:
        own = dataclasses.replace(config, bound=float(bound) / 2)
        rows = (train.x, train.y, train.group)
        found = exponentiated_gradient_on_host(fit, *rows, groups, own, _weights(train, 1.0))
        return lambda x, group: expected_decision(found, x)

    return method


def _thresholds_on_host(fit: Fit) -> Method:
    def method(key: Any, train: People, validation: People, groups: int, bound: Any) -> Policy:
        predict = fit(train.x, train.y, train.weights)
        rule = _rule(predict(train.x), train.y, train.group, bound)
        return lambda x, group: _decided(rule, predict(x), group)

    return method


@jit_brief
def _weights(train: People, dial: Any) -> Array:
    """The weights of classes that weigh the same (dial 1), and on to those of reweighing (dial 0)."""

    def found(key: Any, own: People, validation: People, groups: int, bound: Any) -> Any:
        fair = reweighing.reweighed(own.y, own.group, groups, own.weights)
        return bound * own.weights + (1 - bound) * fair

    return class_balanced(found)(None, train, train, 2, dial)  # pyright: ignore


@jit_brief
def _rule(score: Array, y: Array, group: Array, bound: Any) -> ThresholdRule:
    return fit_bounded_thresholds(score, y, group, 2, bound, objective=GOAL)


@jit_brief
def _decided(rule: ThresholdRule, score: Array, group: Array) -> Array:
    return decided(rule, score, group)


@functools.partial(jit_brief, static_argnums=(2,))
def _parts(seed: Any, rows: People, shares: tuple[float, ...]) -> tuple[Any, list[People]]:
    split_key, key = jax.random.split(jax.random.key(seed))
    return key, [rows.take(own) for own in split(split_key, rows.y.shape[0], shares)]


@jit_brief
def _counted(rows: People, decision: Array) -> Confusion:
    return confusion(rows.y, decision, rows.group, 2, rows.weights)


def front_on_host(
    method: Method, rows: People, groups: int, bounds: Sequence[float], seeds: Sequence[int], shares: Any
) -> Front:
    """`fairness_front` for a method that runs on the host, with the same splits."""
    counts: list[list[Confusion]] = [[], []]
    for seed in seeds:
        key, (train, *held) = _parts(np.uint32(seed), rows, shares)
        for bound in bounds:
            policy = method(key, train, held[0], groups, bound)
            for found, own in zip(counts, held):
                found.append(_counted(own, policy(own.x, own.group)))
    shape = (len(seeds), len(bounds), groups)
    join = lambda *leaves: np.stack(leaves).reshape(shape)  # noqa: E731
    return Front(jnp.asarray(bounds), *(jax.tree.map(join, *found) for found in counts))
