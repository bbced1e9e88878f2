"""Beta-TCVAE (Chen et al., "Isolating sources of disentanglement in variational autoencoders", 2018)."""

from __future__ import annotations

import math

import jax.numpy as jnp

from lrn import check
from lrn.arrays import zero_or_more
from lrn.config import config
from lrn.representation.codes import Autoencoder
from lrn.representation.elbo import Pass
from lrn.representation.total_correlation import SAMPLING, total_correlation
from lrn.representation.vae import ADAM, generative, on_digits
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Learner, Metrics


@config
class BetaTCVAEConfig:
    """Settings of beta-TCVAE.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    beta: the weight of the total correlation, 0 or more; with 1 the model is a VAE.
    scale: the standard deviation of the Gaussian likelihood, above 0; unused under Bernoulli.
    rows: the number of examples in the data, for "stratified"; inf for data that never repeat.
    sampling: the estimator of the total correlation, "weighted" or "stratified"
        (`lrn.representation.total_correlation`).

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = ADAM
    average: AverageConfig = AverageConfig()
    beta: float = 6.0
    scale: float = 1.0
    rows: float = math.inf
    sampling: str = "weighted"

    def __post_init__(self) -> None:
        check.non_negative("beta", self.beta)
        check.positive("scale", self.scale)
        if not (isinstance(self.rows, float) and self.rows == math.inf):
            check.positive("rows", self.rows)
        check.choice("sampling", self.sampling, SAMPLING)


def beta_tcvae(model: Autoencoder, config: BetaTCVAEConfig) -> Learner:
    """Minimize distortion + rate + (beta - 1) * total correlation; batches are those of `generative`.

    The rate is the sum of mutual information, total correlation and the rates of the single codes; the total
    correlation alone is weighted. The metrics are those of `lrn.representation.vae.generative`, and
    ``total_correlation``, the estimate in nats.

    Args:
        model: encoder and decoder.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch has fewer than two inputs, or an output does not fit.
    """

    def objective(passed: Pass, step: Array) -> tuple[Array, Metrics]:
        del step
        correlation = total_correlation(
            passed.codes, passed.mean, passed.log_variance, config.rows, config.sampling
        )
        bound = jnp.mean(passed.distortion) + jnp.mean(jnp.sum(passed.rate, axis=1))
        return bound + (zero_or_more(config.beta) - 1) * correlation, {"total_correlation": correlation}

    return generative(model, objective, config)


def example() -> Example:
    """A small network on the digits."""
    settings = BetaTCVAEConfig(OptimizerConfig("adam", 0.01), beta=2.0, rows=1437.0, sampling="stratified")
    return on_digits(beta_tcvae, settings, Goal("elbo", above=-29.0))
