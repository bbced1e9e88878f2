"""The evidence lower bound against numerical integration in two dimensions, and its parts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from lrn import nets
from lrn.check import InputError
from lrn.representation import elbo
from lrn.representation.codes import Autoencoder, codec, decode, encode, posterior
from lrn.representation.linear_codes import pca, rotated
from lrn.representation.vae import VAEConfig, vae

RNG = np.random.default_rng(0)
INTO = RNG.normal(size=(3, 4)).astype(np.float32) * 0.4
BACK = RNG.normal(size=(2, 3)).astype(np.float32)
SCALE = 0.7


def curved(likelihood):
    """A model of two codes with a curved decoder, whose weights are known."""
    encoder = nets.from_function(lambda key, x: {"w": jnp.asarray(INTO)}, lambda p, x: jnp.tanh(x @ p["w"]))
    decoder = nets.from_function(
        lambda key, z: {"w": jnp.asarray(BACK)}, lambda p, z: jnp.sin(z @ p["w"]) + 0.5 * (z @ p["w"])
    )
    return Autoencoder(encoder, decoder, likelihood)


def integrated(likelihood, x):
    """log p(x), E_q log p(x | z), KL(q || p(z)) and KL(q || p(z | x)) of each row, by sums over a grid."""
    axis = np.linspace(-8, 8, 321)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    cell = (axis[1] - axis[0]) ** 2
    out = np.sin(z @ BACK) + 0.5 * (z @ BACK)
    log_prior = scipy.stats.norm.logpdf(z).sum(1)
    found = []
    for row in x:
        moments = np.tanh(row @ INTO)
        if likelihood == "gaussian":
            log_p = scipy.stats.norm.logpdf(row, out, SCALE).sum(1)
        else:
            log_p = (row * -np.logaddexp(0, -out) + (1 - row) * -np.logaddexp(0, out)).sum(1)
        log_q = scipy.stats.norm.logpdf(z, moments[:2], np.exp(moments[2:] / 2)).sum(1)
        q = np.exp(log_q) * cell
        assert abs(q.sum() - 1) < 1e-6
        log_x = np.log(np.sum(np.exp(log_prior + log_p)) * cell)
        log_posterior = log_prior + log_p - log_x
        found.append([log_x, q @ log_p, q @ (log_q - log_prior), q @ (log_q - log_posterior)])
    return np.array(found).T


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_bound_equals_numerical_integration(likelihood):
    model = curved(likelihood)
    x: Any = RNG.uniform(size=(4, 3)).astype(np.float32)
    params, states = elbo.init_model(model, jax.random.key(0), x)

    @jax.jit
    def passes(x):
        def one(key):
            return elbo.forward(model, params, states, key, x, SCALE)[0]

        return jax.vmap(one)(jax.random.split(jax.random.key(1), 8000))

    found = passes(x)
    log_x, likely, rate, gap = integrated(likelihood, x)
    np.testing.assert_allclose(np.sum(found.rate[0], axis=1), rate, rtol=1e-5)
    distortion = np.asarray(found.distortion, np.float64)
    error = distortion.std(0) / np.sqrt(len(distortion))
    assert (error < 0.08).all()
    np.testing.assert_array_less(np.abs(-distortion.mean(0) - likely), 4.5 * error)
    # The bound lies below log p(x) by the divergence of q from the true posterior.
    bound = -distortion.mean(0) - np.sum(found.rate[0], axis=1)
    np.testing.assert_array_less(np.abs(log_x - bound - gap), 4.5 * error + 1e-5)
    assert (gap > 10 * error).all()  # so that the bound is no identity here


def test_divergences_of_normals():
    """Against an integral of scipy's densities."""
    z = np.linspace(-30, 30, 60_001)
    p: Any = scipy.stats.norm(0.4, 1.7)
    q: Any = scipy.stats.norm(-1.1, 0.6)
    expected = np.sum(q.pdf(z) * (q.logpdf(z) - p.logpdf(z))) * (z[1] - z[0])
    divergence = jax.jit(elbo.gaussian_kl)
    found = divergence(*map(jnp.float32, (-1.1, 2 * np.log(0.6), 0.4, 2 * np.log(1.7))))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert float(divergence(jnp.float32(0), jnp.float32(0), jnp.float32(0), jnp.float32(0))) == 0
    density = jax.jit(elbo.log_density)(*map(jnp.float32, (0.3, 0.4, 2 * np.log(1.7))))
    np.testing.assert_allclose(density, p.logpdf(0.3), rtol=1e-6)


def test_free_bits():
    rate = np.array([[0.1, 2.0], [0.3, 4.0]], np.float32)
    both = jax.jit(jax.value_and_grad(elbo.free_bits))
    value, slope = both(rate, 0.5)
    assert float(value) == 3.5
    assert float(both(rate, 0.0)[0]) == pytest.approx(3.2)
    # A code below its free bits has no gradient; the other has.
    np.testing.assert_allclose(slope, [[0, 0.5], [0, 0.5]])


