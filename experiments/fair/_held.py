"""Rules held to criteria of fairness: one menu of rules, and its best mixture that meets some criteria.

A mixture draws one rule of the menu and decides by it. Its rates, its gaps with a sign, and its flips are the
means of those of its rules, so the best mixture within limits is a linear program on validation rows. A coin
is on the menu: with it every limit can be met, at a cost.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.optimize import linprog

from experiments.fair._both_worlds import World
from experiments.fair._fronts import LINEAR, SHARES, class_balanced
from lrn.data.dataset import split
from lrn.fair import gaps, identities, rates, search
from lrn.fair.arguments import Scored
from lrn.fair.confusion import Confusion, confusion
from lrn.fair.counterfactual import flip_rate
from lrn.fair.front import overall_balanced_accuracy
from lrn.fair.methods import Method, Policy, post_processing, reduction, unconstrained
from lrn.fair.model import Predict
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
    """All methods with a bound, of parity and of odds.

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
    }
    mask = np.arange(dim) < plain
    return {name: class_balanced(_reading(method, mask)) for name, method in found.items()}


@functools.cache
def thresholds(levels: int, first: int, end: int, dim: int) -> tuple[Method, np.ndarray]:
    """Pairs of thresholds by group for a score that reads the features from ``first`` to before ``end``.

    Returns:
        The method, whose bound is a pair of ranks among the validation rows of each group; and all pairs of
        ``levels`` ranks, [pairs, 2].
    """
    place = np.arange(dim)
    scorer = class_balanced(_reading(_scored, (place >= first) & (place < end)))

    def method(key: Key, train: People, validation: People, groups: int, pair: Any) -> Policy:
        trained = scorer(key, train, validation, groups, 1.0)
        score = trained(validation.x, validation.group)
        rows = Scored(score, validation.y, validation.group, validation.weights)
        cuts = search.thresholds_at(search.threshold_table(rows, groups, levels), pair)
        return Partial(_cut, trained, cuts)

    return method, np.indices((levels, levels)).reshape(2, -1).T


def model(key: Key, train: People, validation: People, groups: int, mask: Any) -> Policy:
    """Logistic regression on the features of the mask, bool [dim], which takes the place of the bound."""
    method = class_balanced(_reading(unconstrained(LINEAR), mask))
    return method(key, train, validation, groups, 1.0)


def score(key: Key, train: People, validation: People, groups: int, mask: Any) -> Policy:
    """Like `model`, but its score is the chance of decision 1; for the identity of calibration."""
    return _reading(_scored, mask)(key, train, validation, groups, 1.0)


def judged(method: Method, world: World, bounds: Any, seeds: Sequence[int], most: int) -> dict[str, Any]:
    """Train a method at all bounds, on a split of ``most`` rows a seed; the fields of `Judged` by name.

    It is `lrn.fair.front.fairness_front` with the flip rates of the same people in the other group.
    """
    shares = tuple(min(1.0, most / len(world.rows.y)) * share for share in SHARES)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    given = world.rows, world.other, jax.tree.map(jnp.asarray, bounds), keys
    (validation, flips), (test, test_flips) = _judged(method, shares, *given)
    arrays = {f"validation {k}": v for k, v in validation._asdict().items()}
    arrays |= {f"test {k}": v for k, v in test._asdict().items()}
    return arrays | {"validation flips": flips, "test flips": test_flips}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _judged(
    method: Method, shares: tuple[float, ...], rows: People, other: Array, bounds: Any, keys: Key
) -> Any:
    def one_seed(key: Key) -> Any:
        split_key, method_key = jax.random.split(key)
        train, *held = split(split_key, len(rows.y), shares)

        def one_bound(bound: Any) -> Any:
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
    """The mixture of each seed that is held to some criteria. test: its measures on test rows, [seeds] each.

    validation: its balanced accuracy on validation rows, [seeds]. coin: the chance of the coin, [seeds].
    """

    test: dict[str, np.ndarray]
    validation: np.ndarray
    coin: np.ndarray


def held(rules: Judged, criteria: Sequence[str], limit: float) -> Held:
    """The mixture with the best balanced accuracy among those that meet the criteria on validation rows.

    Args:
        rules: the menu; a rule with a measure of NaN is left out.
        criteria: metrics among `PARITY`, `ODDS`, `FLIPS`; none is no constraint. limit: the largest value.
    """
    rules = with_coin(rules)
    chance = np.stack([_mixture(rules, seed, criteria, limit) for seed in range(len(rules.test_flips))])
    seen, test = (
        _counts(np.nansum(chance[..., None] * leaf, axis=1) for leaf in part)
        for part in (rules.validation, rules.test)
    )
    flips = np.nansum(chance * rules.test_flips, axis=1)
    validation = np.asarray(overall_balanced_accuracy(seen), float)
    return Held(measures(test, flips), validation, chance[:, -1])


def with_coin(rules: Judged) -> Judged:
    """The menu with a fair coin as its last rule."""

    def coin(counts: Confusion) -> Confusion:
        positive, negative = (
            np.nanmax(one + other, axis=1, keepdims=True) / 2
            for one, other in ((counts.tp, counts.fn), (counts.fp, counts.tn))
        )
        return _counts((positive, negative, positive, negative))

    still = np.zeros_like(rules.test_flips[:, :1])
    return joined([rules, Judged(coin(rules.validation), coin(rules.test), still, still)])


def _mixture(rules: Judged, seed: int, criteria: Sequence[str], limit: float) -> np.ndarray:
    """The chance of each rule of the menu, [rules], by a linear program."""
    counts = _counts(leaf[seed] for leaf in rules.validation)
    tp, fp, fn, tn = counts
    gaps_of = {
        PARITY: [(tp + fp) / (tp + fp + fn + tn)],
        ODDS: [tp / (tp + fn), fp / (fp + tn)],
    }
    signed = [rate[:, 1] - rate[:, 0] for c in criteria if c != FLIPS for rate in gaps_of[c]]
    signed += [rules.validation_flips[seed]] if FLIPS in criteria else []
    worth = np.asarray(overall_balanced_accuracy(counts), float)
    fine = np.isfinite(np.sum([worth, *signed], axis=0))
    rows = np.reshape([row[fine] for row in signed], (-1, fine.sum()))
    both, limits = np.concatenate([rows, -rows]), np.full(2 * len(rows), limit)
    found = linprog(-worth[fine], A_ub=both, b_ub=limits, A_eq=np.ones((1, fine.sum())), b_eq=[1.0])
    chance = np.zeros(len(worth))
    chance[fine] = found.x
    return chance


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


def _cut(trained: Policy, cuts: Array, x: Any, group: Any) -> Array:
    return search.decisions(cuts, trained(x, group), jnp.asarray(group))


def _scored(key: Key, train: People, validation: People, groups: int, bound: Any) -> Policy:
    del key, validation, groups, bound
    return Partial(_chance, LINEAR(train.x, train.y, train.weights))


def _chance(predict: Predict, x: Any, group: Any) -> Array:
    del group
    return predict(x)
