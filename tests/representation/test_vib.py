"""The variational bottleneck: its loss by loops, its prediction by averages, its rate in closed form."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import norm

from lrn import nets
from lrn.check import InputError
from lrn.representation.vib import Posterior, VIBConfig, encode, posterior, predict, rate, vib

ENCODER, DECODER = nets.mlp(4, (3,)), nets.mlp(3, ())
X = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
BATCH = {"x": X, "label": np.array([0, 1, 2, 1, 0])}


@jax.jit
def first(config):
    """The state before the first step, its metrics, and the noise that the step drew."""
    learner = vib(ENCODER, DECODER, config)
    state = learner.init(jax.random.key(0), BATCH)
    _, metrics = learner.step(jax.random.key(1), state, BATCH)
    noise_key, *_ = jax.random.split(jax.random.key(1), 3)
    noise = jax.random.normal(noise_key, (config.samples, 5, 2))
    return state, metrics, noise, ENCODER.apply(state.params["encoder"], (), X)[0]


def test_the_loss_by_loops():
    for beta in (1e-3, 0.5):
        config = VIBConfig(beta=beta, shift=1.0, samples=2)
        state, metrics, noise, raw = jax.device_get(first(config))
        mean, std = raw[:, :2], np.log1p(np.exp(raw[:, 2:] - 1.0))
        kernel, bias = state.params["decoder"]["head"]["kernel"], state.params["decoder"]["head"]["bias"]
        distortion, right = [], []
        for draw in noise:
            for i in range(5):
                log_p = log_softmax((mean[i] + std[i] * draw[i]) @ kernel + bias)
                distortion.append(-log_p[BATCH["label"][i]])
                right.append(log_p.argmax() == BATCH["label"][i])
        rates = [
            sum(0.5 * (m**2 + s**2 - 1 - 2 * np.log(s)) for m, s in zip(a, b)) for a, b in zip(mean, std)
        ]
        assert metrics["cross_entropy"] == pytest.approx(np.mean(distortion), rel=1e-5)
        assert metrics["rate"] == pytest.approx(np.mean(rates), rel=1e-5)
        assert metrics["loss"] == pytest.approx(np.mean(distortion) + beta * np.mean(rates), rel=1e-5)
        assert metrics["accuracy"] == pytest.approx(np.mean(right))


def test_the_rate_is_the_divergence_of_the_prior_by_integration():
    q = Posterior(jnp.array([[0.7, -1.0]]), jnp.array([[0.3, 1.5]]))
    t = np.linspace(-15, 15, 40_001)
    total = 0.0
    for m, s in ((0.7, 0.3), (-1.0, 1.5)):
        p = norm.pdf(t, m, s)
        total += np.trapezoid(p * (norm.logpdf(t, m, s) - norm.logpdf(t)), t)
    assert float(rate(q)[0]) == pytest.approx(total, rel=1e-5)


def test_predictions_average_probabilities_over_draws():
    config = VIBConfig(shift=0.0)
    state = vib(ENCODER, DECODER, config).init(jax.random.key(2), BATCH)
    key = jax.random.key(3)

    @jax.jit
    def both(key):
        keys = jax.random.split(key, 4)
        q = encode(ENCODER, state, jnp.asarray(X), config)
        draws = [q.mean + q.std * jax.random.normal(k, q.mean.shape) for k in keys]
        logits = [DECODER.apply(state.params["decoder"], (), code)[0] for code in (q.mean, *draws)]
        given = [
            predict((ENCODER, DECODER), state, jnp.asarray(X), config, k, n) for k, n in ((None, 1), (key, 4))
        ]
        return logits, given

    (mean, *drawn), (by_mean, by_draws) = jax.device_get(both(key))
    np.testing.assert_allclose(by_mean, log_softmax(mean, axis=1), rtol=1e-5)
    expected = np.log(np.mean([softmax(one, axis=1) for one in drawn], axis=0))
    np.testing.assert_allclose(by_draws, expected, rtol=1e-4)


def test_a_traced_beta_that_is_not_above_zero_gives_nan():
    config = VIBConfig(beta=1e-3, shift=1.0, samples=2)
    assert np.isnan(first(dataclasses.replace(config, beta=jnp.float32(-1e-3)))[1]["loss"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: VIBConfig(beta=0.0), "beta must be a finite number above 0"),
        (lambda: VIBConfig(beta=-1.0), "beta"),
        (lambda: VIBConfig(samples=0), "samples"),
        (lambda: posterior(jnp.ones((2, 3))), "make its last layer even"),
        (lambda: vib(ENCODER, DECODER, VIBConfig()).init(jax.random.key(0), {"x": X}), "must have either"),
    ],
)
def test_wrong_input_is_refused_by_the_variational_bottleneck(call, said):
    with pytest.raises(InputError, match=said):
        call()
