"""The helpers of `fair.criteria` and `fair.individual_vs_group`: choices of rules, and the other world."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.fair import _both_worlds, _held, individual_vs_group
from lrn.fair.confusion import Confusion

RNG = np.random.default_rng(0)


def judged(rules: int = 6, seeds: int = 3) -> _held.Judged:
    """Random rules on the same people in validation and test."""
    size = np.array([[[40, 70]], [[60, 30]]])  # rows of label 1 and of label 0 in each group
    one, zero = RNG.integers(0, size + 1, (2, seeds * rules, 2)).astype(float)
    leaves: list[Any] = [one, zero, size[0] - one, size[1] - zero]
    counts = Confusion(*(leaf.reshape(seeds, rules, 2) for leaf in leaves))
    flips = RNG.uniform(0.1, 0.5, (seeds, rules))
    return _held.Judged(counts, counts, flips, flips)


def test_a_coin_has_no_gap_and_no_gain():
    coin = _held.with_coin(judged())
    found = _held.measures(coin.test, coin.test_flips)
    for metric, value in ((_held.PARITY, 0.0), (_held.ODDS, 0.0), (_held.FLIPS, 0.0), (_held.BALANCED, 0.5)):
        np.testing.assert_allclose(found[metric][:, -1], value, atol=1e-6)


def test_parity_and_odds_gaps_are_bounded_by_base_rates():
    """The slack is never negative, and 0 for a rule whose rates are equal and whose groups are pure."""
    found = _held.measures(judged(200).test, np.zeros((3, 200)))
    assert found[_held.TRADE].min() > -1e-6
    # Base rates .8 and .2, TPR 1 and FPR 0 in both groups: the parity gap is all of the difference.
    leaves: list[Any] = [np.array([v], float) for v in ([8, 2], [0, 0], [0, 0], [2, 8])]
    exact = Confusion(*leaves)
    np.testing.assert_allclose(_held.measures(exact, np.zeros(1))[_held.TRADE], 0.0, atol=1e-6)


def test_a_mixture_is_held_to_its_criteria():
    rules = judged()
    seen = _held.measures(rules.validation, rules.validation_flips)
    free = _held.held(rules, (), 0.02)
    np.testing.assert_allclose(free.test[_held.BALANCED], seen[_held.BALANCED].max(1), atol=1e-6)
    for criteria in ((_held.PARITY,), (_held.ODDS, _held.FLIPS)):
        found = _held.held(rules, criteria, 0.02)
        assert all(found.test[c].max() <= 0.02 + 1e-6 for c in criteria)
        # One rule with a coin is such a mixture, and the coin divides its gaps and its gain.
        worst = np.max([seen[c] for c in criteria], axis=0)
        one = 0.5 + (seen[_held.BALANCED] - 0.5) * np.minimum(1, 0.02 / worst)
        assert (found.test[_held.BALANCED] >= one.max(1) - 1e-6).all()
        np.testing.assert_allclose(found.validation, found.test[_held.BALANCED], atol=1e-6)


def test_two_rules_with_opposite_gaps_make_one_without():
    """Each rule selects all of one group and none of the other; the mixture of both is a coin."""
    # tp, fp, fn, tn of both rules, by group: label 1 for 8 of 10 in group 0, and for 3 of 10 in group 1.
    both = [[[8, 0], [0, 3]], [[2, 0], [0, 7]], [[0, 3], [8, 0]], [[0, 7], [2, 0]]]
    leaves: list[Any] = [np.array([leaf], float) for leaf in both]
    counts = Confusion(*leaves)
    rules = _held.Judged(counts, counts, np.ones((1, 2)), np.ones((1, 2)))
    found = _held.held(rules, (_held.PARITY,), 0.0)
    np.testing.assert_allclose(found.test[_held.PARITY], 0.0, atol=1e-6)


def test_the_other_world_changes_the_group_and_what_follows_from_it():
    world = _both_worlds.world(_both_worlds.MERIT, 500)
    here, there = np.asarray(world.rows.x), np.asarray(world.other)
    moved = np.abs(here - there).max(0) > 1e-4
    assert moved.tolist() == [True] * 4 + [False] * 4
    side = np.sign(here[:, 3])
    assert (np.sign(there[:, 3]) == -side).all()
    # School, test and proxy shift by base_gap, bias and proxy, in standard deviations.
    shift = (there - here)[side < 0][:, :3].mean(0)
    assert np.sign(shift).tolist() == [-1, -1, 1]
    masks = world.readings()
    assert {k: v.sum() for k, v in masks.items()} == {
        "group seen": 4, "group not seen": 3, "level 1": 0, "level 2": 1, "level 3": 3,
    }  # fmt: skip
    assert not masks["group not seen"][3]


def test_two_rules_are_chosen_among_the_accurate():
    seen = {
        individual_vs_group.BALANCED: np.array([[0.9, 0.8, 0.75, 0.5]]),
        individual_vs_group.PARITY: np.array([[0.3, 0.2, 0.01, 0.0]]),
        individual_vs_group.EXCESS: np.array([[0.4, 0.1, 0.2, 0.0]]),
    }
    assert [int(x[0]) for x in individual_vs_group.chosen(seen, 0.9)] == [1, 2]
    # A constant is accurate enough only where nothing is asked of the accuracy.
    assert [int(x[0]) for x in individual_vs_group.chosen(seen, 0.0)] == [3, 3]
