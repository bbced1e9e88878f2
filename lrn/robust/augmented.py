"""Training on changed inputs and soft labels: label smoothing, mixup, Gaussian noise and shifts."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.data.augment import shifted
from lrn.robust.training import Objective, Value, train_on
from lrn.supervised import targets
from lrn.supervised.averages import AverageConfig
from lrn.supervised.losses import cross_entropy
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Net, NetState, Params


@config
class AugmentedConfig:
    """Strengths of the changes, each 0 for none. All are floats, so one compile trains all of them.

    optimizer: the optimizer's config; its weight decay is one of these trainings. average: the config of the
        averaged weights.
    smoothing: label smoothing in [0, 1]; each class gets ``smoothing / classes`` (Szegedy et al. 2016).
    mixup: the parameter of mixup's Beta(mixup, mixup) (Zhang et al. 2018).
    noise: the standard deviation of Gaussian noise on the pixels.
    shift: the probability in [0, 1] that an image is moved by up to one pixel along each axis.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    smoothing: float = 0.0
    mixup: float = 0.0
    noise: float = 0.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        for name in ("smoothing", "shift"):
            check.between(name, getattr(self, name), 0, 1)
        for name in ("mixup", "noise"):
            check.non_negative(name, getattr(self, name))


def augmented(net: Net, config: AugmentedConfig) -> Learner:
    """Train ``net`` on the cross-entropy of shifted, mixed and noisy images with soft labels, in this order.

    Noise is not clipped to the box, as in randomized smoothing. The metrics are those of `train_on`.

    Args:
        net: the network, whose logits are [batch, classes].
        config: the settings; its floats may be swept.

    Raises:
        ValueError: as `train_on`; at trace time, if the inputs are no images.
    """

    def loss(key: Key, params: Params, net_state: NetState, x: Array, _: Array, y: Array) -> Value:
        shift_key, mix_key, noise_key, net_key = jax.random.split(key, 4)
        alpha = jnp.maximum(config.mixup, 1e-3)  # Beta has no parameter 0
        share = jnp.where(config.mixup > 0, jax.random.beta(mix_key, alpha, alpha), 1.0)
        mixed = targets.mix(shifted(shift_key, x, share=config.shift), share)
        noisy = mixed + config.noise * jax.random.normal(noise_key, x.shape, x.dtype)
        logits, net_state = net.apply(params, net_state, noisy, key=net_key, train=True)
        labels = targets.smooth(targets.one_hot(y, logits.shape[1]), config.smoothing)
        return jnp.mean(cross_entropy(logits, targets.mix(labels, share))), (net_state, {})

    return train_on(net, Objective(None, loss), config)


def example() -> Example:
    """A small network on the digits, with all changes on."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch

    net, optimizer = nets.mlp(10, (32,)), OptimizerConfig(learning_rate=0.01)
    return Example(
        factory=lambda config: augmented(net, config),
        config=AugmentedConfig(optimizer, smoothing=0.1, mixup=0.2, noise=0.05, shift=0.5),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("loss", below=1.7),
    )
