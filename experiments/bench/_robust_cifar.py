"""CIFAR-10 at the published budgets, for a GPU: fast and PGD training, TRADES, and randomized smoothing.

Fast: Wong, Rice & Kolter (2020). PGD: Madry et al. (2018). TRADES: Zhang et al. (2019). Smoothing: Cohen et
al. (2019), 500 images, n = 100,000. The aims lie half a point below the published figures, and .01 below
published average certified radii. Images are mirrored and cropped; the networks normalize.
"""

from __future__ import annotations

import dataclasses

from experiments.bench._robust_lines import Line, attacked, certified, on_attacked
from lrn import nets
from lrn.nets.bridge import from_flax
from lrn.nets.resnet import ResNet
from lrn.robust.noise_training import NoiseTrainingConfig, noise_training
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm
from lrn.robust.smoothing import SmoothingConfig
from lrn.robust.trades import TRADESConfig, trades
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Learner

EPS, STEP = 8 / 255, 2 / 255
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
RESNET18 = nets.resnet18(10, mean=MEAN, std=STD)
WIDE = nets.wide_resnet(10, 34, 10, mean=MEAN, std=STD)
RESNET110 = from_flax(ResNet(10, (18, 18, 18), 16, mean=MEAN, std=STD))
RADII = ("radius 0", "radius 0.25", "radius 0.5", "radius 0.75", "radius 1", "ACR")
COHEN = {0.25: (0.748, 0.600, 0.428, 0.266, 0.0, 0.429), 0.5: (0.652, 0.546, 0.414, 0.320, 0.234, 0.538)}


def _sgd(rate: float, decay: float, steps: int, drops: tuple[float, ...] = ()) -> OptimizerConfig:
    """SGD whose rate falls to a tenth after shares of the steps; without them it rises and falls linearly."""
    common = OptimizerConfig("sgd", rate, weight_decay=decay, decayed="all")
    if not drops:
        return dataclasses.replace(common, schedule="linear", steps=steps, warmup=0.5 * steps)
    at = tuple(max(int(share * steps), i + 1) for i, share in enumerate(drops))
    return dataclasses.replace(common, schedule="piecewise", drops=at)


def _fast(steps: int) -> Learner:
    attack = rs_fgsm(RSFGSMConfig(eps=EPS, step_ratio=1.25))
    return on_attacked(RESNET18, _sgd(0.2, 5e-4, steps), attack, "training")


def _madry(steps: int) -> Learner:
    attack = pgd(PGDConfig(eps=EPS, step_size=STEP, steps=7, keep="last"))
    return on_attacked(WIDE, _sgd(0.1, 2e-4, steps, (0.5, 0.75)), attack, "training")


def _trades(steps: int) -> Learner:
    config = TRADESConfig(_sgd(0.1, 2e-4, steps, (75 / 76,)), beta=6.0, eps=EPS, step_size=0.007, steps=10)
    return trades(WIDE, config)


def _cohen(sigma: float) -> Line:
    aims = {name: max(x - (0.01 if name == "ACR" else 0.005), 0) for name, x in zip(RADII, COHEN[sigma])}
    judge = certified(SmoothingConfig(sigma=sigma, estimation=100_000))

    def learner(steps: int) -> Learner:
        optimizer = _sgd(0.1, 1e-4, steps, (1 / 3, 2 / 3))
        return noise_training(RESNET110, NoiseTrainingConfig(optimizer, sigma=sigma))

    return Line(learner, RESNET110, 90, judge, aims, {}, 1, "cifar10", 256)


_PGD_20 = attacked("PGD-20", PGDConfig(eps=EPS, step_size=STEP, steps=20))
_PGD_50 = attacked("PGD-50 x 10", PGDConfig(eps=EPS, step_size=STEP, steps=50, restarts=10))
LINES = {
    "CIFAR-10 fast": Line(
        _fast, RESNET18, 30, _PGD_50, {"clean": 0.828, "PGD-50 x 10": 0.456, "AutoAttack": 0.427}, {}, 3,
        "cifar10", 128,
    ),
    "CIFAR-10 PGD": Line(
        _madry, WIDE, 204.8, _PGD_20, {"clean": 0.866, "PGD-20": 0.465, "AutoAttack": 0.435}, {}, 1,
        "cifar10", 128,
    ),
    "CIFAR-10 TRADES": Line(
        _trades, WIDE, 76, _PGD_20, {"clean": 0.844, "PGD-20": 0.561, "AutoAttack": 0.526}, {}, 1,
        "cifar10", 128,
    ),
    **{f"CIFAR-10 smoothing {sigma:g}": _cohen(sigma) for sigma in COHEN},
}  # fmt: skip
