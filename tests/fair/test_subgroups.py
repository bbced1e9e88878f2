"""Subgroup discrimination and intersections against loops."""

import jax
import numpy as np
import pytest
from fair_rows import GROUP, WEIGHT, D, Y

from lrn.check import InputError
from lrn.fair.subgroups import conjunctions, intersect, subgroup_discrimination

HALF = (np.arange(len(Y)) // 2 % 2).astype(int)
THIRD = (np.arange(len(Y)) % 2).astype(int)
SIZES = (3, 2, 2)
RATES = ("selection_rate", "false_positive_rate", "true_positive_rate")


@jax.jit
def ours(y, d, attributes, weight):
    member = conjunctions(attributes, SIZES, 2)
    return member, {r: subgroup_discrimination(y, d, member, r, weight) for r in RATES}


def test_conjunctions_and_discrimination_are_those_of_loops():
    with jax.enable_x64(True):
        member, found = ours(Y, D, (GROUP, HALF, THIRD), WEIGHT)
    one = [[a == v for v in range(s)] for a, s in zip((GROUP, HALF, THIRD), SIZES)]
    wanted = [m for values in one for m in values]
    wanted += [a & b for i, j in ((0, 1), (0, 2), (1, 2)) for a in one[i] for b in one[j]]
    np.testing.assert_array_equal(member, wanted)
    trials = {
        "selection_rate": np.ones(len(Y), bool),
        "false_positive_rate": Y == 0,
        "true_positive_rate": Y == 1,
    }
    for name, among in trials.items():
        overall = np.average(D[among], weights=WEIGHT[among])
        for g, rows in enumerate(wanted):
            inside = rows & among
            gap = abs(overall - np.average(D[inside], weights=WEIGHT[inside]))
            share = WEIGHT[inside].sum() / WEIGHT.sum()
            assert float(found[name][g]) == pytest.approx(share * gap, abs=1e-12)


def test_the_checkerboard_is_fair_to_each_attribute_and_unfair_to_pairs():
    # The example of Kearns et al.: a decision that is the exclusive or of two attributes.
    a, b = np.repeat([0, 1], 50), np.tile([0, 1], 50)
    decision, y = (a ^ b), np.zeros(100, int)
    found = jax.jit(
        lambda d: subgroup_discrimination(y, d, conjunctions((a, b), (2, 2)), "false_positive_rate")
    )(decision)
    np.testing.assert_allclose(found[:4], 0, atol=1e-7)
    np.testing.assert_allclose(found[4:], 0.125, atol=1e-7)


def test_intersections_number_cells_with_the_last_attribute_fastest():
    cell = jax.jit(lambda a, b, c: intersect((a, b, c), SIZES))(GROUP, HALF, THIRD)
    np.testing.assert_array_equal(cell, np.ravel_multi_index((GROUP, HALF, THIRD), SIZES))
    wrong = jax.jit(lambda a: intersect((a, HALF), (2, 2)))(GROUP)
    assert (np.asarray(wrong) == -1).all()


def test_empty_subgroups_have_no_weight_and_wrong_values_are_nan():
    none = np.zeros((1, len(Y)), bool)
    run = jax.jit(lambda y, d: subgroup_discrimination(y, d, none))
    assert run(Y, D).tolist() == [0]
    found = ours(Y, 2 * D, (GROUP, HALF, THIRD), WEIGHT)[1]
    assert all(np.isnan(v).all() for v in found.values())


def test_wrong_arguments_are_refused():
    for call, message in [
        (lambda: conjunctions((), ()), "one length"),
        (lambda: conjunctions((GROUP,), (3, 2)), "one length"),
        (lambda: conjunctions((GROUP,), (2,)), "group must lie"),
        (lambda: conjunctions((GROUP, HALF[:-1]), (3, 2)), "for each of the 150 rows"),
        (lambda: conjunctions((GROUP,), (3,), 2), "order"),
        (lambda: intersect((GROUP,) * 2, (3, 2**30)), "cells"),
        (lambda: subgroup_discrimination(Y, D, np.ones((2, 3), bool)), "member must be bools"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
