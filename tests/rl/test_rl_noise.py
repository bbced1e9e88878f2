"""Noise: variance, spectrum and autocorrelation agree with theory, also across calls."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal
from scipy import stats as reference

from lrn import check
from lrn.rl.exploration import colored, either, ornstein_uhlenbeck, pink, white

LENGTH = 512


def path(noise, steps=LENGTH, shape=(400,), seed=0):
    """A path of a noise from its start, [steps, *shape]."""
    init, draw = jax.random.split(jax.random.key(seed))
    return np.asarray(jax.jit(lambda: noise.sample(draw, noise.init(init, shape), steps)[0])())


KINDS = {
    "white": white(),
    "OU": ornstein_uhlenbeck(0.15, 1.0),
    "pink": pink(LENGTH),
    "red": colored(2.0, LENGTH),
    "beta .5": colored(0.5, LENGTH),
}


@pytest.fixture(scope="module")
def paths():
    return {name: path(noise) for name, noise in KINDS.items()}


@pytest.mark.parametrize("name", list(KINDS))
def test_every_step_is_standard_normal(paths, name):
    x = paths[name]
    # Mean, variance and distribution over 400 paths, at several steps.
    for t in (0, 1, 100, 511):
        assert abs(x[t].mean()) < 4 / np.sqrt(400)
        assert abs(x[t].var() - 1) < 4 * np.sqrt(2 / 400)
        assert reference.kstest(x[t], "norm").pvalue > 1e-3
    assert (x**2).mean() == pytest.approx(1.0, abs=0.12 if name == "red" else 0.06)


@pytest.mark.parametrize(("name", "beta"), [("white", 0.0), ("beta .5", 0.5), ("pink", 1.0), ("red", 2.0)])
def test_the_spectrum_falls_as_it_should(paths, name, beta):
    """The log-log slope of the averaged periodogram, without the mean and the Nyquist frequency, is -beta."""
    frequency, power = signal.periodogram(paths[name], axis=0, detrend=False)  # pyright: ignore[reportArgumentType]
    inner = slice(1, -1)
    slope = np.polyfit(np.log(frequency[inner]), np.log(power[inner].mean(1)), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.05)


def test_a_beta_of_zero_is_white(paths):
    x = path(colored(0.0, LENGTH))
    for lag in (1, 7):
        assert abs((x[lag:] * x[:-lag]).mean()) < 4 / np.sqrt(x[lag:].size)


def test_ou_autocorrelation():
    theta, dt = 0.3, 0.5
    x = path(ornstein_uhlenbeck(theta, dt), steps=400, shape=(500,))
    for lag in (1, 5, 10):
        assert (x[lag:] * x[:-lag]).mean() == pytest.approx(np.exp(-theta * dt * lag), abs=0.03)


def test_the_color_orders_the_correlation(paths):
    lag = 10
    correlation = [(paths[n][lag:] * paths[n][:-lag]).mean() for n in ("white", "beta .5", "pink", "red")]
    assert np.all(np.diff(correlation) > 0.05)


def test_dimensions_are_independent():
    for noise in KINDS.values():
        x = path(noise, steps=1, shape=(3000, 2))[0]
        assert abs(np.corrcoef(x.T)[0, 1]) < 0.07


def test_segments_are_independent_and_start_anew():
    """Values of pink noise are correlated within a segment and independent across its end."""
    noise = pink(16)
    x = path(noise, steps=32, shape=(4000,))
    within, across = ((x[t] * x[t + 1]).mean() for t in (14, 15))
    assert abs(across) < 0.06
    assert within > 0.2
    assert x[16:].var() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("name", ["white", "OU", "short pink"])
def test_it_goes_on_from_its_state(name):
    """Noise drawn in two calls has the distribution of noise drawn in one; within a segment it is equal."""
    noise = {**KINDS, "short pink": pink(12)}[name]
    init, one, two = jax.random.split(jax.random.key(3), 3)
    state = noise.init(init, (3000,))
    first, middle = noise.sample(one, state, 5)
    second, _ = noise.sample(two, middle, 5)
    joined = np.concatenate([first, second])
    if name == "short pink":
        np.testing.assert_array_equal(joined, noise.sample(two, state, 10)[0])  # within its first segment
    at_once = path(noise, steps=10, shape=(3000,), seed=5)
    np.testing.assert_allclose(np.cov(joined), np.cov(at_once), atol=0.13)


def test_beta_is_swept_in_one_program():
    def slope(beta):
        return colored(beta, 64).init(jax.random.key(0), (200,)).segment

    x = np.asarray(jax.jit(jax.vmap(slope))(jnp.array([0.0, 2.0])))
    correlation = (x[:, 5:] * x[:, :-5]).mean((1, 2))
    assert abs(correlation[0]) < 0.05
    assert correlation[1] > 0.5


def test_odd_lengths_have_unit_variance_too():
    x = path(pink(25), steps=25, shape=(4000,))
    np.testing.assert_allclose(x.var(1), 1.0, atol=0.1)


def test_the_reddest_noise_that_is_allowed_is_finite():
    x = path(colored(9.2, 10_000), steps=3, shape=(2000,))
    np.testing.assert_allclose(x.var(1), 1.0, atol=0.15)


def test_keys_are_used_once(key_reuse_checks):
    for noise in (white(), ornstein_uhlenbeck(), pink(4)):
        init, draw = jax.random.split(jax.random.key(0))
        jax.block_until_ready(jax.jit(lambda a, b, n=noise: n.sample(b, n.init(a, (2,)), 9))(init, draw))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ornstein_uhlenbeck(theta=0.0), "theta must be a finite number above 0"),
        (lambda: ornstein_uhlenbeck(dt=-1.0), "dt must be a finite number above 0"),
        (lambda: pink(1), "length must be at least 2"),
        (lambda: colored(float("nan"), 10), "beta must lie between"),
        (lambda: colored(10.0, 10_000), "has a power of 10,000.10 at its lowest frequency, beyond float32"),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(check.InputError, match=words):
        make()


def test_either_is_one_of_two_noises_and_can_be_swept():
    """Lanes with a number below one half have the first's correlation, others the second's."""

    def lane(which, key):
        noise = either(ornstein_uhlenbeck(2.0), ornstein_uhlenbeck(0.05), which)
        init, draw = jax.random.split(key)
        return noise.sample(draw, noise.init(init, (300,)), 64)[0]

    x = jax.jit(jax.vmap(lane))(jnp.array([0.0, 1.0]), jax.random.split(jax.random.key(3), 2))
    x = np.asarray(x)  # [which, steps, paths]
    lagged = (x[:, 4:] * x[:, :-4]).mean((1, 2))
    np.testing.assert_allclose(lagged, np.exp(-4 * np.array([2.0, 0.05])), atol=0.06)
    np.testing.assert_allclose(x.var((1, 2)), [1.0, 1.0], atol=0.12)
