"""The gap by chance against published and simulated figures, and the correction on known gaps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.fair.gap_bias import gap
from lrn.fair.rate_sample import RateSample

ONE = jax.jit(lambda seed, rate, trials: gap(jax.random.key(seed), RateSample(rate, trials)))


@pytest.mark.parametrize(("n", "wanted"), [(50, 0.073), (100, 0.052), (500, 0.023)])
def test_two_fair_groups_show_the_gap_of_chance(n, wanted):
    # The means of |p - q| for two binomial rates with chance .3; normal: sqrt(2 * .21 / n) * sqrt(2 / pi).
    found = ONE(0, np.array([0.3, 0.3]), np.array([n, n]))
    assert found.by_chance == pytest.approx(wanted, abs=0.0025)
    assert found.chance_limit == pytest.approx(1.96 * np.sqrt(0.42 / n), rel=0.05)
    assert found.observed == found.corrected == 0


def test_the_correction_removes_most_of_the_bias():
    true, n = np.array([0.3, 0.4, 0.35, 0.45, 0.4, 0.38]), 60
    hits = np.random.default_rng(0).binomial(n, true, (300, 6))
    run = jax.jit(lambda rate: jax.lax.map(
        lambda r: gap(jax.random.key(0), RateSample(r, jnp.full(6, 60.0)), draws=400), rate, batch_size=100
    ))  # fmt: skip
    found = run(np.float32(hits / n))
    observed, corrected = float(found.observed.mean()), float(found.corrected.mean())
    assert observed - 0.15 > 0.05
    assert abs(corrected - 0.15) < 0.4 * (observed - 0.15)
    # Beyond chance where the truth is far from fair.
    far = ONE(0, np.array([0.2, 0.8, 0.5]), np.array([200, 200, 200]))
    assert far.observed > far.chance_limit
    assert far.corrected == pytest.approx(0.6, abs=0.01)


def test_fair_groups_are_mostly_corrected_to_less():
    hits = np.random.default_rng(1).binomial(40, 0.3, (4, 40))
    for row in hits:
        found = ONE(3, row[:8] / 40, np.full(8, 40))
        assert found.corrected < found.observed
        if found.observed <= found.by_chance:
            assert found.corrected == pytest.approx(0, abs=1e-6)


def test_empty_groups_are_left_out_and_one_group_is_nan():
    two = ONE(0, np.array([0.3, 0.5]), np.array([50, 80]))
    padded = ONE(0, np.array([0.3, 0.5, np.nan]), np.array([50, 80, 0]))
    for a, b in zip(two, padded):
        assert float(a) == pytest.approx(float(b), abs=0.01)
    assert np.isnan(ONE(0, np.array([0.3, np.nan]), np.array([50, 0]))).all()
    assert np.isnan(ONE(0, np.array([0.3, np.nan]), np.array([50, np.nan]))).all()


def test_wrong_arguments_are_refused():
    sample = RateSample(jnp.ones(2), jnp.ones(2))
    with pytest.raises(InputError, match="level"):
        gap(jax.random.key(0), sample, level=0.0)
    with pytest.raises(InputError, match="draws"):
        gap(jax.random.key(0), sample, draws=0)
