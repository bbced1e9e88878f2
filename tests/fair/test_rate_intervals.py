"""Wilson's and Newcombe's intervals against statsmodels and Newcombe's own table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fair_rows import GROUP, WEIGHT, D, Y
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from lrn.check import InputError
from lrn.fair.rate_sample import (
    RateSample,
    critical_value,
    differences_from,
    newcombe,
    rate_sample,
    wilson,
)

HITS, TRIALS = np.array([0, 3, 56, 48, 9, 30, 2999.0]), np.array([10, 10, 70, 80, 10, 30, 3000.0])
BOTH = jax.jit(
    lambda hits, trials, z: (
        wilson(RateSample(hits / trials, trials), z),
        newcombe(RateSample(hits / trials, trials), RateSample(hits[::-1] / trials[::-1], trials[::-1]), z),
    )
)


@pytest.mark.parametrize("level", [0.95, 0.997])
def test_intervals_equal_statsmodels(level):
    with jax.enable_x64(True):
        z = critical_value(level)
        single, difference = BOTH(HITS, TRIALS, z)
    assert float(z) == pytest.approx(stats.norm.ppf((1 + level) / 2), abs=1e-9)
    low, high = proportion_confint(HITS, TRIALS, alpha=1 - level, method="wilson")
    np.testing.assert_allclose(single.low, low, atol=1e-12)
    np.testing.assert_allclose(single.high, high, atol=1e-12)
    for i, j in zip(range(7), range(6, -1, -1)):
        wanted = confint_proportions_2indep(
            HITS[i], TRIALS[i], HITS[j], TRIALS[j], method="newcomb", alpha=1 - level
        )
        assert (float(difference.low[i]), float(difference.high[i])) == pytest.approx(wanted, abs=1e-12)


def test_newcombes_own_example():
    # Newcombe (1998), table II, method 10: 56/70 against 48/80, .2 with limits .0524 and .3339.
    found = newcombe(
        RateSample(jnp.asarray(0.8), jnp.asarray(70.0)),
        RateSample(jnp.asarray(0.6), jnp.asarray(80.0)),
        1.959964,
    )
    assert [float(v) for v in found] == pytest.approx([0.2, 0.0524, 0.3339], abs=5e-5)


def test_samples_count_trials_and_weights_lower_their_number():
    run = jax.jit(lambda w: rate_sample("true_positive_rate", Y, D, GROUP, 3, w))
    plain = jax.jit(lambda: rate_sample("true_positive_rate", Y, D, GROUP, 3))()
    found = run(WEIGHT)
    for g in range(3):
        rows = (g == GROUP) & (Y == 1)
        assert plain.trials[g] == rows.sum()
        assert plain.rate[g] == pytest.approx(D[rows].mean())
        assert found.rate[g] == pytest.approx(np.average(D[rows], weights=WEIGHT[rows]), rel=1e-6)
        assert found.trials[g] == pytest.approx(WEIGHT[rows].sum() ** 2 / (WEIGHT[rows] ** 2).sum(), rel=1e-5)
    scaled = run(7 * WEIGHT)
    np.testing.assert_allclose(scaled.trials, found.trials, rtol=1e-5)
    np.testing.assert_allclose(run(np.full(len(Y), 3.0)).trials, plain.trials, rtol=1e-6)


def test_differences_from_a_reference_group():
    rates, trials = np.array([0.3, 0.5, np.nan, 0.1]), np.array([50.0, 70, 0, 90])
    found = jax.jit(lambda r, t: differences_from(RateSample(r, t), 1))(rates, trials)
    pairs = jax.jit(lambda r, t: newcombe(RateSample(r, t), RateSample(r[1], t[1]), 1.959964))(rates, trials)
    for ours, wanted in zip(found, pairs):
        np.testing.assert_allclose(ours[jnp.array([0, 3])], wanted[jnp.array([0, 3])], atol=1e-6)
        assert ours[1] == 0
        assert np.isnan(ours[2])
    empty = jax.jit(lambda r, t: differences_from(RateSample(r, t), 2))(rates, trials)
    assert np.isnan(np.stack(empty)).all()


def test_wrong_arguments_are_refused():
    sample = RateSample(jnp.ones(2), jnp.ones(2))
    for call, message in [
        (lambda: critical_value(1.0), "level"),
        (lambda: critical_value(-0.1), "level"),
        (lambda: differences_from(sample, 2), "reference"),
        (lambda: rate_sample("parity", Y, D, GROUP, 3), "rate 'parity' is not known"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
