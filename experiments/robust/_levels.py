"""Architectures and training procedures that `architecture_vs_training` compares."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from lrn import nets
from lrn.robust.augmented import AugmentedConfig, augmented
from lrn.robust.interpolation import InterpolationConfig, interpolated
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.trades import TRADESConfig, trades
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Learner, Net

# From the name of a family to the network of a patch's side, where it has patches, and of a width.
ARCHITECTURES: dict[str, Callable[[int, int], Net]] = {
    "MLP": lambda _, w: nets.mlp(10, (w, w)),
    "CNN, pooling": lambda _, w: nets.cnn(10, (16, 32), (w,)),
    "CNN, strides": lambda _, w: nets.cnn(10, (16, 32), (w,), kernel=4, down="stride"),
    "wide ResNet": lambda _, w: nets.wide_resnet(10, 10, 1, stem=w),
    "transformer": lambda patch, w: nets.vit(10, patch, 24, 2, 4, hidden=w, pool="mean"),
    "MLP-Mixer": lambda patch, w: nets.mixer(10, patch, w, 2, token_hidden=w, hidden=2 * w),
}
PLAIN = ("standard", "label smoothing", "mixup", "noise", "weight decay", "shifts")
KINDS = (PLAIN, ("PGD",), ("TRADES",))  # each kind is one compile
PROCEDURES = tuple(itertools.chain(*KINDS))
# Of learning; see the study for how they were chosen.
RATES = dict(zip(ARCHITECTURES, (0.03, 0.01, 0.01, 0.03, 0.01, 0.03)))


def setting(procedure: str, rate: float, steps: int, eps: float) -> Any:
    """The config of a training. Within one kind of config only floats differ, so a kind is one compile.

    Args:
        procedure: one of `PROCEDURES`.
        rate: the learning rate.
        steps: the length of the training.
        eps: the radius of training in Linf, and the standard deviation of the noise.
    """
    decay = 0.05 if procedure == "weight decay" else 0.0
    optimizer = OptimizerConfig(
        learning_rate=rate, weight_decay=decay, clip=1.0, warmup=0.1 * steps, schedule="cosine", steps=steps
    )
    if procedure == "TRADES":
        return TRADESConfig(optimizer, beta=6.0, eps=eps, step_size=eps / 2, steps=3)
    if procedure == "PGD":
        return InterpolationConfig(optimizer, robust_share=1.0)
    return AugmentedConfig(
        optimizer,
        smoothing=0.1 if procedure == "label smoothing" else 0.0,
        mixup=1.0 if procedure == "mixup" else 0.0,
        noise=eps if procedure == "noise" else 0.0,
        shift=1.0 if procedure == "shifts" else 0.0,
    )


def learner(net: Net, eps: float, setting: Any) -> Learner:
    """The training of a config that `setting` makes."""
    if isinstance(setting, TRADESConfig):
        return trades(net, setting)
    if isinstance(setting, AugmentedConfig):
        return augmented(net, setting)
    attack = pgd(PGDConfig(eps=eps, step_size=eps / 2, steps=3, keep="last"))
    return interpolated(net, setting, attack)
