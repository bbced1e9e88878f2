"""Simultaneous intervals: the critical value against SciPy, Sidak and Tukey, and coverage."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lrn.check import InputError
from lrn.fair.rate_sample import RateSample, newcombe, wilson
from lrn.fair.simultaneous import max_t, simultaneous_differences, simultaneous_rates

TRIALS = np.geomspace(30, 3000, 12).round()
HITS = np.round(TRIALS * np.linspace(0.02, 0.6, 12))
RATES = jax.jit(lambda hits, trials: simultaneous_rates(RateSample(hits / trials, trials)))
PAIRS = jax.jit(
    lambda seed, rate, trials: simultaneous_differences(jax.random.key(seed), RateSample(rate, trials))
)
INTERVALS = jax.jit(lambda estimate, replicates: max_t(estimate, replicates))


def critical_value(hits, trials, level=0.95):
    """The smallest z of a fine grid from 1.96 on, with SciPy's binomial distribution."""
    q = (hits + 1) / (trials + 2)
    spread = np.sqrt(trials * q * (1 - q))
    for z in np.arange(1.96, 4, 1e-3):
        law = stats.binom(trials.astype(int), q)
        reach = z * spread + 1e-4
        inside = law.cdf(np.floor(trials * q + reach)) - law.cdf(np.ceil(trials * q - reach) - 1)
        if inside.prod() >= level:
            return z
    raise AssertionError


@pytest.mark.parametrize("groups", [1, 12])
def test_the_critical_value_is_that_of_binomial_chances(groups):
    hits, trials = HITS[:groups], TRIALS[:groups]
    with jax.enable_x64(True):
        found = RATES(hits, trials)
        sample = RateSample(jnp.asarray(hits / trials), jnp.asarray(trials))
        wanted = wilson(sample, critical_value(hits, trials))
    np.testing.assert_allclose(found.low, wanted.low, atol=3e-4)
    np.testing.assert_allclose(found.high, wanted.high, atol=3e-4)
    single = RATES(hits.astype(np.float32), trials.astype(np.float32))
    np.testing.assert_allclose(single.low, found.low, atol=2e-3)


def test_large_groups_get_the_interval_of_sidak():
    trials = np.full(6, 1e6)
    rate = np.linspace(0.2, 0.8, 6)
    with jax.enable_x64(True):
        found = RATES(rate * trials, trials)
        z = stats.norm.ppf((1 + 0.95 ** (1 / 6)) / 2)
        wanted = wilson(RateSample(jnp.asarray(rate), jnp.asarray(trials)), z)
    np.testing.assert_allclose(found.high - found.low, wanted.high - wanted.low, rtol=3e-3)


def test_empty_cells_are_nan_and_cost_nothing():
    padded = RATES(np.append(HITS[:11], 0), np.append(TRIALS[:11], 0))
    alone = RATES(HITS[:11], TRIALS[:11])
    assert all(np.isnan(v[11]) for v in padded)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[:11], b, rtol=1e-6), padded, alone)
    broken = RATES(HITS, np.full(12, np.nan))
    assert all(np.isnan(v).all() for v in broken)
    rate = np.array([0.2, 0.4, np.nan])
    found = PAIRS(0, rate, np.array([40.0, 60, 0]))
    two = PAIRS(0, rate[:2], np.array([40.0, 60]))
    assert np.isnan(np.stack(found)[:, 2]).all()
    np.testing.assert_allclose(found.high[:2, :2], two.high, atol=0.01)


def test_differences_of_pairs_have_the_factor_of_tukey():
    groups, n = 6, 400.0
    rate, trials = np.full(groups, 0.5), np.full(groups, n)
    found = PAIRS(1, rate, trials)
    one = RateSample(jnp.asarray(0.5), jnp.asarray(n))
    z = stats.studentized_range.ppf(0.95, groups, 1e6) / np.sqrt(2)
    wanted = newcombe(one, one, z)
    off = ~np.eye(groups, dtype=bool)
    np.testing.assert_allclose(np.asarray(found.high)[off], wanted.high, atol=0.003)
    np.testing.assert_allclose(np.asarray(found.low)[off], wanted.low, atol=0.003)
    assert (np.diagonal(np.stack(found), axis1=1, axis2=2) == 0).all()
    signed = PAIRS(1, np.linspace(0.2, 0.7, groups), trials)
    np.testing.assert_allclose(signed.estimate[3, 0], 0.3, atol=1e-6)
    np.testing.assert_allclose(signed.low, -np.asarray(signed.high).T, atol=1e-6)


