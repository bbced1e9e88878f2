"""DIP-VAE I and II (Kumar, Sattigeri and Balakrishnan, "Variational inference of disentangled latent concepts
from unlabeled observations", 2018).

The covariance of the codes is drawn to the identity: in DIP-VAE I that of their means, in DIP-VAE II that of
the codes themselves, which adds the mean of the posterior's variances.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from lrn import check
from lrn.arrays import zero_or_more
from lrn.config import config
from lrn.representation.codes import Autoencoder
from lrn.representation.elbo import Pass
from lrn.representation.vae import ADAM, generative, on_digits
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Learner, Metrics

KINDS = ("I", "II")


@config
class DIPVAEConfig:
    """Settings of DIP-VAE.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    off_diagonal: the weight of the squared covariances of different codes, 0 or more.
    diagonal: the weight of the squared distances of variances from 1, 0 or more; disentanglement_lib takes
        10 times the other weight for I, and the other weight for II.
    scale: the standard deviation of the Gaussian likelihood, above 0; unused under Bernoulli.
    kind: "I" or "II".

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = ADAM
    average: AverageConfig = AverageConfig()
    off_diagonal: float = 10.0
    diagonal: float = 10.0
    scale: float = 1.0
    kind: str = "II"

    def __post_init__(self) -> None:
        check.non_negative("off_diagonal", self.off_diagonal)
        check.non_negative("diagonal", self.diagonal)
        check.positive("scale", self.scale)
        check.choice("kind", self.kind, KINDS)


class DIPTerms(NamedTuple):
    """The terms of DIP-VAE before they are weighted, scalars.

    off_diagonal: the sum of the squared covariances of different codes; each pair counts twice.
    diagonal: the sum of the squared distances of the codes' variances from 1.
    """

    off_diagonal: Array
    diagonal: Array


def dip_terms(mean: Array, log_variance: Array, kind: str = "II") -> DIPTerms:
    """The terms for posteriors [n, z]; the covariances are those of the batch, divided by n.

    Raises:
        InputError: the kind is not known.
    """
    check.choice("kind", kind, KINDS)
    centered = mean - jnp.mean(mean, axis=0, keepdims=True)
    covariance = jnp.matmul(centered.T, centered, precision="highest") / mean.shape[0]
    if kind == "II":
        covariance = covariance + jnp.diag(jnp.mean(jnp.exp(log_variance), axis=0))
    outside = jnp.where(jnp.eye(mean.shape[1], dtype=bool), 0.0, covariance)
    return DIPTerms(jnp.sum(jnp.square(outside)), jnp.sum(jnp.square(jnp.diagonal(covariance) - 1)))


def dip_vae(model: Autoencoder, config: DIPVAEConfig) -> Learner:
    """Minimize distortion + rate + the weighted `DIPTerms`; batches are those of `generative`.

    The metrics are those of `lrn.representation.vae.generative`, and ``off_diagonal`` and ``diagonal``.

    Args:
        model: encoder and decoder.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch has no inputs, or an output does not fit.
    """

    def objective(passed: Pass, step: Array) -> tuple[Array, Metrics]:
        del step
        terms = dip_terms(passed.mean, passed.log_variance, config.kind)
        bound = jnp.mean(passed.distortion) + jnp.mean(jnp.sum(passed.rate, axis=1))
        outside, inside = zero_or_more(config.off_diagonal), zero_or_more(config.diagonal)
        penalty = outside * terms.off_diagonal + inside * terms.diagonal
        return bound + penalty, terms._asdict()

    return generative(model, objective, config)


def example() -> Example:
    """A small network on the digits."""
    settings = DIPVAEConfig(OptimizerConfig("adam", 0.01), off_diagonal=2.0, diagonal=2.0)
    return on_digits(dip_vae, settings, Goal("elbo", above=-29.0))
