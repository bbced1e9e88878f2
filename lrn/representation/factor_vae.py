"""FactorVAE (Kim and Mnih, "Disentangling by factorising", 2018).

A discriminator tells codes from codes whose entries were permuted over the batch, each on its own, so that
the entries are independent. Its logit is an estimate of log q(z) / prod_j q(z_j), and the mean of the logit
over codes an estimate of the total correlation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import zero_or_more
from lrn.config import config
from lrn.representation.codes import Autoencoder
from lrn.representation.elbo import forward, init_model
from lrn.representation.vae import ADAM, bound, on_digits
from lrn.supervised.averages import AverageConfig
from lrn.supervised.inputs import inputs
from lrn.supervised.learner import SupervisedState, descend, initial_state
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.settings import TrainingConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics, Net


@config
class FactorVAEConfig:
    """Settings of FactorVAE.

    optimizer: the config of the autoencoder's optimizer. average: that of its averaged weights.
    discriminator: the config of the discriminator's optimizer.
    gamma: the weight of the total correlation, 0 or more.
    scale: the standard deviation of the Gaussian likelihood, above 0; unused under Bernoulli.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = ADAM
    average: AverageConfig = AverageConfig()
    discriminator: OptimizerConfig = OptimizerConfig("adam", 1e-4, b1=0.5, b2=0.9)
    gamma: float = 10.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        check.non_negative("gamma", self.gamma)
        check.positive("scale", self.scale)


class FactorVAEState(NamedTuple):
    """State of FactorVAE. training: that of the autoencoder. discriminator: that of the discriminator."""

    training: SupervisedState
    discriminator: SupervisedState


def permute_codes(key: Key, codes: Array) -> Array:
    """Codes [n, z] of which each column is permuted over the rows, independently of the others."""
    return jax.random.permutation(key, codes, axis=0, independent=True)


def density_ratio(logits: Array) -> Array:
    """The total correlation that a discriminator's logits [n] of codes estimate, a scalar in nats."""
    return jnp.mean(logits)


def discriminator_loss(real: Array, permuted: Array) -> Array:
    """The mean cross-entropy of logits [n] of codes (label 1) and of permuted codes (label 0), in nats."""
    return 0.5 * (jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(permuted)))


def factor_vae(model: Autoencoder, discriminator: Net, config: FactorVAEConfig) -> Learner:
    """Minimize distortion + rate + gamma * total correlation, which a discriminator estimates.

    Autoencoder and discriminator take one step each, from the same codes. (The paper permutes the codes of a
    second batch; disentanglement_lib, as here, those of the same batch.)

    Batches are those of `lrn.representation.vae.generative`. The metrics are those of that learner,
    ``total_correlation`` in nats, ``discriminator_loss`` in nats, and ``discriminator_accuracy``.

    Args:
        model: encoder and decoder.
        discriminator: maps codes [batch, z] to one logit each, [batch, 1]; in the paper
            ``lrn.nets.mlp(1, (1000,) * 6, activation="leaky_relu")``.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch has fewer than two inputs, or an output does not fit.
    """
    rival = TrainingConfig(config.discriminator)

    def init(key: Key, batch: Batch) -> FactorVAEState:
        x = inputs(batch)
        model_key, rival_key = jax.random.split(key)
        params, states = init_model(model, model_key, x)
        moments, _ = jax.eval_shape(model.encoder.apply, params["encoder"], states["encoder"], x)
        codes = jnp.zeros((x.shape[0], moments.shape[1] // 2), moments.dtype)
        own, own_state = discriminator.init(rival_key, codes)
        output, _ = jax.eval_shape(discriminator.apply, own, own_state, codes)
        _check(output, x.shape[0])
        return FactorVAEState(initial_state(config, params, states), initial_state(rival, own, own_state))

    def step(key: Key, state: FactorVAEState, batch: Batch) -> tuple[FactorVAEState, Metrics]:
        x = inputs(batch)
        pass_key, permute_key, real_key, permuted_key = jax.random.split(key, 4)
        other = state.discriminator

        def logits(params: Any, codes: Array, key: Key) -> tuple[Array, Any]:
            output, after = discriminator.apply(params, other.net_state, codes, key=key, train=True)
            _check(output, codes.shape[0])
            return output[:, 0], after

        def loss(params: Any) -> tuple[Array, Any]:
            passed, net_state = forward(model, params, state.training.net_state, pass_key, x, config.scale)
            correlation = density_ratio(logits(other.params, passed.codes, real_key)[0])
            metrics = {**bound(passed), "total_correlation": correlation, "codes": passed.codes}
            return zero_or_more(config.gamma) * correlation - metrics["elbo"], (net_state, metrics)

        training, metrics = descend(config, state.training, loss)
        codes = jax.lax.stop_gradient(metrics.pop("codes"))
        permuted = permute_codes(permute_key, codes)

        def rival_loss(params: Any) -> tuple[Array, Any]:
            # One pass for both halves: the discriminator is wide, and two products cost more than one.
            together, after = logits(params, jnp.concatenate([codes, permuted]), permuted_key)
            real, fake = jnp.split(together, 2)
            hits = 0.5 * (jnp.mean(real > 0) + jnp.mean(fake < 0))
            return discriminator_loss(real, fake), (after, {"discriminator_accuracy": hits})

        rival_training, own = descend(rival, other, rival_loss)
        metrics["discriminator_loss"] = own["loss"]
        metrics["discriminator_accuracy"] = own["discriminator_accuracy"]
        return FactorVAEState(training, rival_training), metrics

    return Learner(init, step)


def _check(output: Any, rows: int) -> None:
    shape = getattr(output, "shape", None)
    if shape != (rows, 1):
        raise check.InputError(
            f"the discriminator must give one logit a code, [{rows}, 1], got "
            f"{shape or type(output).__name__}; give its last layer one output."
        )


def example() -> Example:
    """A small network and a small discriminator on the digits."""
    from lrn import nets

    rival = nets.mlp(1, (16,), activation="leaky_relu")
    settings = FactorVAEConfig(
        OptimizerConfig("adam", 0.01),
        discriminator=OptimizerConfig("adam", 0.003, b1=0.5, b2=0.9, eps=1e-4),
        gamma=5.0,
    )
    return on_digits(
        lambda model, config: factor_vae(model, rival, config), settings, Goal("elbo", above=-29.0)
    )
