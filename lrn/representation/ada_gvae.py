"""Ada-GVAE: a VAE of weak pairs (Locatello et al., "Weakly-supervised disentanglement without compromises",
2020).

Two inputs of a pair share all factors but a few, which are not told. Codes whose posteriors differ little
between the two are taken as shared, and their posteriors are averaged.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import zero_or_more
from lrn.config import config
from lrn.representation.codes import Autoencoder, split_moments
from lrn.representation.elbo import decoded_pass, gaussian_kl, init_model
from lrn.representation.vae import ADAM, bound
from lrn.supervised.averages import AverageConfig
from lrn.supervised.inputs import partnered
from lrn.supervised.learner import SupervisedState, descend, initial_state
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics


@config
class AdaGVAEConfig:
    """Settings of Ada-GVAE.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    beta: the weight of the rate, 0 or more; 1 in the paper.
    scale: the standard deviation of the Gaussian likelihood, above 0; unused under Bernoulli.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = ADAM
    average: AverageConfig = AverageConfig()
    beta: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        check.non_negative("beta", self.beta)
        check.positive("scale", self.scale)


def shared_codes(mean: Array, log_variance: Array, other_mean: Array, other_log_variance: Array) -> Array:
    """Which codes of pairs are taken as shared, bool [n, z].

    A code is shared if KL(q(z_j | x) || q(z_j | x')) is below the middle of the smallest and the largest such
    divergence of the pair; the code that differs most is never shared.

    Args:
        mean, log_variance: of the posteriors of one side, [n, z].
        other_mean, other_log_variance: of the other side, [n, z].
    """
    distance = gaussian_kl(mean, log_variance, other_mean, other_log_variance)
    low, high = jnp.min(distance, axis=1, keepdims=True), jnp.max(distance, axis=1, keepdims=True)
    return distance < 0.5 * (low + high)


def averaged_pair(mean: Array, log_variance: Array, shared: Array) -> tuple[Array, Array]:
    """Posteriors of pairs [2, n, z]; the ``shared`` ones [n, z] have the average mean and variance."""
    both = jnp.broadcast_to(shared[None], mean.shape)
    middle = jnp.broadcast_to(jnp.mean(mean, axis=0, keepdims=True), mean.shape)
    spread = jax.nn.logsumexp(log_variance, axis=0, keepdims=True) - jnp.log(2.0)
    spread = jnp.broadcast_to(spread, mean.shape)
    return jnp.where(both, middle, mean), jnp.where(both, spread, log_variance)


def ada_gvae(model: Autoencoder, config: AdaGVAEConfig) -> Learner:
    """Minimize distortion + beta * rate of both inputs of a pair, under posteriors that share codes.

    Batches are ``{"image" or "x": floats [batch, ...], "partner": floats [batch, ...]}``. The state and the
    metrics are those of `lrn.representation.vae.generative`, and ``shared``, the mean number of shared codes.

    Args:
        model: encoder and decoder.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch lacks an entry, or an output does not fit.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        return initial_state(config, *init_model(model, key, partnered(batch, least=1)[0]))

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        x = jnp.concatenate(partnered(batch, least=1))
        encoder_key, *rest = jax.random.split(key, 3)

        def loss(params: Any) -> tuple[Array, Any]:
            states = dict(state.net_state)
            out, states["encoder"] = model.encoder.apply(
                params["encoder"], states["encoder"], x, key=encoder_key, train=True
            )
            each = [part.reshape(2, x.shape[0] // 2, -1) for part in split_moments(out, x.shape[0])]
            mean, log_variance = each
            shared = shared_codes(mean[0], log_variance[0], mean[1], log_variance[1])
            mean, log_variance = (
                part.reshape(x.shape[0], -1) for part in averaged_pair(mean, log_variance, shared)
            )
            passed, states["decoder"] = decoded_pass(
                model, params, states, rest, mean, log_variance, x, config.scale
            )
            metrics = {**bound(passed), "shared": jnp.mean(jnp.sum(shared, axis=1, dtype=x.dtype))}
            value = metrics["distortion"] + zero_or_more(config.beta) * metrics["rate"]
            return value, (states, metrics)

        return descend(config, state, loss)

    return Learner(init, step)


def example() -> Example:
    """Digits with copies whose left half is bright or dark, whatever the digit."""
    import numpy as np

    from lrn import data, nets
    from lrn.data.sampler import minibatch

    images = data.as_float(data.load("digits", "train")["image"])
    light = np.random.default_rng(0).uniform(0, 1, (2, len(images), 1, 1, 1)).astype(np.float32)
    pairs = np.stack([images, images])
    pairs[:, :, :, :4] *= light
    model = Autoencoder(nets.mlp(8, (32,)), nets.mlp_decoder((8, 8, 1), (32,)))
    return Example(
        factory=lambda config: ada_gvae(model, config),
        config=AdaGVAEConfig(OptimizerConfig("adam", 0.01)),
        data={"x": pairs[0], "partner": pairs[1]},
        sampler=minibatch(32, columns=("x", "partner")),
        solves=Goal("elbo", above=-29.0),
    )