def starts(model, batch):
    """Trace the start of a training."""
    jax.eval_shape(vae(model, VAEConfig()).init, jax.random.key(0), batch)


@pytest.fixture(scope="module")
def trained():
    """A small VAE after no step, with its data."""
    model = Autoencoder(nets.mlp(4, (8,)), nets.mlp_decoder((4, 4, 1), (8,)))
    x = RNG.uniform(size=(10, 4, 4, 1)).astype(np.float32)
    learner = vae(model, VAEConfig())
    return model, jax.jit(learner.init)(jax.random.key(0), {"image": x}), x


def test_codes_and_their_decoding(trained):
    model, state, x = trained

    @jax.jit
    def all_of(state):
        mean, log_variance = posterior(model, state, x, chunk=10)
        raw = model.encoder.apply(state.params["encoder"], (), x)[0]
        logits = model.decoder.apply(state.params["decoder"], (), mean)[0]
        in_parts = encode(model, state, x, chunk=4)
        return mean, log_variance, raw, in_parts, decode(model, state, mean, chunk=4), logits

    mean, log_variance, raw, in_parts, images, logits = all_of(state)
    np.testing.assert_allclose(np.concatenate([mean, log_variance], 1), raw, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(in_parts, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(images, scipy.special.expit(logits), rtol=1e-5, atol=1e-6)
    assert images.shape == x.shape


def test_linear_codecs():
    x: Any = (RNG.normal(size=(40, 2)) @ RNG.normal(size=(2, 6)) + 1).astype(np.float32).reshape(40, 3, 2)
    both = pca(x, 2)
    codes = both.encode(x)
    np.testing.assert_allclose(np.cov(codes.T, bias=True), np.eye(2), atol=1e-4)
    np.testing.assert_allclose(both.decode(codes), x, atol=1e-4)
    turn: Any = np.linalg.qr(RNG.normal(size=(2, 2)))[0].astype(np.float32)
    turned = rotated(both, turn)
    np.testing.assert_allclose(turned.encode(x), codes @ turn, atol=1e-5)
    np.testing.assert_allclose(turned.decode(turned.encode(x)), x, atol=1e-4)
    # A component without variance, but for rounding, gives codes of 0, and no NaN.
    wide = pca(x, 5)
    np.testing.assert_allclose(wide.decode(wide.encode(x)), x, atol=1e-3)
    np.testing.assert_array_equal(np.abs(wide.encode(x)).max(0) > 0, [True, True, False, False, False])
    with pytest.raises(InputError, match="have 6 principal components, and 7 are asked for"):
        pca(x, 7)
    with pytest.raises(InputError, match="a rotation must be"):
        rotated(both, turn[0])


def test_bad_input_is_one_sentence(trained):
    model, state, x = trained
    with pytest.raises(InputError, match=r"the decoder must give an output of the shape \(10, 5, 4, 1\)"):
        starts(model, {"image": jnp.ones((10, 5, 4, 1))})
    odd = model._replace(encoder=nets.mlp(3, ()))
    with pytest.raises(InputError, match=r"the encoder must give moments \[10, 2 z\]"):
        starts(odd, {"image": x})
    with pytest.raises(InputError, match="likelihood 'poisson' is not known"):
        starts(model._replace(likelihood="poisson"), {"image": x})
    with pytest.raises(InputError, match="scale must be a finite number above 0"):
        VAEConfig(scale=0.0)
    with pytest.raises(InputError, match="free must be a finite number, 0 or more"):
        VAEConfig(free=-1.0)
    with pytest.raises(InputError, match="must have one entry 'image' or 'x'"):
        starts(model, {"label": x})
    with pytest.raises(InputError, match=r"codes must be \[n, z\]"):
        decode(model, state, jnp.ones(3))
    with pytest.raises(InputError, match="the state must be that of a generative learner"):
        encode(model, state.params, x)
    # A traced scale that is not above 0 makes value and gradient NaN.
    value, gradient = jax.jit(
        jax.value_and_grad(lambda out, s: jnp.sum(elbo.log_likelihood("gaussian", out, x, s)))
    )(jnp.asarray(x), -1.0)
    assert np.isnan(value)
    assert np.isnan(gradient).all()
    # So does a pixel outside of [0, 1], which has no Bernoulli likelihood, for its own example.
    pixels = jnp.asarray([[0.0, 1.0], [0.5, 1.1]])
    value, gradient = jax.jit(
        lambda out: (
            elbo.log_likelihood("bernoulli", out, pixels),
            jax.grad(lambda out: jnp.sum(elbo.log_likelihood("bernoulli", out, pixels)))(out),
        )
    )(jnp.zeros((2, 2)))
    np.testing.assert_allclose(value, [-2 * np.log(2), np.nan], rtol=1e-6)
    assert np.isfinite(gradient[0]).all()
    assert np.isnan(gradient[1]).all()
    assert jax.eval_shape(codec(model, state).encode, x).shape == (10, 2)
