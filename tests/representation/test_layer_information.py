"""Estimates of information in layers: by loops, by integration, and their known failures."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from lrn.check import InputError
from lrn.representation.layer_information import added_noise, binned, gaussian_information, log_densities

RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(60, 2)).astype(np.float32)
LABELS = (CODES[:, 0] > 0).astype(np.int32)
bins, bounds = jax.jit(binned), jax.jit(added_noise)


def entropy(rows):
    """The entropy of rows, by counting."""
    counts = np.unique(rows, axis=0, return_counts=True)[1] / len(rows)
    return -(counts * np.log(counts)).sum()


def test_binned_codes_by_counting():
    for width in (0.3, 1.0):
        found = bins(CODES, LABELS, width)
        rows = np.floor(CODES / np.float32(width))
        both = np.c_[rows, LABELS]
        _, inverse, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        assert found.entropy == pytest.approx(entropy(rows), rel=1e-5)
        about = entropy(rows) + entropy(LABELS[:, None]) - entropy(both)
        assert found.about_labels == pytest.approx(about, rel=1e-4, abs=1e-6)
        assert found.alone == pytest.approx(np.mean(counts[inverse.reshape(-1)] == 1), rel=1e-5)


def test_the_width_alone_decides_the_binned_entropy_of_a_deterministic_network():
    """The known failure: any value between 0 and log n, for the same code."""
    narrow, wide = bins(CODES, LABELS, 1e-6), bins(CODES + 50, LABELS, 1000.0)
    assert narrow.entropy == pytest.approx(math.log(60), rel=1e-5)
    assert narrow.about_labels == pytest.approx(entropy(LABELS[:, None]), rel=1e-4)  # whatever the code
    assert narrow.alone == 1
    assert wide.entropy == pytest.approx(0, abs=1e-6)
    assert wide.alone == 0
    assert np.isnan(bins(CODES, LABELS, -1.0).entropy)


def mixture(mean, std, weight, at):
    return sum(w * norm.pdf(at, m, s) for m, s, w in zip(mean, std, weight))


def exact(mean, std, weight):
    """I(X; T) of a mixture in one dimension, by integration."""
    at = np.linspace(-20, 20, 200_001)
    whole = mixture(mean, std, weight, at)
    total = -np.trapezoid(np.where(whole > 0, whole * np.log(np.maximum(whole, 1e-300)), 0), at)
    return total - sum(w * (0.5 + 0.5 * math.log(2 * math.pi) + math.log(s)) for s, w in zip(std, weight))


def test_the_information_of_a_noisy_encoder_is_the_integral_between_its_bounds():
    mean = np.array([-1.0, 0.0, 0.3, 2.0])
    estimate = jax.jit(gaussian_information, static_argnames="draws")
    for std, weight in (
        (np.full(4, 0.5), np.full(4, 0.25)),
        (np.array([0.2, 1.0, 0.5, 2.0]), np.array([0.1, 0.2, 0.3, 0.4])),
    ):
        args = [jnp.asarray(v, jnp.float32) for v in (mean[:, None], std[:, None], weight)]
        found = float(estimate(jax.random.key(0), *args, draws=40_000))
        assert found == pytest.approx(exact(mean, std, weight), abs=0.01)
    low, high = bounds(jnp.asarray(mean[:, None], jnp.float32), 0.5)
    assert low < exact(mean, np.full(4, 0.5), np.full(4, 0.25)) < high
    loop = [
        -np.mean([math.log(np.mean(np.exp(-((m - mean) ** 2) / (part * 0.25)))) for m in mean])
        for part in (8, 2)
    ]
    np.testing.assert_allclose([low, high], loop, rtol=1e-5)


def test_codes_that_are_near_each_other_and_far_from_zero():
    """Against double precision; products of matrices in single precision were off by 70 nats here."""
    std = 1e-3
    codes = np.random.default_rng(1).normal(size=(20, 3)) + 20
    codes = np.concatenate([codes, codes + std / 2]).astype(np.float32)
    square = np.sum((codes[:, None].astype(float) - codes[None]) ** 2, -1) / std**2
    found = bounds(jnp.asarray(codes), std)
    for value, part in zip(found, (8, 2)):
        assert value == pytest.approx(-np.log(np.exp(-square / part).mean(1)).mean(), rel=1e-4)
    log_p = jax.jit(log_densities)(jnp.asarray(codes), jnp.asarray(codes), jnp.full(codes.shape, std))
    expected = -square / 2 - 3 * math.log(std * math.sqrt(2 * math.pi))
    np.testing.assert_allclose(log_p, expected, rtol=1e-4, atol=1e-2)


def test_values_that_are_no_codes_or_weights_give_nan():
    codes = jnp.asarray(CODES)
    assert np.isnan(bins(codes.at[3, 0].set(jnp.inf), LABELS, 0.3)).all()

    @jax.jit
    def slopes(weight, std):
        found = jax.value_and_grad(lambda m: gaussian_information(jax.random.key(0), m, std, weight))(codes)
        return found, jax.grad(lambda m: added_noise(m, std[0, 0]).low)(codes)

    one, weight = jnp.ones_like(codes), jnp.full(60, 1 / 60)
    (value, slope), other = slopes(weight, one)
    assert np.isfinite(slope).all()
    assert np.isfinite(other).all()
    (uniform, _), _ = slopes(2 * weight, one)
    assert np.isfinite(value)
    assert np.isnan(uniform)
    assert np.isnan(slopes(weight, -one)[0][1]).any()
    assert np.isnan(slopes(weight, -one)[1]).any()


def test_a_deterministic_encoder_is_said_to_have_infinite_information():
    codes = jnp.asarray(CODES)
    assert np.isposinf(bounds(codes, 0.0)).all()
    assert np.isnan(bounds(codes, -1.0)).all()
    estimate = jax.jit(gaussian_information)
    std = jnp.ones_like(codes)
    assert np.isposinf(estimate(jax.random.key(0), codes, std.at[3, 1].set(0)))
    assert np.isnan(estimate(jax.random.key(0), codes, -std))
    # A noise that is added only to measure decides the value: from log n to 0.
    values = [float(bounds(codes, noise).high) for noise in (1e-4, 0.3, 100.0)]
    assert values[0] == pytest.approx(math.log(60), rel=1e-3)
    assert values[0] > values[1] > values[2]
    assert values[2] < 1e-3


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: binned(jnp.ones(3), jnp.ones(3, int), 1.0), r"floats \[n, dim\]"),
        (lambda: binned(jnp.ones((3, 1)), jnp.ones(3), 1.0), "labels must be integers"),
        (lambda: binned(jnp.ones((3, 1)), jnp.ones(3, int), 0.0), "width"),
        (lambda: added_noise(jnp.ones((3, 1)), -1.0), "noise"),
        (lambda: gaussian_information(jax.random.key(0), jnp.ones((3, 1)), jnp.ones((2, 1))), "std must be"),
    ],
)
def test_wrong_input_is_refused_by_estimates(call, said):
    with pytest.raises(InputError, match=said):
        call()
