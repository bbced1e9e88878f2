"""GradAlign: FGSM training with a penalty on curvature (Andriushchenko & Flammarion 2020).

The loss is CE(f(x_adv), y) + penalty (1 - cos(g(x), g(x + eta))), where g is the gradient of the
cross-entropy by the input and eta is uniform in the ball (equation 5 of the paper). The penalty prevents
catastrophic overfitting (`lrn.robust.overfitting`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.attack import check_eps
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.losses import cross_entropy, is_correct
from lrn.robust.norms import NORMS, random_start
from lrn.robust.overfitting import cosine
from lrn.robust.training import Objective, Value, train_on
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Mean, Net, NetState, Params


@config
class GradAlignConfig:
    """Settings of GradAlign.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    penalty: the weight of 1 - cos, lambda in the paper, which takes .2 for CIFAR-10 at eps = 8/255 and
        a larger one for a larger eps.
    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1].
    norm: the norm of the ball, one of `lrn.robust.norms.NORMS`; the paper has "linf".
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    penalty: float = 0.2
    eps: float = 8 / 255
    norm: str = "linf"

    def __post_init__(self) -> None:
        check.non_negative("penalty", self.penalty)
        check.choice("norm", self.norm, NORMS)
        check_eps(self.eps, self.norm)


def grad_align(net: Net, config: GradAlignConfig) -> Learner:
    """Train ``net`` on FGSM from the clean input, with GradAlign.

    As in the official code, FGSM and both gradients see the network in training mode; g(x) is a constant, so
    that only g(x + eta) is differentiated a second time (the authors found no gain in differentiating
    both); and the mean of the cosines leaves out examples with a gradient of zero. Two details differ: x +
    eta is clipped to the box, and only the pass of the attacked batch changes BatchNorm's running statistics.

    A step takes one gradient by the inputs for FGSM, two for the penalty, and the gradient by the parameters
    of one pass and of one of the input gradients.

    The metrics, besides those of `train_on`: ``robust_loss``, the cross-entropy under FGSM in nats;
    ``robust_accuracy`` under FGSM in [0, 1]; ``alignment``, the mean cosine in [-1, 1]; in training mode.

    Args:
        net: the network, whose logits are [batch, classes]. It is differentiated twice.
        config: the settings; its floats may be swept.

    Raises:
        ValueError: as `train_on`.
    """
    return train_on(net, grad_align_objective(net, config), config)


def grad_align_objective(net: Net, config: GradAlignConfig) -> Objective:
    """The objective of GradAlign, for `train_on` and for wrappers."""

    def loss(key: Key, params: Params, net_state: NetState, x: Array, x_adv: Array, y: Array) -> Value:
        start_key, here_key, there_key, adv_key = jax.random.split(key, 4)

        def slope(key: Key, z: Array) -> Array:
            def total(z: Array) -> Array:
                return jnp.sum(cross_entropy(net.apply(params, net_state, z, key=key, train=True)[0], y))

            return jax.grad(total)(z)

        here = jax.lax.stop_gradient(slope(here_key, x))
        there = slope(there_key, random_start(start_key, x, config.eps, config.norm))
        cosines, usable = cosine(here, there)
        logits, state = net.apply(params, net_state, x_adv, key=adv_key, train=True)
        robust = jnp.mean(cross_entropy(logits, y))
        count = jnp.sum(usable)
        alignment = jnp.sum(cosines) / jnp.maximum(count, 1)
        turned = jnp.where(count > 0, 1 - alignment, 0)
        metrics = {
            "robust_loss": robust,
            "robust_accuracy": jnp.mean(is_correct(logits, y)),
            "alignment": Mean(alignment, count.astype(jnp.float32)),
        }
        return robust + config.penalty * turned, (state, metrics)

    return Objective(fgsm(FGSMConfig(config.eps, config.norm)), loss, "training")


def example() -> Example:
    """A small network on the digits."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    net = nets.mlp(10, (32,), activation="tanh", dropout=0.1)
    return Example(
        factory=lambda config: grad_align(net, config),
        config=GradAlignConfig(OptimizerConfig(learning_rate=0.01), eps=0.1),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("robust_accuracy", above=0.6),
    )
