"""Trainings, each on its own attack, which is that of its validation too, and the names of their weights."""

from __future__ import annotations

from typing import Any

from experiments.robust._watched import watched
from lrn.robust.adversarial_training import AdversarialTrainingConfig, adversarial_training
from lrn.robust.attack import Attack, no_attack
from lrn.robust.fgsm import FGSMConfig, fgsm
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm
from lrn.robust.spatial import SpatialConfig, spatial
from lrn.robust.trades import TRADESConfig, trades, trades_attack
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Learner


def adversary(config: Any, training: str, eps: Any) -> Attack:
    """The attack of a training; ``config`` is that of `experiments.robust.adversary_overfitting`."""
    steps, turned = config.attack_steps, (config.rotation, config.translation)
    linf = PGDConfig(eps, 2.5 * eps / steps, steps, keep="last")
    attacks = {
        "standard": no_attack,
        "FGSM": fgsm(FGSMConfig(eps=eps)),
        "RS-FGSM": rs_fgsm(RSFGSMConfig(eps=eps)),
        "PGD": pgd(linf),
        "TRADES": trades_attack(_trades(config, eps)),
        "L2-PGD": pgd(PGDConfig(config.l2, 2.5 * config.l2 / steps, steps, norm="l2", keep="last")),
        "spatial": spatial(SpatialConfig(*turned, method="random", samples=steps)),
    }
    return attacks[training]


def _trades(config: Any, eps: Any) -> TRADESConfig:
    optimizer, steps = OptimizerConfig("sgd", config.rate), config.attack_steps
    return TRADESConfig(optimizer, eps=eps, step_size=2.5 * eps / steps, steps=steps)


def learner(config: Any, training: str, eps: Any) -> Learner:
    """A training whose step is an epoch; both Linf radii are one program."""
    attack, net = adversary(config, training, eps), config.net
    plain = adversarial_training(net, AdversarialTrainingConfig(learning_rate=config.rate), attack)
    own = trades(net, _trades(config, eps)) if training == "TRADES" else plain
    return watched(own, net, attack, config.epoch, config.marks, config.train)


def best(training: str, share: str = "all") -> str:
    """The arm of the weights that validation chose in so much of a training."""
    return training if share == "all" else f"{training}, best of {share}"


def last(training: str, share: str = "all") -> str:
    """The arm of the weights after so much of a training."""
    return f"{training}, last of {share}"
