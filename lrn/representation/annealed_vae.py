"""Annealed VAE: a rate that follows a growing capacity (Burgess et al., "Understanding disentangling in
beta-VAE", 2018).
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, zero_or_more
from lrn.config import config
from lrn.representation.codes import Autoencoder
from lrn.representation.elbo import Pass
from lrn.representation.vae import ADAM, generative, on_digits
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Learner, Metrics


@config
class AnnealedVAEConfig:
    """Settings of the annealed VAE.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    gamma: the weight of the distance of rate and capacity, 0 or more.
    capacity: the last capacity in nats, 0 or more.
    ramp: the number of steps in which the capacity grows from 0 to its last value, above 0.
    scale: the standard deviation of the Gaussian likelihood, above 0; unused under Bernoulli.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = ADAM
    average: AverageConfig = AverageConfig()
    gamma: float = 1000.0
    capacity: float = 25.0
    ramp: float = 100_000.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        check.non_negative("gamma", self.gamma)
        check.non_negative("capacity", self.capacity)
        check.positive("ramp", self.ramp)
        check.positive("scale", self.scale)


def capacity_at(step: ArrayLike, capacity: ArrayLike, ramp: ArrayLike) -> Array:
    """The capacity after a number of steps, in nats: linear from 0, constant from step ``ramp`` on."""
    done = jnp.minimum(1.0, jnp.asarray(step, jnp.float32) / above_zero(ramp))
    return jnp.asarray(zero_or_more(capacity)) * done


def annealed_vae(model: Autoencoder, config: AnnealedVAEConfig) -> Learner:
    """Minimize distortion + gamma |rate - capacity|; batches are those of `lrn.representation.vae`.

    The metrics are those of `lrn.representation.vae.generative`, and ``capacity`` in nats.

    Args:
        model: encoder and decoder.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch has no inputs, or an output does not fit.
    """

    def objective(passed: Pass, step: Array) -> tuple[Array, Metrics]:
        capacity = capacity_at(step, config.capacity, config.ramp)
        rate = jnp.mean(jnp.sum(passed.rate, axis=1))
        loss = jnp.mean(passed.distortion) + zero_or_more(config.gamma) * jnp.abs(rate - capacity)
        return loss, {"capacity": capacity}

    return generative(model, objective, config)


def example() -> Example:
    """A small network on the digits."""
    settings = AnnealedVAEConfig(OptimizerConfig("adam", 0.01), gamma=10.0, capacity=4.0, ramp=200.0)
    return on_digits(annealed_vae, settings, Goal("distortion", below=26.0))
