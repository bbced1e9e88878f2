"""Variational autoencoders (Kingma and Welling, "Auto-encoding variational Bayes", 2014).

`generative` makes a learner of any objective of a `Pass`; the variants of this folder are such objectives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.representation.codes import Autoencoder
from lrn.representation.elbo import Pass, forward, free_bits, init_model
from lrn.supervised.averages import AverageConfig
from lrn.supervised.inputs import inputs
from lrn.supervised.learner import SupervisedState, descend, initial_state
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Batch, Example, Goal, Key, Learner, Metrics

# The optimizer of the dSprites protocol (Locatello et al. 2019).
ADAM = OptimizerConfig("adam", 1e-4)

# objective(passed, step) -> (loss, metrics): a scalar to minimize, and scalar metrics. The step is an int
# scalar, the number of steps taken before.
Objective = Callable[[Pass, Array], tuple[Array, Metrics]]


class GenerativeSettings(Protocol):
    """Any config of a generative learner, such as `VAEConfig`."""

    @property
    def optimizer(self) -> OptimizerConfig:
        """The optimizer's config."""
        ...

    @property
    def average(self) -> AverageConfig:
        """The config of the averaged weights."""
        ...

    @property
    def scale(self) -> float:
        """The standard deviation of the Gaussian likelihood."""
        ...


@config
class VAEConfig:
    """Settings of a variational autoencoder.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    scale: the standard deviation of the Gaussian likelihood, above 0; unused under Bernoulli.
    free: the nats that a code costs at least, 0 or more (`lrn.representation.elbo.free_bits`).

    Raises:
        InputError: a field is out of its range.
    """

    optimizer: OptimizerConfig = ADAM
    average: AverageConfig = AverageConfig()
    scale: float = 1.0
    free: float = 0.0

    def __post_init__(self) -> None:
        check.positive("scale", self.scale)
        check.non_negative("free", self.free)


def vae(model: Autoencoder, config: VAEConfig) -> Learner:
    """Maximize the evidence lower bound; batches and metrics are those of `generative`."""

    def objective(passed: Pass, step: Array) -> tuple[Array, Metrics]:
        del step
        return jnp.mean(passed.distortion) + free_bits(passed.rate, config.free), {}

    return generative(model, objective, config)


def generative(model: Autoencoder, objective: Objective, config: GenerativeSettings) -> Learner:
    """Minimize an objective of a pass through an autoencoder.

    Batches are ``{"image" or "x": floats [batch, ...]}``; labels are ignored. The state is a
    `SupervisedState`, whose parameters and network states are dicts with the entries "encoder" and "decoder".

    The metrics are means over the batch, in nats: ``loss``; ``distortion``, -log p(x | z); ``rate``, the sum
    of KL(q(z_j | x) || p(z_j)); ``elbo``, minus their sum; those of the objective; and ``gradient_norm``, the
    L2 norm over all parameters before clipping.

    Args:
        model: encoder and decoder. objective: what is minimized.
        config: the settings; its floats may be swept.

    Raises:
        InputError: at trace time, if a batch has no inputs, or an output does not fit.
    """

    def init(key: Key, batch: Batch) -> SupervisedState:
        return initial_state(config, *init_model(model, key, inputs(batch, 1)))

    def step(key: Key, state: SupervisedState, batch: Batch) -> tuple[SupervisedState, Metrics]:
        x = inputs(batch, 1)

        def loss(params: Any) -> tuple[Array, Any]:
            passed, net_state = forward(model, params, state.net_state, key, x, config.scale)
            value, metrics = objective(passed, state.step)
            return value, (net_state, {**bound(passed), **metrics})

        return descend(config, state, loss)

    return Learner(init, step)


def bound(passed: Pass) -> dict[str, Array]:
    """The metrics ``distortion``, ``rate`` and ``elbo`` of a pass, in nats, means over the batch."""
    distortion, rate = jnp.mean(passed.distortion), jnp.mean(jnp.sum(passed.rate, axis=1))
    return {"distortion": distortion, "rate": rate, "elbo": -distortion - rate}


def on_digits(
    learner: Callable[[Autoencoder, Any], Learner], config: Any, solves: Goal, codes: int = 4
) -> Example:
    """An example with a small model on batches of 32 digits, images [32, 8, 8, 1].

    Args:
        learner: ``learner(model, config)``: the method. config: the config of the method.
        solves: what the example reaches. codes: the number of codes.
    """
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    model = Autoencoder(nets.mlp(2 * codes, (32,)), nets.mlp_decoder((8, 8, 1), (32,)))
    return Example(
        factory=lambda config: learner(model, config),
        config=config,
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=solves,
    )


def example() -> Example:
    """A small network on the digits."""
    return on_digits(vae, VAEConfig(OptimizerConfig("adam", 0.01), free=0.05), Goal("elbo", above=-29.0))
