"""Identities of Chouldechova, Zhao & Gordon and the calibration impossibility on random classifiers."""

import jax
import numpy as np
import pytest

from lrn.fair.confusion import confusion
from lrn.fair.identities import calibration_residual, chouldechova_residual, zhao_gordon_slack
from lrn.fair.rates import rate

RNG = np.random.default_rng(5)
N, GROUPS = 600, 4
GROUP = RNG.integers(0, GROUPS, N)
Y = RNG.binomial(1, np.linspace(0.2, 0.7, GROUPS)[GROUP])


@jax.jit
def ours(y, d, score):
    hard, soft = (confusion(y, p, GROUP, GROUPS) for p in (d, score))
    names = ("base_rate", "selection_rate", "accuracy", "false_positive_rate", "false_negative_rate")
    return {
        "chouldechova": chouldechova_residual(hard),
        "zhao_gordon": zhao_gordon_slack(hard),
        "calibration": calibration_residual(soft),
        "rates": {name: rate(soft, name) for name in names},
    }


def test_identities_hold_for_any_classifier():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        d, score = rng.binomial(1, 0.2 + 0.5 * Y * rng.uniform()), rng.uniform(size=N)
        with jax.enable_x64(True):
            found = jax.tree.map(np.asarray, ours(Y, d, score))
        assert np.abs(found["chouldechova"]).max() < 1e-6
        assert np.abs(found["calibration"]).max() < 1e-6
        assert found["zhao_gordon"].min() >= -1e-6


def test_the_bound_of_zhao_and_gordon_is_reached_by_parity_and_slack_is_its_formula():
    # Everybody is refused: the errors are the base rates, and the gap of selection rates is 0.
    with jax.enable_x64(True):
        found = ours(Y, np.zeros(N), np.zeros(N))
    base = np.array([Y[g == GROUP].mean() for g in range(GROUPS)])
    wanted = base[:, None] + base[None] - np.abs(base[:, None] - base[None])
    np.testing.assert_allclose(found["zhao_gordon"], wanted, atol=1e-12)
    # A group without positives and one with positives only, treated alike: the bound is an equality.
    y, group = np.repeat([0, 1], 10), np.repeat([0, 1], 10)
    d = np.tile([1, 0, 0, 0, 0], 4)
    slack = jax.jit(lambda d: zhao_gordon_slack(confusion(y, d, group, 2)))(d)
    np.testing.assert_allclose([slack[0, 1], slack[1, 0]], 0, atol=1e-6)


def test_calibrated_scores_cannot_be_balanced_if_base_rates_differ():
    # The mean label of each cell of score and group is a score that is calibrated within groups.
    score = np.zeros(N)
    for g in range(GROUPS):
        for half in range(2):
            rows = (g == GROUP) & (np.arange(N) % 2 == half)
            score[rows] = Y[rows].mean()
    with jax.enable_x64(True):
        rates = jax.tree.map(np.asarray, ours(Y, np.zeros(N), score)["rates"])
    np.testing.assert_allclose(rates["base_rate"], rates["selection_rate"], atol=1e-12)
    odds = rates["base_rate"] / (1 - rates["base_rate"])
    np.testing.assert_allclose(rates["false_positive_rate"], odds * rates["false_negative_rate"], atol=1e-6)
    # With base rates that differ, the two rates cannot both be equal: one would need equal odds.
    assert max(np.ptp(rates["false_positive_rate"]), np.ptp(rates["false_negative_rate"])) > 0.1


def test_residuals_see_wrong_counts():
    with jax.enable_x64(True):
        counts = confusion(Y, RNG.binomial(1, 0.2 + 0.5 * Y), GROUP, GROUPS)
        wrong = counts._replace(fp=counts.fp + 1)
        assert np.abs(chouldechova_residual(counts)).max() == pytest.approx(0, abs=1e-12)
        # Counts that are consistent always fulfill the identity; the slack is that of other rates.
        assert np.abs(zhao_gordon_slack(wrong) - zhao_gordon_slack(counts)).max() > 1e-3
