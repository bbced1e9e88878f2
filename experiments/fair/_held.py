"""Rules held to criteria of fairness: one menu of rules, and the best of its rules that meets some criteria.

A rule may be mixed with a coin, which decides instead with some chance: this divides all gaps, and the
distance of the balanced accuracy from one half, by the same number. So there is a rule for every limit. The
choice reads validation rows alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from experiments.fair._both_worlds import World
from experiments.fair._fronts import LINEAR, SHARES, class_balanced
from lrn.data.dataset import split
from lrn.fair import gaps, identities, rates, search
from lrn.fair.confusion import Confusion, confusion
from lrn.fair.counterfactual import flip_rate
from lrn.fair.front import overall_balanced_accuracy
from lrn.fair.methods import Method, Policy, post_processing, reduction, unconstrained
from lrn.fair.model import Fit, Predict
from lrn.fair.people import People
from lrn.fair.reduction_game import ReductionConfig
from lrn.types import Array, Key

BALANCED, PARITY, ODDS, FLIPS = "balanced accuracy", "parity gap", "odds gap", "flips"
SLACK, LEFT, TRADE = "slack of Zhao and Gordon", "rest of Chouldechova", "slack of parity and odds"
_GOAL = "overall_balanced_accuracy"


class Judged(NamedTuple):
    """Rules on validation and on test rows: counts [seeds, rules, groups], flip rates [seeds, rules]."""

    validation: Confusion
    test: Confusion
    validation_flips: np.ndarray
    test_flips: np.ndarray


@functools.cache
def menu(plain: int, dim: int, rounds: int) -> dict[str, Method]:
    """All methods with a bound: of parity, of odds, of both, and of both on level 3 where there is one.

    Args:
        plain: how many features are plain, the first ones. dim: how many there are.
        rounds: the largest number of rounds of a reduction.
    """
    parity, odds = (ReductionConfig(kind, rounds=rounds) for kind in ("demographic_parity", "equalized_odds"))
    found = {
        "parity, reduction": reduction(LINEAR, parity),
        "parity, thresholds": post_processing(LINEAR, objective=_GOAL),
        "odds, reduction": reduction(LINEAR, odds),
        "odds, thresholds": post_processing(LINEAR, "equalized_odds", _GOAL),
        "both, thresholds": both(LINEAR),
    }
    place = np.arange(dim)
    found = {name: _reading(method, place < plain) for name, method in found.items()}
    if dim > plain:
        found["both, thresholds, level 3"] = _reading(both(LINEAR), place > plain)
    return {name: class_balanced(method) for name, method in found.items()}


def model(key: Key, train: People, validation: People, groups: int, mask: Any) -> Policy:
    """Logistic regression on the features of the mask, bool [dim], which takes the place of the bound."""
    method = class_balanced(_reading(unconstrained(LINEAR), mask))
    return method(key, train, validation, groups, 1.0)


def score(key: Key, train: People, validation: People, groups: int, mask: Any) -> Policy:
    """Like `model`, but its score is the chance of decision 1; for the identity of calibration."""
    return _reading(_scored, mask)(key, train, validation, groups, 1.0)


def both(fit: Fit, levels: int = 101) -> Method:
    """The model with the best thresholds by group whose parity and odds gaps are within the bound."""

    def method(key: Key, train: People, validation: People, groups: int, bound: Any) -> Policy:
        del key
        predict = fit(train.x, train.y, train.weights)
        rows = predict(validation.x), validation.y, validation.group, groups
        front = search.threshold_front(*rows, overall_balanced_accuracy, larger_gap, levels=levels)
        return Partial(_searched, predict, search.choose(front, bound))

    return method


def larger_gap(counts: Confusion) -> Array:
    """The larger of the gaps of parity and of odds, [...]."""
    return jnp.maximum(gaps.demographic_parity_difference(counts), gaps.equalized_odds_max(counts))


def judged(method: Method, world: World, bounds: Any, seeds: Sequence[int], most: int) -> dict[str, Any]:
    """Train a method at all bounds, on a split of ``most`` rows a seed; the fields of `Judged` by name.

    It is `lrn.fair.front.fairness_front` with the flip rates of the same people in the other group.
    """
    shares = tuple(min(1.0, most / len(world.rows.y)) * share for share in SHARES)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    given = world.rows, world.other, jnp.asarray(bounds), keys
    (validation, flips), (test, test_flips) = _judged(method, shares, *given)
    arrays = {f"validation {k}": v for k, v in validation._asdict().items()}
    arrays |= {f"test {k}": v for k, v in test._asdict().items()}
    return arrays | {"validation flips": flips, "test flips": test_flips}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _judged(
    method: Method, shares: tuple[float, ...], rows: People, other: Array, bounds: Array, keys: Key
) -> Any:
    def one_seed(key: Key) -> Any:
        split_key, method_key = jax.random.split(key)
        train, *held = split(split_key, len(rows.y), shares)

        def one_bound(bound: Array) -> Any:
            policy = method(method_key, rows.take(train), rows.take(held[0]), 2, bound)
            return [_measured(policy, rows.take(part), other[part]) for part in held]

        return jax.vmap(one_bound)(bounds)

    return jax.lax.map(one_seed, keys)


def _measured(policy: Policy, rows: People, other: Array) -> tuple[Confusion, Array]:
    decision = policy(rows.x, rows.group)
    counts = confusion(rows.y, decision, rows.group, 2, rows.weights)
    return counts, flip_rate(decision, policy(other, 1 - rows.group))


def read(arrays: Mapping[str, np.ndarray]) -> Judged:
    """The result of `judged` as `Judged`."""
    validation, test = (
        _counts(np.asarray(arrays[f"{part} {k}"], float) for k in Confusion._fields)
        for part in ("validation", "test")
    )
    return Judged(validation, test, arrays["validation flips"], arrays["test flips"])


def joined(menu: Sequence[Judged]) -> Judged:
    """The rules of several methods as one menu."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *menu)


