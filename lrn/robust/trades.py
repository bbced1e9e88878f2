"""TRADES: the loss on clean inputs, and the change of the prediction under attack (Zhang et al. 2019).

The loss is CE(f(x), y) + beta KL(f(x) || f(x_adv)), the mean over the batch (equation 5 of the paper). A
large beta buys robust accuracy for clean accuracy.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_eps, check_examples
from lrn.robust.losses import cross_entropy, is_correct
from lrn.robust.norms import NORMS, by_example, narrow, project, steepest_direction, widen
from lrn.robust.training import Objective, Value, clean_and_attacked, train_on
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Net, NetState, Params

_NOISE = 0.001  # the standard deviation of the start, in the unit of the pixels


@config
class TRADESConfig:
    """Settings of TRADES. The defaults of the attack and of beta are those of the paper's code on CIFAR-10.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    beta: the weight of the KL divergence, 1 / lambda in the paper.
    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1].
    step_size: the length of a step of the attack, in the same unit. The paper's code takes 2 eps / steps
        for L2.
    steps: the number of steps of the attack.
    norm: the norm of the ball, one of `lrn.robust.norms.NORMS`.
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


def trades(net: Net, config: TRADESConfig) -> Learner:
    """Train ``net`` by TRADES, as the official code does.

    The attack sees the network in evaluation mode. The loss runs in training mode: the clean batch, the
    attacked batch, and the clean batch again pass the network in this order, each normalized by its own
    statistics. (The third pass only updates BatchNorm's running statistics, which it moves towards the clean
    batch; a compiler merges it with the first.) Gradients flow into both arguments of the divergence.

    A step takes ``steps`` gradients of the network by the inputs, and one gradient of two passes by the
    parameters.

    The metrics, besides those of `train_on`: ``clean_loss``, the cross-entropy on clean inputs, and
    ``divergence``, the KL divergence without beta, both in nats; ``clean_accuracy`` and
    ``robust_accuracy`` in [0, 1], in training mode, the latter under the attack of TRADES.

    Args:
        net: the network, whose logits are [batch, classes].
        config: the settings; its floats may be swept.

    Raises:
        ValueError: as `train_on`.
    """
    return train_on(net, trades_objective(net, config), config)


def trades_objective(net: Net, config: TRADESConfig) -> Objective:
    """The objective of TRADES, for `train_on` and for wrappers."""

    def loss(key: Key, params: Params, net_state: NetState, x: Array, x_adv: Array, y: Array) -> Value:
        clean, attacked, net_state = clean_and_attacked(
            net, jax.random.clone(key), params, net_state, x, x_adv
        )
        if jax.tree.leaves(net_state):
            clean_key = jax.random.split(key)[0]
            _, net_state = net.apply(params, net_state, x, key=clean_key, train=True)
        natural, divergence = jnp.mean(cross_entropy(clean, y)), jnp.mean(kl_divergence(clean, attacked))
        metrics = {
            "clean_loss": natural,
            "divergence": divergence,
            "clean_accuracy": jnp.mean(is_correct(clean, y)),
            "robust_accuracy": jnp.mean(is_correct(attacked, y)),
        }
        return natural + config.beta * divergence, (net_state, metrics)

    return Objective(trades_attack(config), loss)


def trades_attack(config: TRADESConfig) -> Attack:
    """The attack of TRADES: ascent on KL(f(x) || f(z)) in z; it does not use the labels.

    The start is ``x`` plus normal noise of standard deviation .001, because the divergence has no gradient
    at ``x``. The prediction f(x) is a constant of the attack.
    """

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        x, y = check_examples(logits_fn, x, y)
        clean = jax.lax.stop_gradient(logits_fn(x))
        return ascend_from_noise(
            key, lambda z: kl_divergence(clean, logits_fn(z)), x,
            config.eps, config.step_size, config.steps, config.norm,
        )  # fmt: skip

    return attack


def ascend_from_noise(
    key: Key,
    loss: Callable[[Array], Array],
    x: Array,
    eps: Array | float,
    step_size: Array | float,
    steps: int,
    norm: str,
) -> Array:
    """The last iterate of projected ascent on ``loss``, from ``x`` plus noise: the attack of TRADES and MART.

    The start is not projected, as in the official code; every later iterate lies in ball and box. Iterates
    of half-precision inputs are float32, because half precision would round the noise of the start away.

    Args:
        key: the key of the noise.
        loss: [batch, ...] -> [batch].
        x: the clean inputs [batch, ...] in [0, 1].
        eps, step_size: the radius and the length of a step: a number, or one an example [batch].
        steps: the number of steps.
        norm: the norm of the ball.

    Returns:
        The attacked inputs [batch, ...], in the dtype of ``x``.
    """
    original = widen(x)
    eps, step_size = by_example(eps, original), by_example(step_size, original)

    def step(z: Array, _: None) -> tuple[Array, None]:
        gradient = jax.grad(lambda v: jnp.sum(loss(v)))(z)
        return project(z + step_size * steepest_direction(gradient, norm), original, eps, norm), None

    start = original + _NOISE * jax.random.normal(key, x.shape, original.dtype)
    return narrow(jax.lax.scan(step, start, length=steps)[0], x)


def kl_divergence(p: Array, q: Array) -> Array:
    """The KL divergence ``sum_c p_c log(p_c / q_c)`` of two predictions in nats, [batch].

    Args:
        p, q: the logits of the predictions, [batch, classes].
    """
    log_p, log_q = jax.nn.log_softmax(widen(p)), jax.nn.log_softmax(widen(q))
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=1)


def check_ascent(eps: float, step_size: float, steps: int, norm: str) -> None:
    """Raise ValueError unless the settings of `ascend_from_noise` are in range."""
    check.choice("norm", norm, NORMS)
    check_eps(eps, norm)
    check.positive("step_size", step_size)
    check.integer("steps", steps, 1)


def example() -> Example:
    """A small network on the digits."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    net = nets.mlp(10, (32,), dropout=0.1)
    return Example(
        factory=lambda config: trades(net, config),
        config=TRADESConfig(OptimizerConfig(learning_rate=0.01), eps=0.1, step_size=0.05, steps=3),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("robust_accuracy", above=0.65),
    )
