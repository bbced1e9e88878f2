"""Calibration errors against loops over groups and bins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fair_rows import GROUP, SCORE, WEIGHT, Y

from lrn.check import InputError
from lrn.fair import calibration as c
from lrn.fair.subgroups import conjunctions

BINS = 8
HALF = (np.arange(len(Y)) % 2).astype(int)


@jax.jit
def ours(y, score, group, half, weight):
    found = c.calibration(y, score, conjunctions((group, half), (3, 2)), BINS, weight)
    return {
        "found": found,
        "within": c.calibration_within_groups(y, score, group, 3, BINS, weight),
        "multi": c.multicalibration_error(found),
        "worst": c.worst_calibration_gap(found, 0.02),
    }


def by_loops(weight):
    member = [g == GROUP for g in range(3)] + [h == HALF for h in range(2)]
    member += [(g == GROUP) & (h == HALF) for g in range(3) for h in range(2)]
    gap, mass = np.full((11, BINS), np.nan), np.zeros((11, BINS))
    for g, rows in enumerate(member):
        for b in range(BINS):
            inside = rows & (b / BINS <= SCORE) & (((b + 1) / BINS > SCORE) | (b == BINS - 1))
            mass[g, b] = weight[inside].sum() / weight.sum()
            if inside.any():
                gap[g, b] = np.average(Y[inside], weights=weight[inside])
                gap[g, b] -= np.average(SCORE[inside], weights=weight[inside])
    return gap, mass


def test_errors_are_those_of_loops():
    with jax.enable_x64(True):
        found = ours(Y, SCORE, GROUP, HALF, WEIGHT)
    gap, mass = by_loops(WEIGHT)
    assert np.isnan(gap).any()
    np.testing.assert_allclose(found["found"].gap, gap, atol=1e-12)
    np.testing.assert_allclose(found["found"].mass, mass, atol=1e-12)
    within = [np.nansum(mass[g] * np.abs(gap[g])) / mass[g].sum() for g in range(3)]
    np.testing.assert_allclose(found["within"], within, atol=1e-12)
    assert float(found["multi"]) == pytest.approx(np.nanmax(mass * np.abs(gap)), abs=1e-12)
    assert float(found["worst"]) == pytest.approx(np.abs(gap[mass >= 0.02]).max(), abs=1e-12)


def test_empty_groups_and_wrong_values_are_nan():
    group = np.where(GROUP == 2, 1, GROUP)
    found = ours(Y, SCORE, group, HALF, WEIGHT)
    assert np.isnan(found["within"]).tolist() == [False, False, True]
    assert np.isfinite(found["multi"])
    for wrong in ({"y": Y + 1}, {"score": SCORE * 2}, {"weight": -WEIGHT}):
        given = {"y": Y, "score": SCORE, "weight": WEIGHT} | wrong
        found = ours(given["y"], given["score"], GROUP, HALF, given["weight"])
        assert all(np.isnan(v).all() for v in jax.tree.leaves(found)), wrong
    assert np.isnan(ours(Y, SCORE, GROUP + 1, HALF, WEIGHT)["within"]).all()


def test_a_calibrated_score_has_small_errors_and_a_shifted_one_large_errors():
    rng = np.random.default_rng(3)
    n = 60_000
    score, group = rng.uniform(size=n), rng.integers(0, 3, n)
    y = rng.binomial(1, score)
    found = jax.jit(lambda s: c.calibration_within_groups(y, s, group, 3))
    assert found(score).max() < 0.02
    np.testing.assert_allclose(found(0.1 + 0.8 * score), [0.05] * 3, atol=0.02)  # E |.2 u - .1| = .05


def test_wrong_arguments_are_refused():
    member = np.ones((1, len(Y)), bool)
    with pytest.raises(InputError, match="member must be bools"):
        c.calibration(Y, SCORE, member.astype(int))
    with pytest.raises(InputError, match="bins"):
        c.calibration(Y, SCORE, member, 0)
    with pytest.raises(InputError, match="prediction must be a decision 0 or 1"):
        c.calibration(Y, SCORE * 5, member)
    with pytest.raises(InputError, match="least_mass"):
        c.worst_calibration_gap(c.Calibration(jnp.ones((1, 1)), jnp.ones((1, 1))), 2.0)
