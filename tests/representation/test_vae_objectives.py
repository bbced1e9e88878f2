"""The losses of the variants of the VAE against loops in numpy, and the estimators of total correlation."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.special import logsumexp

from lrn import config, nets
from lrn.check import InputError
from lrn.representation import elbo
from lrn.representation.ada_gvae import AdaGVAEConfig, ada_gvae, averaged_pair, shared_codes
from lrn.representation.annealed_vae import AnnealedVAEConfig, annealed_vae, capacity_at
from lrn.representation.beta_tcvae import BetaTCVAEConfig, beta_tcvae
from lrn.representation.beta_vae import BetaVAEConfig, beta_vae
from lrn.representation.codes import Autoencoder, encode
from lrn.representation.dip_vae import DIPVAEConfig, dip_terms, dip_vae
from lrn.representation.factor_regression import FactorRegressionConfig, factor_regression
from lrn.representation.factor_vae import (
    FactorVAEConfig,
    density_ratio,
    discriminator_loss,
    factor_vae,
    permute_codes,
)
from lrn.representation.ivae import IVAEConfig, ivae, joint, prior_moments
from lrn.representation.total_correlation import (
    gaussian_total_correlation,
    log_densities,
    stratified_weights,
    total_correlation,
)
from lrn.representation.vae import VAEConfig, vae

RNG = np.random.default_rng(0)
N, ROWS = 6, 50
ONE: Any = 1
X: Any = RNG.uniform(size=(N, 5)).astype(np.float32)
MODEL = Autoencoder(nets.mlp(6, (4,)), nets.mlp(5, (4,)))
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def passed():
    """A state and a pass of the batch, as numpy arrays of float64, and the parameters."""
    state = begun(vae(MODEL, VAEConfig()))
    found = jax.jit(functools.partial(elbo.forward, MODEL))(state.params, state.net_state, KEY, X)[0]
    return state, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), found)


def begun(learner, batch=None):
    return jax.jit(learner.init)(jax.random.key(0), {"x": X} if batch is None else batch)


def loss_of(learner, state, batch=None, key=KEY):
    """The metrics of a step but the norm of the gradient: without it no gradient is compiled."""

    @jax.jit
    def metrics(key, state, batch):
        found = learner.step(key, state, batch)[1]
        return {name: value for name, value in found.items() if name != "gradient_norm"}

    return metrics(key, state, {"x": X} if batch is None else batch)


def log_q(passed, i, j):
    """log q(z_i | x_j) of each code, [z]."""
    return scipy.stats.norm.logpdf(passed.codes[i], passed.mean[j], np.exp(passed.log_variance[j] / 2))


def correlation(passed, weights):
    """The total correlation by loops over examples and codes."""
    values = []
    for i in range(N):
        joint: Any = logsumexp([np.log(weights[i, j]) + log_q(passed, i, j).sum() for j in range(N)])
        single: Any = [
            logsumexp([np.log(weights[i, j]) + log_q(passed, i, j)[k] for j in range(N)]) for k in range(3)
        ]
        values.append(joint - np.sum(single))
    return np.mean(values)


def test_losses_equal_loops(passed):
    state, p = passed
    bound = p.distortion.mean() + p.rate.sum(1).mean()
    found = loss_of(vae(MODEL, VAEConfig(free=0.3)), state)
    free = np.sum([max(0.3, p.rate[:, j].mean()) for j in range(3)])
    np.testing.assert_allclose(found["loss"], p.distortion.mean() + free, rtol=1e-5)
    np.testing.assert_allclose(found["elbo"], -bound, rtol=1e-5)

    found = loss_of(beta_vae(MODEL, BetaVAEConfig(beta=7.0)), state)
    np.testing.assert_allclose(found["loss"], bound + 6 * p.rate.sum(1).mean(), rtol=1e-5)

    later = state._replace(step=np.int32(30))
    found = loss_of(annealed_vae(MODEL, AnnealedVAEConfig(gamma=5.0, capacity=4.0, ramp=60.0)), later)
    expected = p.distortion.mean() + 5 * abs(p.rate.sum(1).mean() - 2.0)
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(capacity_at(90, 4.0, 60.0), 4.0)

    found = loss_of(beta_tcvae(MODEL, BetaTCVAEConfig(beta=3.0)), state)
    uniform = correlation(p, np.full((N, N), 1 / N))
    np.testing.assert_allclose(found["total_correlation"], uniform, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["loss"], bound + 2 * uniform, rtol=1e-5)

    stratified = np.full((N, N), 1 / (N - 1))
    for i in range(N):
        stratified[i, i] = 1 / ROWS
        stratified[i, (i + 1) % N] = 1 / (N - 1) - 1 / ROWS
    np.testing.assert_allclose(stratified.sum(1), 1)
    weights = jax.jit(lambda: stratified_weights(N, ROWS))()
    np.testing.assert_allclose(weights, stratified, rtol=1e-5)
    found = loss_of(
        beta_tcvae(MODEL, BetaTCVAEConfig(beta=3.0, rows=float(ROWS), sampling="stratified")), state
    )
    np.testing.assert_allclose(found["total_correlation"], correlation(p, stratified), rtol=1e-4, atol=1e-5)


def test_dip_and_labels_equal_loops(passed):
    state, p = passed
    bound = p.distortion.mean() + p.rate.sum(1).mean()
    for kind in ("I", "II"):
        covariance = np.cov(p.mean.T, bias=True)
        if kind == "II":
            covariance += np.diag(np.exp(p.log_variance).mean(0))
        off = sum(covariance[i, j] ** 2 for i in range(3) for j in range(3) if i != j)
        own = sum((covariance[i, i] - 1) ** 2 for i in range(3))
        terms = jax.jit(dip_terms, static_argnums=2)(p.mean, p.log_variance, kind)
        np.testing.assert_allclose(terms, (off, own), rtol=1e-4)
    found = loss_of(dip_vae(MODEL, DIPVAEConfig(off_diagonal=2.0, diagonal=3.0)), state)
    np.testing.assert_allclose(found["loss"], bound + 2 * off + 3 * own, rtol=1e-5)

    labels = RNG.normal(size=(N, 2)).astype(np.float32)
    found = loss_of(
        factor_regression(MODEL, FactorRegressionConfig(weight=7.0)), state, {"x": X, "factors": labels}
    )
    error = np.mean([(p.mean[i, j] - labels[i, j]) ** 2 for i in range(N) for j in range(2)]) * 2
    np.testing.assert_allclose(found["factor_error"], error, rtol=1e-5)
    np.testing.assert_allclose(found["loss"], bound + 7 * error, rtol=1e-5)


def test_factor_vae(passed):
    """The loss and both updates; the codes give no gradient to the autoencoder through the discriminator's
    own loss, which a step with gamma 0 shows: it is the step of a VAE."""
    state, _ = passed
    rival = nets.mlp(1, (4,), activation="leaky_relu")
    learner = factor_vae(MODEL, rival, FactorVAEConfig(gamma=3.0))
    start = begun(learner)._replace(training=state)
    found = jax.jit(learner.step)(KEY, start, {"x": X})
    params = start.discriminator.params
    # The pass has a key of its own, so its codes are those of that key.
    key = jax.random.split(KEY, 4)[0]
    own, _ = jax.jit(functools.partial(elbo.forward, MODEL))(state.params, state.net_state, key, X)
    logits = np.asarray(jax.jit(rival.apply)(params, (), own.codes)[0][:, 0], np.float64)
    bound = np.mean(own.distortion) + np.mean(np.sum(own.rate, axis=1))
    np.testing.assert_allclose(found[1]["total_correlation"], logits.mean(), rtol=1e-4)
    np.testing.assert_allclose(found[1]["loss"], bound + 3 * logits.mean(), rtol=1e-5)
    plain = jax.jit(factor_vae(MODEL, rival, FactorVAEConfig(gamma=0.0)).step)(KEY, start, {"x": X})[0]
    alone = jax.jit(vae(MODEL, VAEConfig()).step)(key, state, {"x": X})[0]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        plain.training.params,
        alone.params,
    )
    assert not np.allclose(plain.discriminator.params["head"]["kernel"], params["head"]["kernel"])
    assert jax.eval_shape(lambda s: encode(MODEL, s, X), found[0]).shape == (N, 3)


def test_the_density_ratio_of_the_best_discriminator():
    """With the logit log q(z) / prod q(z_j) of a normal, the estimate is the closed form."""
    covariance: Any = np.array([[1.0, 0.7, 0.2], [0.7, 2.0, -0.4], [0.2, -0.4, 0.5]])
    z = RNG.multivariate_normal(np.zeros(3), covariance, 100_000)
    logit = scipy.stats.multivariate_normal(np.zeros(3), covariance).logpdf(z) - scipy.stats.norm.logpdf(
        z, 0, np.sqrt(np.diag(covariance))
    ).sum(1)
    expected = -0.5 * np.log(np.linalg.det(covariance) / np.prod(np.diag(covariance)))
    np.testing.assert_allclose(density_ratio(jnp.asarray(logit)), expected, atol=0.01)
    np.testing.assert_allclose(gaussian_total_correlation(jnp.asarray(covariance)), expected, rtol=1e-5)
    np.testing.assert_allclose(gaussian_total_correlation(jnp.diag(jnp.asarray([1.0, 5.0]))), 0, atol=1e-6)
    # No other discriminator has a smaller loss.
    permuted = np.stack([RNG.permutation(column) for column in z.T], 1)
    other = scipy.stats.multivariate_normal(np.zeros(3), covariance).logpdf(
        permuted
    ) - scipy.stats.norm.logpdf(permuted, 0, np.sqrt(np.diag(covariance))).sum(1)
    best = float(discriminator_loss(jnp.asarray(logit), jnp.asarray(other)))
    for scale, shift in ((0.8, 0), (1.2, 0), (1, 0.2), (1, -0.2)):
        changed = discriminator_loss(jnp.asarray(scale * logit + shift), jnp.asarray(scale * other + shift))
        assert float(changed) > best


def test_permuted_codes_are_independent():
    z = RNG.multivariate_normal(np.zeros(2), [[1, 0.9], [0.9, 1]], 4000).astype(np.float32)
    moved = np.asarray(jax.jit(permute_codes)(jax.random.key(0), z))
    np.testing.assert_array_equal(np.sort(moved, axis=0), np.sort(z, axis=0))
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.06
    assert not np.array_equal(moved[:, 0], z[:, 0])


@pytest.mark.parametrize("sampling", ["weighted", "stratified"])
def test_total_correlation_equals_the_closed_form(sampling):
    """Posteriors around normal means: q(z) is normal, with the covariance of the means and the noise."""
    noise, n = 0.6, 1500
    covariance = np.array([[1.0, 0.8], [0.8, 1.0]])
    expected = gaussian_total_correlation(jnp.asarray(covariance + noise * np.eye(2)))

    @jax.jit
    def estimate(key):
        mean_key, code_key = jax.random.split(key)
        mean = jax.random.multivariate_normal(mean_key, jnp.zeros(2), jnp.asarray(covariance), (n,))
        log_variance = jnp.full((n, 2), np.log(noise))
        codes = elbo.draw_codes(code_key, mean, log_variance)
        return total_correlation(codes, mean, log_variance, float("inf"), sampling)

    values = np.array([float(estimate(jax.random.key(i))) for i in range(4)])
    np.testing.assert_allclose(values.mean(), expected, atol=0.03)
    assert expected > 0.1


def test_stratified_densities_are_unbiased():
    """The mean over batches of the estimated q(z) is q(z) over the data; "weighted" is biased."""
    rows, n = 12, 4
    mean = jnp.asarray(RNG.normal(size=(rows, 2)) * 2, jnp.float32)
    log_variance = jnp.full((rows, 2), -1.0)
    code = mean[0] + 0.3

    @jax.jit
    def estimates(key):
        others = 1 + jax.random.permutation(key, rows - 1)[: n - 1]
        batch = jnp.concatenate([jnp.zeros(1, jnp.int32), others])
        codes = mean[batch].at[0].set(code)
        both = [
            log_densities(codes, mean[batch], log_variance[batch], float(rows), sampling)[0][0]
            for sampling in ("stratified", "weighted")
        ]
        return jnp.exp(jnp.stack(both))

    found = np.asarray(jax.vmap(estimates)(jax.random.split(jax.random.key(0), 4000)))
    density = np.exp(scipy.stats.norm.logpdf(code, mean, np.exp(-0.5)).sum(1)).mean()
    error = found.std(0) / np.sqrt(len(found))
    assert abs(found[:, 0].mean() - density) < 4 * error[0] + 1e-6
    assert found[:, 1].mean() - density > 10 * error[1]


def test_pairs_share_codes(passed):
    _, p = passed
    other = p._replace(mean=p.mean[::-1], log_variance=p.log_variance[::-1])
    found = np.asarray(jax.jit(shared_codes)(p.mean, p.log_variance, other.mean, other.log_variance))
    for i in range(N):
        each = [
            scipy_kl(p.mean[i, j], p.log_variance[i, j], other.mean[i, j], other.log_variance[i, j])
            for j in range(3)
        ]
        assert list(found[i]) == [d < (min(each) + max(each)) / 2 for d in each]
    means, spreads = np.stack([p.mean, other.mean]), np.stack([p.log_variance, other.log_variance])
    mean, log_variance = jax.device_get(jax.jit(averaged_pair)(means, spreads, found))
    i, j = np.argwhere(found)[0]
    np.testing.assert_allclose(mean[:, i, j], (p.mean[i, j] + other.mean[i, j]) / 2, rtol=1e-5)
    spread = np.log((np.exp(p.log_variance[i, j]) + np.exp(other.log_variance[i, j])) / 2)
    np.testing.assert_allclose(log_variance[:, i, j], spread, rtol=1e-4)
    i, j = np.argwhere(~found)[0]
    np.testing.assert_allclose(mean[:, i, j], [p.mean[i, j], other.mean[i, j]], rtol=1e-5)
    # A pair of equal inputs shares nothing (no divergence is below the middle), and has the loss of a VAE.
    state = passed[0]
    loss = loss_of(ada_gvae(MODEL, AdaGVAEConfig()), state, {"x": X, "partner": X})
    assert float(loss["shared"]) == 0
    np.testing.assert_allclose(loss["rate"], p.rate.sum(1).mean(), rtol=1e-5)


def scipy_kl(mean, log_variance, other_mean, other_log_variance):
    ratio = np.exp(log_variance - other_log_variance)
    return 0.5 * (ratio - 1 - np.log(ratio) + (mean - other_mean) ** 2 / np.exp(other_log_variance))


@pytest.mark.parametrize("prior_means", [True, False])
def test_ivae(prior_means):
    """The rate is the divergence from the prior of the side variable."""
    side: Any = np.eye(2, dtype=np.float32)[RNG.integers(0, 2, N)]
    prior = nets.mlp(6, ())
    model = MODEL._replace(likelihood="gaussian")
    learner = ivae(model, prior, IVAEConfig(beta=2.0, scale=0.5, prior_means=prior_means))
    batch = {"x": X, "side": side}
    state = begun(learner, batch)
    found = loss_of(learner, state, batch)
    moments = jax.jit(lambda s: model.encoder.apply(s.params["encoder"], (), joint(X, side))[0])(state)
    moments = np.asarray(moments, np.float64)
    mean, log_variance = jax.jit(lambda s: prior_moments(prior, s, side))(state)
    mean = np.asarray(mean) * prior_means
    rate = scipy_kl(moments[:, :3], moments[:, 3:], mean, np.asarray(log_variance)).sum(1).mean()
    np.testing.assert_allclose(found["rate"], rate, rtol=1e-4)
    np.testing.assert_allclose(found["loss"], found["distortion"] + 2 * rate, rtol=1e-5)
    assert jax.eval_shape(lambda s: encode(model, s, joint(X, side)), state).shape == (N, 3)


def test_betas_and_seeds_in_one_call_equal_a_loop():
    configs = [BetaVAEConfig(beta=beta) for beta in (1.0, 4.0)]
    keys = jax.random.split(jax.random.key(0), 2)

    def run(settings, key):
        learner = beta_vae(MODEL, settings)
        first, second = jax.random.split(key)
        state = learner.init(first, {"x": X})
        return learner.step(second, state, {"x": X})

    together = jax.jit(jax.vmap(run))(config.stack(configs), keys)
    for i in range(2):
        alone = jax.jit(run)(configs[i], keys[i])
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-6), together, alone
        )


LABELS: Any = RNG.normal(size=(N, 2)).astype(np.float32)
BATCH = {"x": X, "partner": X[::-1], "factors": LABELS}
SWEPT = {
    "free": lambda v: vae(MODEL, VAEConfig(free=v)),
    "beta": lambda v: beta_vae(MODEL, BetaVAEConfig(beta=v)),
    "gamma": lambda v: annealed_vae(MODEL, AnnealedVAEConfig(gamma=v)),
    "capacity": lambda v: annealed_vae(MODEL, AnnealedVAEConfig(capacity=v)),
    "of total correlation": lambda v: beta_tcvae(MODEL, BetaTCVAEConfig(beta=v)),
    "off diagonal": lambda v: dip_vae(MODEL, DIPVAEConfig(off_diagonal=v)),
    "diagonal": lambda v: dip_vae(MODEL, DIPVAEConfig(diagonal=v)),
    "of pairs": lambda v: ada_gvae(MODEL, AdaGVAEConfig(beta=v)),
    "of labels": lambda v: factor_regression(MODEL, FactorRegressionConfig(weight=v)),
    "beta with labels": lambda v: factor_regression(MODEL, FactorRegressionConfig(beta=v)),
}


def test_swept_weights_below_zero_give_nan(passed):
    """Losses, and the gradient of the one with a maximum."""
    start = passed[0]

    def losses(value):
        found = {name: of(value).step(KEY, start, BATCH)[1]["loss"] for name, of in SWEPT.items()}
        rate = jnp.ones((N, 3))
        return found, jax.grad(lambda rate: elbo.free_bits(rate, value))(rate)

    found, slope = jax.jit(jax.vmap(losses))(jnp.asarray([0.0, 0.5, -0.5, np.nan, np.inf]))
    for name, value in {**found, "slope": slope.sum((1, 2))}.items():
        assert np.isnan(value).tolist() == [False, False, True, True, True], name


def starts(learner, batch):
    """Trace the start of a training."""
    jax.eval_shape(learner.init, jax.random.key(0), batch)


def test_bad_input_is_one_sentence():
    for wrong, sentence in (
        (lambda: BetaVAEConfig(beta=-1.0), "beta must be a finite number, 0 or more"),
        (lambda: AnnealedVAEConfig(ramp=0.0), "ramp must be a finite number above 0"),
        (lambda: BetaTCVAEConfig(sampling="all"), "sampling 'all' is not known"),
        (lambda: DIPVAEConfig(kind="III"), "kind 'III' is not known"),
        (lambda: FactorVAEConfig(gamma=-1.0), "gamma must be a finite number, 0 or more"),
        (lambda: IVAEConfig(prior_means=ONE), "prior_means must be True or False"),
        (lambda: stratified_weights(6, 5), "rows must be at least the batch of 6"),
        (lambda: total_correlation(X, X[:3], X), "must be .n, z. of one shape"),
        (lambda: total_correlation(X[:1], X[:1], X[:1]), "a batch of 1 has no total correlation"),
        (lambda: gaussian_total_correlation(jnp.ones(3)), "a covariance must be"),
        (
            lambda: starts(factor_vae(MODEL, nets.mlp(2, ()), FactorVAEConfig()), {"x": X}),
            "the discriminator must give one logit a code",
        ),
        (lambda: starts(ada_gvae(MODEL, AdaGVAEConfig()), {"x": X}), "needs the entry 'partner'"),
        (
            lambda: starts(
                factor_regression(MODEL, FactorRegressionConfig()), {"x": X, "factors": jnp.ones((N, 4))}
            ),
            "there are 4 factors and 3 codes",
        ),
        (
            lambda: starts(factor_regression(MODEL, FactorRegressionConfig()), {"x": X}),
            "a batch needs the entry 'factors'",
        ),
        (lambda: starts(ivae(MODEL, nets.mlp(6, ()), IVAEConfig()), {"x": X}), "needs the entry 'side'"),
        (
            lambda: starts(ivae(MODEL, nets.mlp(6, ()), IVAEConfig()), {"side": X[:3], "x": X}),
            r"floats \[6, k\], got \(3, 5\)",
        ),
        (
            lambda: starts(ivae(MODEL, nets.mlp(4, ()), IVAEConfig()), {"x": X, "side": X}),
            "the prior gives moments of 2 codes and the encoder of 3",
        ),
    ):
        with pytest.raises(InputError, match=sentence):
            wrong()
    # Fewer rows than the batch has, where they are traced, give NaN.
    assert np.isnan(jax.jit(lambda rows: total_correlation(X, X, X, rows, "stratified"))(3.0))
