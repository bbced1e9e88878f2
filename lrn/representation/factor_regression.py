"""Codes learned with labels: the first codes regress known factors, the others serve the reconstruction.

This is the supervised reference for disentanglement: the objective of Locatello et al. ("Disentangling
factors of variation using few labels", 2020) with a label for every example.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import zero_or_more
from lrn.config import config
from lrn.representation.codes import Autoencoder
from lrn.representation.elbo import forward, init_model
from lrn.representation.vae import ADAM, bound
from lrn.supervised.averages import AverageConfig
from lrn.supervised.inputs import inputs
from lrn.supervised.learner import SupervisedState, descend, initial_state
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics


@config
class FactorRegressionConfig:
    """Settings of codes learned with labels.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    weight: the weight of the squared errors of the factors, 0 or more.
    beta: the weight of the rate, 0 or more.
    scale: the standard deviation of the Gaussian likelihood, above 0; unused under Bernoulli.

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = ADAM
    average: AverageConfig = AverageConfig()
    weight: float = 100.0
    beta: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        check.non_negative("weight", self.weight)
        check.non_negative("beta", self.beta)
        check.positive("scale", self.scale)


def factor_regression(model: Autoencoder, config: FactorRegressionConfig) -> Learner:
    """Minimize distortion + beta * rate + weight * squared errors of the first codes' means.

    Batches are ``{"image" or "x": floats [batch, ...], "factors": floats [batch, f]}``, f at most the number
    of codes; standardized factors suit the prior N(0, 1). The state and the metrics are those of
    `lrn.representation.vae.generative`, and ``factor_error``, the sum over factors of the mean squared error.

    Args:
        model: encoder and decoder.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch lacks an entry, an output does not fit, or there are more
            factors than codes.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        x = inputs(batch, 1)
        params, states = init_model(model, key, x)
        moments, _ = jax.eval_shape(model.encoder.apply, params["encoder"], states["encoder"], x)
        factors(batch, moments.shape[1] // 2)
        return initial_state(config, params, states)

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        x = inputs(batch, 1)

        def loss(params: Any) -> tuple[Array, Any]:
            passed, net_state = forward(model, params, state.net_state, key, x, config.scale)
            target = factors(batch, passed.mean.shape[1])
            error = jnp.mean(jnp.sum(jnp.square(passed.mean[:, : target.shape[1]] - target), axis=1))
            metrics = {**bound(passed), "factor_error": error}
            beta, weight = zero_or_more(config.beta), zero_or_more(config.weight)
            value = metrics["distortion"] + beta * metrics["rate"] + weight * error
            return value, (net_state, metrics)

        return descend(config, state, loss)

    return Learner(init, step)


def factors(batch: Batch, codes: int) -> Array:
    """The factors [batch, f] of a batch, the entry "factors".

    Raises:
        InputError: the batch has no such entry, or it is no floats [batch, f] with f of at most ``codes``.
    """
    x, value = inputs(batch, 1), batch.get("factors")
    form = getattr(value, "shape", None)
    known = form is not None and len(form) == 2 and form[0] == x.shape[0]
    if value is None or not known or not jnp.issubdtype(value.dtype, jnp.floating):
        raise check.InputError(
            f"a batch needs the entry 'factors', floats [{x.shape[0]}, f], got "
            f"{form or type(value).__name__}; convert the factors, one column each."
        )
    if value.shape[1] > codes:
        raise check.InputError(
            f"there are {value.shape[1]} factors and {codes} codes; give the encoder 2 outputs for each "
            "factor at least."
        )
    return jnp.asarray(value)


def example() -> Example:
    """A small network on the digits; the factors are the brightness of the left and of the right half."""
    import numpy as np

    from lrn import data, nets
    from lrn.data.sampler import minibatch

    images = data.as_float(data.load("digits", "train")["image"])
    halves = np.stack([images[:, :, :4].mean((1, 2, 3)), images[:, :, 4:].mean((1, 2, 3))], axis=1)
    standard = ((halves - halves.mean(0)) / halves.std(0)).astype(np.float32)
    model = Autoencoder(nets.mlp(8, (32,)), nets.mlp_decoder((8, 8, 1), (32,)))
    return Example(
        factory=lambda config: factor_regression(model, config),
        config=FactorRegressionConfig(OptimizerConfig("adam", 0.01), weight=10.0),
        data={"x": images, "factors": standard},
        sampler=minibatch(32, columns=("x", "factors")),
        solves=Goal("factor_error", below=0.3),
    )
