"""Training on a weighted mean of the loss on clean and on attacked inputs (Goodfellow et al. 2015)."""

from __future__ import annotations

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack
from lrn.robust.losses import cross_entropy, is_correct
from lrn.robust.training import MODES, Objective, Value, clean_and_attacked, train_on
from lrn.supervised.averages import AverageConfig
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Array, Example, Goal, Key, Learner, Net, NetState, Params


@config
class InterpolationConfig:
    """Settings of the interpolation; the attack has a config of its own.

    optimizer: the optimizer's config. average: the config of the averaged weights.
    robust_share: the weight of the loss on attacked inputs, in [0, 1]; the clean loss has the rest. 0 is
        standard training, 1 adversarial training, .5 the loss of Goodfellow et al.
    attack_mode: the mode of the network that is attacked, "evaluation" or "training", see
        `lrn.robust.training.Objective`. The official codes of RS-FGSM and N-FGSM have "training".
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    average: AverageConfig = AverageConfig()
    robust_share: float = 0.5
    attack_mode: str = "evaluation"

    def __post_init__(self) -> None:
        check.between("robust_share", self.robust_share, 0, 1)
        check.choice("attack_mode", self.attack_mode, MODES)


def interpolated(net: Net, config: InterpolationConfig, attack: Attack) -> Learner:
    """Train ``net`` on (1 - a) CE(f(x), y) + a CE(f(x_adv), y), where a is ``config.robust_share``.

    The loss runs in training mode, the clean batch before the attacked batch; both update BatchNorm's running
    statistics, whatever their weights.

    The metrics, besides those of `train_on`: ``clean_loss`` and ``robust_loss`` in nats; ``clean_accuracy``
    and ``robust_accuracy`` in [0, 1], in training mode.

    Args:
        net: the network, whose logits are [batch, classes].
        config: the settings; its floats may be swept.
        attack: the attack.

    Raises:
        ValueError: as `train_on`.
    """
    return train_on(net, interpolated_objective(net, config, attack), config)


def interpolated_objective(net: Net, config: InterpolationConfig, attack: Attack) -> Objective:
    """The objective of `interpolated`, for `train_on` and for wrappers."""

    def loss(key: Key, params: Params, net_state: NetState, x: Array, x_adv: Array, y: Array) -> Value:
        clean, attacked, net_state = clean_and_attacked(net, key, params, net_state, x, x_adv)
        natural, robust = jnp.mean(cross_entropy(clean, y)), jnp.mean(cross_entropy(attacked, y))
        metrics = {
            "clean_loss": natural,
            "robust_loss": robust,
            "clean_accuracy": jnp.mean(is_correct(clean, y)),
            "robust_accuracy": jnp.mean(is_correct(attacked, y)),
        }
        share = config.robust_share
        return (1 - share) * natural + share * robust, (net_state, metrics)

    return Objective(attack, loss, config.attack_mode)


def example() -> Example:
    """A small network on the digits, attacked by PGD."""
    from lrn import data, nets
    from lrn.data.sampler import minibatch
    from lrn.robust.pgd import PGDConfig, pgd

    net, attack = nets.mlp(10, (32,)), pgd(PGDConfig(eps=0.1, step_size=0.05, steps=2, keep="last"))
    return Example(
        factory=lambda config: interpolated(net, config, attack),
        config=InterpolationConfig(OptimizerConfig(learning_rate=0.01)),
        data=dict(data.load("digits", "train")),
        sampler=minibatch(32),
        solves=Goal("robust_accuracy", above=0.6),
    )
