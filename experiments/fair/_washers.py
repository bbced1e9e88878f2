"""Three ways to make an unfair model pass an audit of the gap between two groups, for `fair.washing`.

A black box is a network without the group among its features. Each way gives a policy whose gap on validation
rows is at most a limit, with the fewest errors, or the least fidelity lost, that its candidates allow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.optimize import linprog

from experiments.fair._causal_worlds import Rows
from lrn.fair import rationalize as rational
from lrn.fair.confusion import confusion
from lrn.fair.gaps import demographic_parity_difference
from lrn.fair.model import decide
from lrn.fair.penalized import PenalizedConfig, fit_penalized, on_scores
from lrn.fair.penalties import covariance_penalty
from lrn.fair.thresholds import ThresholdRule, expected_decision, fit_bounded_thresholds
from lrn.nets.mlp import mlp
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array

Policy = Callable[[Any, Any], np.ndarray]  # (features, groups) -> the chances of decision 1
PENALTY, THRESHOLDS, TREE = "parity penalty", "thresholds by group", "imitating tree"
WASHERS = (PENALTY, THRESHOLDS, TREE)
STRENGTHS = (0.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # of the penalty; 0 is the black box
DEPTH, LEAST_LEAF = 4, 20


class Parts(NamedTuple):
    """Rows of a seed."""

    train: Rows
    validation: Rows
    test: Rows


def split(rows: Rows, shares: Sequence[float] = (0.4, 0.2)) -> Parts:
    """The first rows train, the next validate, the rest judge."""
    ends = np.cumsum([round(share * len(rows.y)) for share in shares])
    return Parts(*(Rows(*part) for part in zip(*(np.split(leaf, ends) for leaf in rows))))


class Box(NamedTuple):
    """Networks of all strengths, the black box first, and what is known of them on validation rows.

    networks: a ``predict`` with leaves [strengths, ...]. decision: [strengths, n]. score: of the black box.
    """

    networks: Partial
    decision: np.ndarray
    score: np.ndarray


def black_box(parts: Parts, hidden: int, steps: int) -> Box:
    """Train the black box, and the same network under each strength of the parity penalty."""
    train, validation = parts.train, parts.validation
    networks = _train(train.x, train.y, train.group, hidden, steps)
    chances = _chances(networks, validation.x)
    return Box(networks, np.asarray(decide(chances)), np.asarray(chances[0]))


@functools.partial(jax.jit, static_argnums=(3, 4))
def _train(x: Array, y: Array, group: Array, hidden: int, steps: int) -> Partial:
    penalty = on_scores(covariance_penalty, 2)

    def one(strength: Array) -> Partial:
        config = PenalizedConfig(OptimizerConfig("adam", 0.02), strength=strength)  # pyright: ignore
        net = mlp(1, (hidden,))
        return fit_penalized(jax.random.key(0), net, penalty, x, y, group, 2, config, steps=steps)

    return jax.vmap(one)(jnp.asarray(STRENGTHS))


@jax.jit
def _chances(networks: Partial, x: Array) -> Array:
    return jax.vmap(lambda predict: predict(x))(networks)


def network(box: Box, place: int) -> Policy:
    """The decisions of one of the networks."""
    return lambda x, group: np.asarray(decide(_chances(box.networks, x)[place]))


def gap(rows: Rows, decision: Any) -> float:
    """The difference of the groups' selection rates."""
    return float(demographic_parity_difference(confusion(rows.y, decision, rows.group, 2)))


def penalty(box: Box, parts: Parts, limit: float) -> Policy:
    """The penalized network with the fewest errors within the limit, or that with the least gap."""
    gaps = np.array([gap(parts.validation, d) for d in box.decision])
    accuracy = (box.decision == parts.validation.y).mean(1)
    allowed = gaps <= limit
    place = np.argmax(np.where(allowed, accuracy, -1)) if allowed.any() else np.argmin(gaps)
    return network(box, int(place))


def thresholds(box: Box, parts: Parts, limit: float) -> Policy:
    """The black box with the best thresholds by group within the limit."""
    held = parts.validation
    rule = _rule(box.score, held.y, held.group, limit)
    return lambda x, group: np.asarray(expected_decision(rule, _chances(box.networks, x)[0], group))


@jax.jit
def _rule(score: Array, y: Array, group: Array, limit: Array) -> ThresholdRule:
    return fit_bounded_thresholds(score, y, group, 2, limit)


def imitations(box: Box, parts: Parts) -> rational.Rationalization:
    """Trees that imitate the black box, each under another multiplier of the constraint."""
    seen = network(box, 0)(parts.train.x, None)
    train = rational.Rows(parts.train.x, seen, parts.train.group)
    validation = rational.Rows(parts.validation.x, box.decision[0], parts.validation.group)
    return rational.rationalize({"tree": rational.tree(DEPTH, LEAST_LEAF)}, train, validation, 2)


def imitation(found: rational.Rationalization, held: Rows, limit: float) -> Policy:
    """A lottery of at most two trees: the most faithful one within the limit, by a linear program.

    One tree alone leaves a hole in the front, for a small change of the multiplier changes many decisions.
    """
    trees = [one.predict for one in found.candidates]
    decided = np.stack([np.asarray(decide(predict(held.x))) for predict in trees])
    signed = decided[:, held.group == 1].mean(1) - decided[:, held.group == 0].mean(1)
    loss = [-one.fidelity for one in found.candidates]
    within = max(limit, signed.min(), -signed.max())  # a lottery of one sign of gap cannot do better
    solved = linprog(loss, np.stack([signed, -signed]), [within, within], np.ones((1, len(trees))), [1])
    drawn = [(q, predict) for q, predict in zip(solved.x, trees) if q > 0]
    return lambda x, group: np.sum([q * np.asarray(decide(predict(x))) for q, predict in drawn], 0)


def washed(box: Box, parts: Parts, trees: rational.Rationalization, limit: float) -> dict[str, Policy]:
    """The three ways, each within a share of the network's gap on validation rows."""
    most = limit * gap(parts.validation, box.decision[0])
    return {
        PENALTY: penalty(box, parts, most),
        THRESHOLDS: thresholds(box, parts, most),
        TREE: imitation(trees, parts.validation, most),
    }
