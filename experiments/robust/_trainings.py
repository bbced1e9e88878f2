"""What studies of robust training share: test images of each seed's own, networks, and six trainings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lrn import check, nets
from lrn.data.dataset import split
from lrn.data.seeded import Parts, for_seeds
from lrn.robust.adversarial_training import AdversarialTrainingConfig, adversarial_training
from lrn.robust.attack import no_attack
from lrn.robust.free import FreeConfig, free
from lrn.robust.mart import MARTConfig, mart
from lrn.robust.pgd import PGDConfig, pgd
from lrn.robust.rs_fgsm import RSFGSMConfig, rs_fgsm
from lrn.robust.trades import TRADESConfig, trades
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Net

STEPS = 7  # of the attack in PGD training, TRADES and MART
REPLAYS = 8  # updates on each batch in free training
# Gradients that an image costs in one step: those of the attack, and those of the update.
PASSES = {"standard": 1, "PGD": STEPS + 1, "fast": 2, "TRADES": STEPS + 2, "MART": STEPS + 2, "free": REPLAYS}
# The clean accuracy that standard training must reach, by data set.
CLEAN = {"digits": 0.9, "mnist": 0.93, "fashion_mnist": 0.8}


# "cnn" is the network of Wong & Kolter (2018) for MNIST.
NETS = {
    "mlp": nets.mlp(10, (128, 128)),
    "cnn": nets.cnn(10, (16, 32), (100,), kernel=4, down="stride"),
}


def own_images(name: str, seeds: Sequence[int], images: int) -> Parts:
    """The rows of each seed: the split digits, or the training part and drawn test images."""
    if name == "digits":
        return for_seeds(name, seeds, drawn=True, most=images)
    parts = for_seeds(name, seeds)
    rows = parts.test_rows.shape[1]
    share = min(1.0, images / rows)
    return parts._replace(test_rows=np.stack([split(int(seed), rows, (share,))[0] for seed in seeds]))


def record_overlap(context: Any, arm: str, name: str, parts: Parts) -> None:
    """Record for `no_overlap` how many of the images of all seeds an arm was trained on."""
    if name == "digits":
        context.judged_on_parts(arm, parts, "image")
        return
    judged = parts.test["image"][np.unique(parts.test_rows)]  # the seeds share the training part
    context.judged_on(arm, judged, trained_on=parts.train["image"])


def steps_of(training: str, updates: int) -> int:
    """The number of batches of a training with so many updates of the weights."""
    return updates // REPLAYS if training == "free" else updates


def adam(rate: Any, updates: int) -> OptimizerConfig:
    """Adam, whose rate rises over a fifth of the updates and falls to 0."""
    return OptimizerConfig("adamw", rate, schedule="cosine", steps=updates, warmup=float(updates // 5))


def learner_of(net: Net, training: str, rate: float, updates: int, eps: Any) -> Any:
    """One of the trainings of `PASSES`, by `adam`."""
    check.choice("training", training, tuple(PASSES))
    shared, warmup = adam(rate, updates), updates // 5
    ascent = {"eps": eps, "step_size": eps / 4, "steps": STEPS}
    if training == "free":
        return free(net, FreeConfig(shared, eps=eps, replays=REPLAYS))
    if training == "TRADES":
        return trades(net, TRADESConfig(shared, **ascent))
    if training == "MART":
        return mart(net, MARTConfig(shared, **ascent))
    own = AdversarialTrainingConfig("adam", rate, schedule="cosine", steps=updates, warmup=warmup)
    attack = {
        "standard": no_attack,
        "PGD": pgd(PGDConfig(**ascent, keep="last")),
        "fast": rs_fgsm(RSFGSMConfig(eps=eps)),
    }
    return adversarial_training(net, own, attack[training])
