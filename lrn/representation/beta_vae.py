"""Beta-VAE (Higgins et al., "beta-VAE: learning basic visual concepts", 2017)."""

from __future__ import annotations

import jax.numpy as jnp

from lrn import check
from lrn.arrays import zero_or_more
from lrn.config import config
from lrn.representation.codes import Autoencoder
from lrn.representation.elbo import Pass, free_bits
from lrn.representation.vae import ADAM, generative, on_digits
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Learner, Metrics


@config
class BetaVAEConfig:
    """Settings of beta-VAE.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    beta: the weight of the rate, 0 or more; with 1 the model is a VAE.
    scale: the standard deviation of the Gaussian likelihood, above 0; unused under Bernoulli.
    free: the nats that a code costs at least, 0 or more (`lrn.representation.elbo.free_bits`).

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = ADAM
    average: AverageConfig = AverageConfig()
    beta: float = 4.0
    scale: float = 1.0
    free: float = 0.0

    def __post_init__(self) -> None:
        check.non_negative("beta", self.beta)
        check.positive("scale", self.scale)
        check.non_negative("free", self.free)


def beta_vae(model: Autoencoder, config: BetaVAEConfig) -> Learner:
    """Minimize distortion + beta * rate; batches and metrics are those of `lrn.representation.vae`.

    Args:
        model: encoder and decoder.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch has no inputs, or an output does not fit.
    """

    def objective(passed: Pass, step: Array) -> tuple[Array, Metrics]:
        del step
        rate = free_bits(passed.rate, config.free)
        return jnp.mean(passed.distortion) + zero_or_more(config.beta) * rate, {}

    return generative(model, objective, config)


def example() -> Example:
    """A small network on the digits."""
    return on_digits(
        beta_vae, BetaVAEConfig(OptimizerConfig("adam", 0.01), beta=2.0), Goal("loss", below=31.0)
    )
