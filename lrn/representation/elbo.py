"""The evidence lower bound of an autoencoder, E_q log p(x | z) - KL(q(z | x) || p(z)), in nats.

The posterior q is a normal distribution with a diagonal covariance. The first term is estimated by one code
for each example; the second has a closed form.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, nan_where, zero_or_more
from lrn.representation.codes import LIKELIHOODS, Autoencoder, split_moments
from lrn.types import Array, Key

Parts = dict[str, Any]  # from "encoder" and "decoder" to parameters or to the state of the network


class Pass(NamedTuple):
    """One pass of a batch through encoder and decoder.

    mean, log_variance: of the posterior, [batch, z]. codes: the codes drawn from the posterior, [batch, z].
    output: the decoder's, of the shape of the inputs.
    distortion: -log p(x | z) of each example, [batch], in nats.
    rate: KL(q(z_j | x) || p(z_j)) of each example and code, [batch, z], in nats.
    """

    mean: Array
    log_variance: Array
    codes: Array
    output: Array
    distortion: Array
    rate: Array


def draw_codes(key: Key, mean: Array, log_variance: Array) -> Array:
    """Codes [n, z] drawn from normal distributions (Kingma and Welling 2014): mean + deviation * noise."""
    noise = jax.random.normal(key, mean.shape, mean.dtype)
    return mean + jnp.exp(0.5 * log_variance) * noise


def gaussian_kl(
    mean: Array, log_variance: Array, prior_mean: ArrayLike = 0.0, prior_log_variance: ArrayLike = 0.0
) -> Array:
    """KL(N(mean, variance) || N(prior_mean, prior_variance)) of each entry, in nats.

    Args:
        mean, log_variance: [...].
        prior_mean, prior_log_variance: scalars, or of the shape of ``mean``.
    """
    ratio = log_variance - prior_log_variance
    distance = jnp.square(mean - prior_mean) * jnp.exp(-jnp.asarray(prior_log_variance))
    # expm1(r) - r loses no digits near r = 0, where exp(r) - 1 - r would.
    return 0.5 * (jnp.expm1(ratio) - ratio + distance)


def log_density(codes: Array, mean: Array, log_variance: Array) -> Array:
    """The log density of N(mean, variance) at each entry of the codes, in nats; the shapes broadcast."""
    distance = jnp.square(codes - mean) * jnp.exp(-log_variance)
    return -0.5 * (distance + log_variance + math.log(2 * math.pi))


def log_likelihood(likelihood: str, output: Array, x: Array, scale: ArrayLike = 1.0) -> Array:
    """log p(x | output) of each example, [batch], in nats.

    For pixels between 0 and 1 the Bernoulli "likelihood" is minus the cross-entropy, as is usual, and no
    density.

    Args:
        likelihood: "bernoulli": the output is logits, and x lies in [0, 1]; NaN for an example that does not.
            "gaussian": the output is means.
        output: the decoder's, of the shape of ``x``.
        x: inputs [batch, ...].
        scale: the standard deviation of "gaussian", above 0; may be traced.

    Raises:
        InputError: the likelihood is not known, or the shapes differ.
    """
    check.choice("likelihood", likelihood, LIKELIHOODS)
    check.positive("scale", scale)
    if getattr(output, "shape", None) != x.shape:
        raise check.InputError(
            f"the decoder must give an output of the shape {x.shape} of the inputs, got "
            f"{getattr(output, 'shape', type(output).__name__)}; change its last layer."
        )
    if likelihood == "bernoulli":
        each = x * output - jax.nn.softplus(output)
        outside = ~jnp.all(((x >= 0) & (x <= 1)).reshape(x.shape[0], -1), axis=1)
        return nan_where(outside, jnp.sum(each.reshape(x.shape[0], -1), axis=1))
    scale = above_zero(scale)
    each = -0.5 * (jnp.square((x - output) / scale) + math.log(2 * math.pi)) - jnp.log(scale)
    return jnp.sum(each.reshape(x.shape[0], -1), axis=1)


def free_bits(rate: Array, free: ArrayLike) -> Array:
    """The summed rate, a scalar in nats, in which each code costs at least ``free`` (Kingma et al. 2016).

    A code has no gradient below this rate. With 0 the value is the mean over the batch of the summed rates.

    Args:
        rate: [batch, z]. free: nats for each code, 0 or more; may be traced, and gives NaN below 0.
    """
    free = zero_or_more(free)
    return nan_where(jnp.isnan(free), jnp.sum(jnp.maximum(jnp.mean(rate, axis=0), free)))


def forward(
    model: Autoencoder, params: Parts, net_state: Parts, key: Key, x: Array, scale: ArrayLike = 1.0
) -> tuple[Pass, Parts]:
    """Pass a batch through the model in training mode.

    Args:
        model: the model. params, net_state: by network.
        key: draws the codes, and dropout's masks.
        x: inputs [batch, ...]. scale: the standard deviation of the Gaussian likelihood.

    Returns:
        The pass under the prior N(0, 1), and the states of the networks afterwards.

    Raises:
        InputError: an output does not fit.
    """
    encoder_key, *rest = jax.random.split(key, 3)
    moments, encoded = model.encoder.apply(
        params["encoder"], net_state["encoder"], x, key=encoder_key, train=True
    )
    mean, log_variance = split_moments(moments, x.shape[0])
    passed, decoded = decoded_pass(model, params, net_state, rest, mean, log_variance, x, scale)
    return passed, {**net_state, "encoder": encoded, "decoder": decoded}


def decoded_pass(
    model: Autoencoder,
    params: Parts,
    net_state: Parts,
    keys: Any,
    mean: Array,
    log_variance: Array,
    x: Array,
    scale: ArrayLike,
) -> tuple[Pass, Any]:
    """The second half of `forward`: draw codes of a posterior by the first of two keys, and decode them."""
    codes = draw_codes(keys[0], mean, log_variance)
    output, after = model.decoder.apply(
        params["decoder"], net_state["decoder"], codes, key=keys[1], train=True
    )
    distortion = -log_likelihood(model.likelihood, output, x, scale)
    rate = gaussian_kl(mean, log_variance)
    return Pass(mean, log_variance, codes, output, distortion, rate), after


def init_model(model: Autoencoder, key: Key, x: Array) -> tuple[Parts, Parts]:
    """Parameters and states of encoder and decoder, by network, for inputs ``x`` [batch, ...].

    Raises:
        InputError: the likelihood is not known, or an output does not fit.
    """
    check.choice("likelihood", model.likelihood, LIKELIHOODS)
    encoder_key, decoder_key = jax.random.split(key)
    params, states = {}, {}
    params["encoder"], states["encoder"] = model.encoder.init(encoder_key, x)
    # Only shapes are needed, so nothing is computed.
    moments, _ = jax.eval_shape(model.encoder.apply, params["encoder"], states["encoder"], x)
    mean, _ = jax.eval_shape(lambda m: split_moments(m, x.shape[0]), moments)
    codes = jnp.zeros(mean.shape, mean.dtype)
    params["decoder"], states["decoder"] = model.decoder.init(decoder_key, codes)
    output, _ = jax.eval_shape(model.decoder.apply, params["decoder"], states["decoder"], codes)
    jax.eval_shape(lambda out: log_likelihood(model.likelihood, out, x), output)
    return params, states
