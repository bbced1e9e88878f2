"""What the lines of `robust_numbers` share: trainings with their aims, and the figures of a network.

The test images are divided among devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp

from lrn.robust.attack import Attack, LogitsFn
from lrn.robust.auto_attack import ATTACKS, AutoAttackConfig, attack_all
from lrn.robust.evaluate import correct_under_attack
from lrn.robust.losses import cross_entropy, is_correct
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.share import share
from lrn.robust.smoothing import SmoothingConfig, average_certified_radius, certified_accuracy, certify
from lrn.robust.training import Objective, Value, train_on
from lrn.supervised.optimizers import OptimizerConfig
from lrn.supervised.settings import TrainingConfig
from lrn.types import Array, Key, Learner, Net, NetState, Params

Judge = Callable[[Key, LogitsFn, Array, Array], Mapping[str, Array]]


class Line(NamedTuple):
    """A training and what it must reach.

    learner: ``learner(steps)``, the learner for a number of steps. epochs: the length of the training.
    judge: ``judge(key, logits_fn, x, y)``, figures of a network on test images. known: from figures to the
        least value. most: from figures to the largest value. seeds: the number of seeds.
    dataset: the name of the data set. batch: the size of a batch of the training.
    """

    learner: Callable[[int], Learner]
    net: Net
    epochs: float
    judge: Judge
    known: Mapping[str, float]
    most: Mapping[str, float]
    seeds: int
    dataset: str = "mnist"
    batch: int = 100


def on_attacked(net: Net, optimizer: OptimizerConfig, attack: Attack, mode: str = "evaluation") -> Learner:
    """Adversarial training; ``mode`` is that of the network that is attacked."""

    def loss(key: Key, params: Params, net_state: NetState, x: Array, x_adv: Array, y: Array) -> Value:
        del x
        logits, net_state = net.apply(params, net_state, x_adv, key=key, train=True)
        metrics = {"robust_accuracy": jnp.mean(is_correct(logits, y))}
        return jnp.mean(cross_entropy(logits, y)), (net_state, metrics)

    return train_on(net, Objective(attack, loss, mode), TrainingConfig(optimizer))


def attacked(name: str, ascent: PGDConfig) -> Judge:
    """Accuracy under PGD, called ``name``, and after each attack of AutoAttack at the same radius."""

    def judge(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> dict[str, Array]:
        def attack(key: Key, x: Array, y: Array) -> dict[str, Array]:
            right = correct_under_attack(key, logits_fn, x, y, pgd(ascent))
            found = attack_all(key, logits_fn, x, y, AutoAttackConfig(eps=ascent.eps))
            return {name: right, **{each: found.after[each] for each in ATTACKS}, "AutoAttack": found.robust}

        shares = {k: jnp.mean(v, dtype=jnp.float32) for k, v in share(attack)(key, x, y).items()}
        return shares | {"gap": shares[name] - shares["AutoAttack"]}

    return judge


def certified(config: SmoothingConfig) -> Judge:
    """Shares certified at some radii, and the average certified radius."""

    def judge(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> dict[str, Array]:
        found = share(lambda key, x, y: certify(key, logits_fn, x, config))(key, x, y)
        right, radii = found.label == y, (0.0, 0.25, 0.5, 0.75, 1.0)
        at = {f"radius {r:g}": certified_accuracy(found.radius, right, r) for r in radii}
        return {**at, "ACR": average_certified_radius(found.radius, right)}

    return judge