def test_max_t_widens_by_the_law_of_the_largest_error():
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(8000, 10))
    scale = np.linspace(1, 5, 10)
    independent = INTERVALS(np.ones(10), (1 + errors * scale).astype(np.float32))
    np.testing.assert_allclose((independent.high - 1) / scale, 2.80, atol=0.1)  # Sidak: 2.7994
    together = INTERVALS(np.ones(10), (1 + errors[:, :1] * scale).astype(np.float32))
    np.testing.assert_allclose((together.high - 1) / scale, 1.96, atol=0.06)
    np.testing.assert_allclose(together.low, 2 - np.asarray(together.high), rtol=1e-4)


def test_max_t_by_hand_with_nan_cells():
    estimate = np.array([0.5, np.nan, 0.2, 0.3])
    replicates = np.random.default_rng(1).normal(0.4, 0.1, (50, 4))
    replicates[:5, 2], replicates[:, 3] = np.nan, 0.3
    with jax.enable_x64(True):
        found = INTERVALS(estimate, replicates)
    error = np.nanstd(replicates, axis=0, ddof=1)
    sizes = np.abs(replicates - estimate)[:, [0, 2]] / error[[0, 2]]
    z = np.quantile(np.nanmax(sizes, axis=1), 0.95)
    np.testing.assert_allclose(found.high[jnp.array([0, 2])], (estimate + z * error)[[0, 2]], atol=1e-12)
    assert np.isnan(found.low[jnp.array([1, 3])]).all()  # no estimate; no spread


def test_levels_sweep_under_vmap():
    sample = RateSample(jnp.asarray(HITS / TRIALS, jnp.float32), jnp.asarray(TRIALS, jnp.float32))
    swept = jax.jit(jax.vmap(lambda level: simultaneous_rates(sample, level)))(np.array([0.8, 0.95, 0.99]))
    np.testing.assert_allclose(swept.high[1], RATES(HITS, TRIALS).high, rtol=1e-5)
    assert (np.diff(swept.high, axis=0) > 0).all()
    assert (np.diff(swept.low, axis=0) < 0).all()


def test_wrong_arguments_are_refused():
    sample = RateSample(jnp.ones(2), jnp.ones(2))
    for call, message in [
        (lambda: simultaneous_rates(sample, 1.0), "level"),
        (lambda: simultaneous_differences(jax.random.key(0), sample, draws=0), "draws"),
        (lambda: max_t(np.ones(3), np.ones((10, 2))), "replicates must be"),
        (lambda: max_t(np.ones(2), np.ones((1, 2))), "replicates must be"),
    ]:
        with pytest.raises(InputError, match=message):
            call()


OPTIMIZED: dict = {"xla_backend_optimization_level": 2, "xla_llvm_disable_expensive_passes": False}


def covers(bounds, truth):
    return ((bounds.low <= truth + 1e-6) & (truth <= bounds.high + 1e-6)).all()


def cells_covered(hits, true):
    """Whether joint and single intervals cover all cells, of one simulation."""
    sample = RateSample(hits / TRIALS, jnp.asarray(TRIALS, hits.dtype))
    return covers(simultaneous_rates(sample), true), covers(wilson(sample, 1.96), true)


def pairs_covered(hits, true):
    sample = RateSample(hits / TRIALS, jnp.asarray(TRIALS, hits.dtype))
    # A key of its own for each simulation: the noise of one set of draws would not average out.
    key = jax.random.fold_in(jax.random.key(0), jnp.sum(hits * jnp.arange(1, 13) ** 2).astype(jnp.uint32))
    found = simultaneous_differences(key, sample, draws=400)
    return covers(found, true[:, None] - true[None, :])


@functools.cache
def over_simulations(one):
    """The mean of ``one(hits, true)`` over simulations, hits [simulations, groups]."""
    every = lambda hits, true: jax.lax.map(lambda h: one(h, true), hits, batch_size=100)  # noqa: E731
    return jax.jit(every, compiler_options=OPTIMIZED)


@pytest.mark.slow
@pytest.mark.parametrize("rates", [(0.1, 0.5), (0.5, 0.1), (0.05, 0.05)])
def test_joint_intervals_cover_at_their_level_in_groups_of_30_to_3000(rates):
    joint, single = coverage(cells_covered, rates)  # joint: .943, .959 and .948
    assert joint == pytest.approx(0.95, abs=0.01)
    assert single < 0.7


@pytest.mark.slow
@pytest.mark.parametrize("rates", [(0.1, 0.5), (0.5, 0.1)])
def test_joint_intervals_of_pairs_cover_at_their_level(rates):
    # Over 10,000 simulations with draws of their own, twice and three times: .951, .952 and .950, .949, .951.
    assert coverage(pairs_covered, rates) == pytest.approx(0.95, abs=0.01)


def coverage(one, rates, simulations=2000):
    true = np.linspace(rates[0], rates[1], 12)
    hits = np.random.default_rng(7).binomial(TRIALS.astype(int), true, (simulations, 12))
    found = over_simulations(one)(hits.astype(np.float32), true.astype(np.float32))
    return jax.tree.map(lambda v: float(np.mean(v)), found)
