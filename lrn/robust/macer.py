"""MACER: training that maximizes the certified radius, without attacks (Zhai et al. 2020)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.noise_training import check_noise, smoothed_cross_entropy, train_on_noise
from lrn.robust.norms import widen
from lrn.supervised import targets
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Learner, Net


@config
class MACERConfig:
    """Settings of MACER; the defaults are those of the authors' program.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    sigma: the standard deviation of the noise, in the unit of the pixels, which lie in [0, 1].
    samples: the number of noisy copies of each input (k in the paper).
    penalty: the weight of the robustness loss (lambda in the paper).
    gamma: the margin in units of sigma / 2, above which the robustness loss of an input is 0.
    beta: the inverse temperature of the softmax in the robustness loss.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    sigma: float = 0.25
    samples: int = 16
    penalty: float = 12.0
    gamma: float = 8.0
    beta: float = 16.0

    def __post_init__(self) -> None:
        check_noise(self)
        check.non_negative("penalty", self.penalty)
        check.positive("gamma", self.gamma)
        check.positive("beta", self.beta)


def macer(net: Net, config: MACERConfig) -> Learner:
    """Minimize the cross-entropy of the mean probabilities, plus ``penalty`` times `robustness_loss`.

    The metrics are those of `train_on_noise`. The terms are ``cross_entropy``, in nats, and ``robustness``,
    the robustness loss times ``penalty``, in the unit of the pixels. Both are means over the whole batch.

    Args:
        net: the network, whose logits are [batch, classes].
        config: the settings; its floats may be swept.

    Raises:
        ValueError: as `train_on_noise`.
    """

    def terms(logits: Array, y: Array) -> dict[str, Array]:
        robustness = robustness_loss(logits, y, config.sigma, config.gamma, config.beta)
        return {"cross_entropy": smoothed_cross_entropy(logits, y), "robustness": config.penalty * robustness}

    return train_on_noise(net, config, terms)


def robustness_loss(
    logits: Array,
    y: Array,
    sigma: Array | float,
    gamma: Array | float = 8.0,
    beta: Array | float = 16.0,
) -> Array:
    """The hinge loss of the soft certified radius, [batch] (algorithm 1 of the paper).

    With p the mean over copies of ``softmax(beta * logits)``, p1 and p2 its two largest entries, and
    ``margin = Phi^-1(p1) - Phi^-1(p2)``, the loss is ``sigma / 2 * max(gamma - margin, 0)`` where the
    class of p1 is the label, and 0 where it is another class. The gradient is 0 where the loss is 0.

    Phi^-1(p1) is computed from the sum of the other entries, and is exact where p1 rounds to 1.

    Args:
        logits: [batch, samples, classes].
        y: labels [batch].
        sigma: the standard deviation of the noise. gamma, beta: see `MACERConfig`.
    """
    known = targets.one_hot(y, logits.shape[-1])
    p = jax.nn.softmax(jnp.asarray(beta, jnp.float32) * widen(logits)).mean(axis=1)
    top = jax.nn.one_hot(jnp.argmax(p, axis=1), p.shape[1], dtype=bool)
    others = jnp.where(top, 0, p)
    rest, second = others.sum(axis=1), others.max(axis=1)
    margin = -_quantile(rest) - _quantile(second)
    right = jnp.sum(known * top, axis=1)  # NaN for a label outside of the classes
    active = margin < gamma
    hinge = jnp.where(active, gamma - jnp.where(active, margin, 0), 0)
    return jnp.asarray(sigma, jnp.float32) / 2 * right * hinge


def _quantile(p: Array) -> Array:
    """Phi^-1 of p; -inf, with a gradient of 0, for p below 1e-25, where Phi^-1 is below -10."""
    least = 1e-25
    return jnp.where(p > least, jax.scipy.special.ndtri(jnp.where(p > least, p, 0.5)), -math.inf)


def example() -> Example:
    """A small network on the digits."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    net = nets.mlp(10, (32,), dropout=0.1)
    return Example(
        factory=lambda config: macer(net, config),
        config=MACERConfig(OptimizerConfig(learning_rate=0.01), samples=4, penalty=1.0),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("accuracy", above=0.7),
    )
