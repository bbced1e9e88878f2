"""MART: adversarial training with more weight on examples that the network misclassifies (Wang et al. 2020).

The loss is BCE(f(x_adv), y) + beta KL(f(x) || f(x_adv)) (1 - p_y(x)), the mean over the batch (equation 7 of
the paper, whose lambda is ``beta``, as in its code). The boosted cross-entropy BCE is -log p_y - log(1 - max
over k != y of p_k).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_examples, wide_labels
from lrn.robust.losses import cross_entropy, is_correct
from lrn.robust.norms import widen
from lrn.robust.trades import ascend_from_noise, check_ascent, kl_divergence
from lrn.robust.training import Objective, Value, clean_and_attacked, train_on
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Net, NetState, Params


@config
class MARTConfig:
    """Settings of MART. The defaults of the attack and of beta are those of the paper's code on CIFAR-10.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    beta: the weight of the KL divergence, lambda in the paper.
    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1].
    step_size: the length of a step of the attack, in the same unit. steps: the number of steps.
    norm: the norm of the ball, one of `lrn.robust.norms.NORMS`; the paper has "linf".
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    beta: float = 6.0
    eps: float = 0.031
    step_size: float = 0.007
    steps: int = 10
    norm: str = "linf"

    def __post_init__(self) -> None:
        check.non_negative("beta", self.beta)
        check_ascent(self.eps, self.step_size, self.steps, self.norm)


def mart(net: Net, config: MARTConfig) -> Learner:
    """Train ``net`` by MART.

    As in the official code, the attack is ascent on the cross-entropy from ``x`` plus normal noise of
    standard deviation .001, against the network in evaluation mode; the loss runs in training mode, the
    clean batch before the attacked batch; and gradients flow into every term, 1 - p_y(x) too.

    The official code adds small numbers to probabilities before it takes logarithms, which bounds the margin
    term by 9.2. Here the terms come from the logits, are exact, and have no bound.

    A step takes ``steps`` gradients of the network by the inputs, and one gradient of two passes by the
    parameters.

    The metrics, besides those of `train_on`: ``boosted_loss``, the BCE, and ``divergence``, the weighted
    divergence without beta, both in nats; ``clean_accuracy`` and ``robust_accuracy`` in [0, 1], in training
    mode, the latter under the attack.

    Args:
        net: the network, whose logits are [batch, classes].
        config: the settings; its floats may be swept.

    Raises:
        ValueError: as `train_on`.
    """
    return train_on(net, mart_objective(net, config), config)


def mart_objective(net: Net, config: MARTConfig) -> Objective:
    """The objective of MART, for `train_on` and for wrappers."""

    def loss(key: Key, params: Params, net_state: NetState, x: Array, x_adv: Array, y: Array) -> Value:
        clean, attacked, net_state = clean_and_attacked(net, key, params, net_state, x, x_adv)
        boosted = jnp.mean(boosted_cross_entropy(attacked, y))
        doubt = -jnp.expm1(-cross_entropy(clean, y))  # 1 - p_y
        divergence = jnp.mean(kl_divergence(clean, attacked) * doubt)
        metrics = {
            "boosted_loss": boosted,
            "divergence": divergence,
            "clean_accuracy": jnp.mean(is_correct(clean, y)),
            "robust_accuracy": jnp.mean(is_correct(attacked, y)),
        }
        return boosted + config.beta * divergence, (net_state, metrics)

    return Objective(mart_attack(config), loss)


def mart_attack(config: MARTConfig) -> Attack:
    """The attack of MART: ascent on the cross-entropy, from a start beside ``x``."""

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        x, y = check_examples(logits_fn, x, y)
        return ascend_from_noise(
            key, lambda z: cross_entropy(logits_fn(z), y), x,
            config.eps, config.step_size, config.steps, config.norm,
        )  # fmt: skip

    return attack


def boosted_cross_entropy(logits: Array, y: Array) -> Array:
    """The boosted cross-entropy ``-log p_y - log(1 - max_{k != y} p_k)`` in nats, [batch].

    Args:
        logits: [batch, classes].
        y: labels [batch].

    Raises:
        ValueError: logits are not [batch, classes] with at least 2 classes, or labels are refused.
    """
    entropy = cross_entropy(logits, y)  # checks the labels
    logits = widen(logits)
    true = jax.nn.one_hot(wide_labels(y), logits.shape[1], dtype=bool)
    rival = jax.nn.one_hot(jnp.argmax(jnp.where(true, -jnp.inf, logits), axis=1), logits.shape[1], dtype=bool)
    # With p = softmax(z): -log(1 - p_k) = softplus(z_k - logsumexp of the other logits).
    others = jax.nn.logsumexp(logits, axis=1, where=~rival)
    return entropy + jax.nn.softplus(jnp.sum(logits, axis=1, where=rival) - others)


def example() -> Example:
    """A small network on the digits."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    net = nets.mlp(10, (32,), dropout=0.1)
    return Example(
        factory=lambda config: mart(net, config),
        config=MARTConfig(OptimizerConfig(learning_rate=0.01), eps=0.1, step_size=0.05, steps=3),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("robust_accuracy", above=0.45),
    )
