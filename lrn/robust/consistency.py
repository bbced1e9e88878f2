"""Consistency regularization of the predictions under noise (Jeong & Shin 2020)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.noise_training import check_noise, log_mean_softmax, mean_cross_entropy, train_on_noise
from lrn.robust.norms import widen
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Learner, Net


@config
class ConsistencyConfig:
    """Settings of consistency regularization; the defaults are those of the authors' program.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    sigma: the standard deviation of the noise, in the unit of the pixels, which lie in [0, 1].
    samples: the number of noisy copies of each input, 2 or more (m in the paper).
    penalty: the weight of the divergence (lambda in the paper).
    eta: the weight of the entropy.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    sigma: float = 0.25
    samples: int = 2
    penalty: float = 10.0
    eta: float = 0.5

    def __post_init__(self) -> None:
        check_noise(self, least=2)
        check.non_negative("penalty", self.penalty)
        check.non_negative("eta", self.eta)


def consistency(net: Net, config: ConsistencyConfig) -> Learner:
    """Minimize cross-entropy + penalty * `divergence` + eta * `mean_entropy`.

    The metrics are those of `train_on_noise`. The terms, in nats and with their weights, are
    ``cross_entropy``, the mean over copies; ``divergence``; and ``entropy``.

    Args:
        net: the network, whose logits are [batch, classes].
        config: the settings; its floats may be swept.

    Raises:
        ValueError: as `train_on_noise`.
    """

    def terms(logits: Array, y: Array) -> dict[str, Array]:
        return {
            "cross_entropy": mean_cross_entropy(logits, y),
            "divergence": config.penalty * divergence(logits),
            "entropy": config.eta * mean_entropy(logits),
        }

    return train_on_noise(net, config, terms)


def divergence(logits: Array) -> Array:
    """The mean over copies of KL(mean p || p), p the probabilities of a copy; nats, [batch].

    Gradients flow into both arguments.

    Args:
        logits: [batch, samples, classes].
    """
    log_mean = log_mean_softmax(logits)
    log_p = jax.nn.log_softmax(widen(logits)).mean(axis=1)
    return jnp.sum(jnp.exp(log_mean) * (log_mean - log_p), axis=1)


def mean_entropy(logits: Array) -> Array:
    """The entropy of the mean over copies of their probabilities, in nats, [batch].

    Args:
        logits: [batch, samples, classes].
    """
    log_mean = log_mean_softmax(logits)
    return -jnp.sum(jnp.exp(log_mean) * log_mean, axis=1)


def example() -> Example:
    """A small network on the digits."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    net = nets.mlp(10, (32,), dropout=0.1)
    return Example(
        factory=lambda config: consistency(net, config),
        config=ConsistencyConfig(OptimizerConfig(learning_rate=0.01)),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("accuracy", above=0.65),
    )