def measures(counts: Confusion, flips: np.ndarray) -> dict[str, np.ndarray]:
    """What is recorded of rules, arrays of the shape of ``flips``, from counts [..., groups]."""
    parity = gaps.demographic_parity_difference(counts)
    odds = gaps.equalized_odds_max(counts)
    base, tpr, fpr = (
        rates.rate(counts, f"{name}_rate") for name in ("base", "true_positive", "false_positive")
    )
    trade = parity + odds - gaps.spread(base) * jnp.max(jnp.abs(tpr - fpr), axis=-1)
    left = jnp.nanmax(jnp.abs(identities.chouldechova_residual(counts)), axis=-1)
    found = {
        BALANCED: overall_balanced_accuracy(counts),
        PARITY: parity,
        ODDS: odds,
        FLIPS: flips,
        SLACK: identities.zhao_gordon_slack(counts)[..., 0, 1],
        LEFT: left,
        TRADE: trade,
    }
    return {metric: np.asarray(value, float) for metric, value in found.items()}


class Held(NamedTuple):
    """The rule of each seed that is held to some criteria. test: its measures on test rows, [seeds] each.

    validation: its balanced accuracy on validation rows, [seeds]. coin: the chance of the coin, [seeds].
    """

    test: dict[str, np.ndarray]
    validation: np.ndarray
    coin: np.ndarray


def held(rules: Judged, criteria: Sequence[str], limit: float) -> Held:
    """The rule with the best balanced accuracy among those that meet the criteria on validation rows.

    Args:
        rules: the menu. criteria: metrics among `PARITY`, `ODDS`, `FLIPS`; none is no constraint.
        limit: the largest value of each.
    """
    seen = measures(rules.validation, rules.validation_flips)
    worst = np.max([seen[c] for c in criteria], axis=0) if criteria else np.zeros_like(rules.test_flips)
    kept = limit / np.maximum(worst, limit)
    worth = 0.5 + (seen[BALANCED] - 0.5) * kept
    best = np.nanargmax(worth, axis=1)
    seeds = np.arange(len(best))
    kept = kept[seeds, best]
    counts = with_coin(Confusion(*(leaf[seeds, best] for leaf in rules.test)), kept[:, None])
    return Held(measures(counts, kept * rules.test_flips[seeds, best]), worth[seeds, best], 1 - kept)


def with_coin(counts: Confusion, kept: np.ndarray) -> Confusion:
    """The counts where the rule decides with the chance ``kept``, which broadcasts, and else a fair coin."""
    positive, negative = (counts.tp + counts.fn) / 2, (counts.fp + counts.tn) / 2
    coin = Confusion(positive, negative, positive, negative)
    return _counts(kept * own + (1 - kept) * half for own, half in zip(counts, coin))


def _counts(leaves: Iterable[Any]) -> Confusion:
    """Counts as arrays of NumPy."""
    return Confusion(*leaves)


def _reading(method: Method, mask: Any) -> Method:
    """The method on the features of the mask alone, bool [dim]."""

    def reading(key: Key, train: People, validation: People, groups: int, bound: Any) -> Policy:
        train, validation = (part._replace(x=part.x * mask[None]) for part in (train, validation))
        return Partial(_read, mask, method(key, train, validation, groups, bound))

    return reading


def _read(mask: Any, policy: Policy, x: Any, group: Any) -> Array:
    return policy(x * mask[None], group)


def _searched(predict: Predict, rule: search.SearchRule, x: Any, group: Any) -> Array:
    return search.search_decision(rule, predict(x), jnp.asarray(group))


def _scored(key: Key, train: People, validation: People, groups: int, bound: Any) -> Policy:
    del key, validation, groups, bound
    return Partial(_chance, LINEAR(train.x, train.y, train.weights))


def _chance(predict: Predict, x: Any, group: Any) -> Array:
    del group
    return predict(x)
