"""Calibrated equalized odds: closed forms on exactly calibrated scores, and AIF360's formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.fair.calibrated_odds import CalibratedOdds, draw_score, expected_decision, fit_calibrated_odds

FIT = jax.jit(lambda s, y, g, a, b, w: fit_calibrated_odds(s, y, g, 2, a, b, weights=w))
DRAW = jax.jit(jax.vmap(draw_score, in_axes=(0, None, None, None)))


def calibrated(parts):
    """Rows whose share of label 1 equals the score exactly; ``parts`` is (group, score, tens of rows)."""
    score, y, group = [], [], []
    for g, value, tens in parts:
        n = 10 * tens
        score += [value] * n
        y += [1] * round(value * n) + [0] * round((1 - value) * n)
        group += [g] * n
    return np.array(score), np.array(y), np.array(group)


SCORE, Y, GROUP = calibrated([(0, 0.1, 20), (0, 0.9, 20), (1, 0.2, 20), (1, 0.9, 10)])
ONES = np.ones(len(Y))


def generalized(score, rows):
    return score[rows & (Y == 0)].mean(), (1 - score[rows & (Y == 1)]).mean()


def test_the_mix_is_that_of_the_closed_form():
    # Of 200 rows of group 0 with label 0, 180 have score .1 and 20 score .9: fp is .18. Of 170 of group 1,
    # 160 have .2 and 10 have .9: fp is 41 / 170. The base rate of group 0 has fp .5.
    with jax.enable_x64(True):
        found = FIT(SCORE, Y, GROUP, 1.0, 0.0, ONES)
    assert float(found.cost) == pytest.approx(41 / 170, abs=1e-12)
    np.testing.assert_allclose(found.mix, [(41 / 170 - 0.18) / (0.5 - 0.18), 0], atol=1e-12)
    np.testing.assert_allclose(found.base_rate, [0.5, 13 / 30], atol=1e-12)


@pytest.mark.parametrize("kind", ["fpr", "fnr", "weighted"])
def test_two_groups_are_aif360s(kind):
    base = np.array([Y[g == GROUP].mean() for g in (0, 1)])
    a, b = {"fpr": (1, 0), "fnr": (0, 1), "weighted": ((1 - base) / 2, (1 - base) / 2)}[kind]
    a, b = np.broadcast_to(a, 2).astype(float), np.broadcast_to(b, 2).astype(float)
    costs, constant = [], []
    for g in (0, 1):
        fp, fn = generalized(SCORE, g == GROUP)
        costs.append(a[g] * fp + b[g] * fn)
        constant.append(a[g] * base[g] + b[g] * (1 - base[g]))
    low = int(np.argmin(costs))
    wanted = np.zeros(2)
    wanted[low] = (costs[1 - low] - costs[low]) / (constant[low] - costs[low])
    with jax.enable_x64(True):
        found = FIT(SCORE, Y, GROUP, a, b, ONES)
    np.testing.assert_allclose(found.mix, wanted, atol=1e-12)
    assert 0 < wanted[low] < 1


def test_draws_have_equal_costs_and_stay_calibrated():
    with jax.enable_x64(True):
        fitted = FIT(SCORE, Y, GROUP, 1.0, 0.0, ONES)
        drawn = np.asarray(DRAW(jax.random.split(jax.random.key(0), 200), fitted, SCORE, GROUP))
        chance = np.asarray(expected_decision(fitted, SCORE, GROUP, 0.45))
    # 200 draws of 200 rows a cell: the standard error of a mean is below .003.
    fps = [drawn[:, (g == GROUP) & (Y == 0)].mean() for g in (0, 1)]
    np.testing.assert_allclose(fps, 41 / 170, atol=0.01)
    for value in (0.1, 0.5, 0.9):
        rows = np.isclose(drawn, value) & (GROUP == 0)[None]
        assert np.broadcast_to(Y, drawn.shape)[rows].mean() == pytest.approx(value, abs=0.01)
    np.testing.assert_allclose(chance, (drawn > 0.45).mean(axis=0), atol=0.17)
    assert np.abs(chance - (drawn > 0.45).mean(axis=0)).mean() < 0.02
    np.testing.assert_allclose(chance[(GROUP == 0) & (SCORE == 0.1)], fitted.mix[0], atol=1e-12)


def test_weights_are_copies_groups_may_turn_and_costs_are_swept():
    weight = np.random.default_rng(0).integers(1, 3, len(Y)).astype(float)
    rows = np.repeat(np.arange(len(Y)), weight.astype(int))
    with jax.enable_x64(True):
        swept = jax.jit(jax.vmap(lambda a: fit_calibrated_odds(SCORE, Y, GROUP, 2, a, 1.0)))(
            np.array([0.0, 0.5])
        )
        for i, a in enumerate((0.0, 0.5)):
            np.testing.assert_allclose(swept.mix[i], FIT(SCORE, Y, GROUP, a, 1.0, ONES).mix, atol=1e-12)
        one = FIT(SCORE, Y, GROUP, 1.0, 0.0, weight)
        two = FIT(SCORE[rows], Y[rows], GROUP[rows], 1.0, 0.0, np.ones(len(rows)))
        turned = FIT(SCORE, Y, 1 - GROUP, 1.0, 0.0, weight)
    np.testing.assert_allclose(one.mix, two.mix, atol=1e-12)
    np.testing.assert_allclose(turned.mix[::-1], one.mix, atol=1e-12)


def test_keys_are_used_once(key_reuse_checks):
    fitted = CalibratedOdds(*(jnp.asarray(v) for v in ([0.5, 0.0], [0.5, 0.4], 0.3)))
    drawn = jax.jit(lambda k: draw_score(k, fitted, SCORE, GROUP))(jax.random.key(3))
    assert drawn.shape == SCORE.shape


def test_bad_input():
    # Group 0's base rate costs .1 in false positives, group 1's scores .5.
    score, y, group = calibrated([(0, 0.1, 10), (1, 0.5, 10)])
    for call, message in [
        (lambda: fit_calibrated_odds(score, y, group, 2, 1.0, 0.0), "group 0 cannot reach the largest cost"),
        (lambda: fit_calibrated_odds(SCORE, Y * GROUP, GROUP, 2), "group 0 has no row with label 1"),
        (
            lambda: fit_calibrated_odds(SCORE, Y, GROUP, 2, -1.0),
            "false_positive must be finite and 0 or more",
        ),
        (lambda: fit_calibrated_odds(SCORE, Y, GROUP, 2, np.ones(3)), r"numbers \[2\]"),
        (lambda: fit_calibrated_odds(SCORE * 2, Y, GROUP, 2), "between 0 and 1"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
    with jax.enable_x64(True):
        for wrong in [(SCORE, Y * GROUP, GROUP, 1.0), (SCORE * 2, Y, GROUP, 1.0), (SCORE, Y, GROUP, -1.0)]:
            assert np.isnan(FIT(*wrong, 0.0, ONES).mix).all()
        fitted = FIT(SCORE, Y, GROUP, 1.0, 0.0, ONES)
        unknown = np.where(np.arange(len(Y)) == 3, -1, GROUP)
        both = jax.jit(
            lambda g: (draw_score(jax.random.key(0), fitted, SCORE, g), expected_decision(fitted, SCORE, g))
        )
        for found in both(unknown):
            assert np.flatnonzero(np.isnan(np.asarray(found))).tolist() == [3]


def test_a_rule_of_nan_decides_nothing():
    broken = CalibratedOdds(*(jnp.full(shape, jnp.nan) for shape in (2, 2, ())))
    found = jax.jit(lambda rule: expected_decision(rule, 0 * SCORE, GROUP))(broken)
    assert np.isnan(found).all()
