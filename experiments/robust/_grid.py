"""The trainings of a grid of widths and numbers of images, at the learning rates that validation chooses."""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.robust._watched import Images, watched, whole
from lrn.robust.adversarial_training import AdversarialTrainingConfig, adversarial_training
from lrn.robust.attack import no_attack
from lrn.robust.pgd import PGDConfig, pgd
from lrn.study.context import Context
from lrn.study.select import select
from lrn.types import Learner

TIMES, SHARES, BATCH = (1, 4, 16), ("a quarter", "half", "all"), 64
CROSS = ((1, 16), (4, 16), (16, 16), (16, 4), (16, 1))  # times the width, times the images


class Arm(NamedTuple):
    """What differs between the lanes of one program: the number of training images and the rate."""

    images: float
    rate: float


def cell(training: str, wider: int = 16, more: int = 16, share: str = "all") -> str:
    """The name of an arm: a training, its width, its data and its share of the steps."""
    return f"{training}, width x {wider}, data x {more}, {share}"


def learner(config: Any, training: str, wider: int, arm: Arm) -> Learner:
    """A training whose step is an epoch; the numbers of images and the rates are one program."""
    steps, net = config.attack_steps, config.net(wider)
    on_pgd = pgd(PGDConfig(config.eps, 2.5 * config.eps / steps, steps, keep="last"))
    attack = no_attack if training == "standard" else on_pgd
    plain = adversarial_training(net, AdversarialTrainingConfig(learning_rate=arm.rate), attack)
    return watched(plain, net, attack, config.epoch, config.marks, arm.images)


def chosen(config: Any, context: Context, parts: Images, training: str, wider: int) -> tuple[Any, Any]:
    """By arm the weights [seeds, ...] of the rate that validation chose, and the seeds that failed."""
    sizes = [n for w, n in CROSS if w == wider]
    name, per_seed = f"{training}, width x {wider}", {"train": parts.train, "valid": parts.valid}
    lanes = {f"{name}, data x {n}, rate {r:g}": Arm(n * config.train, r) for n in sizes for r in config.rates}
    fit = context.fit(
        functools.partial(learner, config, training, wider), lanes, name=name, steps=config.marks[-1],
        sampler=whole(config.epoch * BATCH), data=parts.data, save_seconds=300.0, per_seed=per_seed,
    )  # fmt: skip
    weights, lost = {}, np.zeros(len(context.seeds), bool)
    for more, (j, share) in itertools.product(sizes, enumerate(SHARES)):
        arm, own = cell(training, wider, more, share), [k for k in lanes if f"data x {more}," in k]
        kept, bad = [fit.arm(k).kept for k in own], np.stack([fit.lost(k) for k in own])
        scores = np.stack([np.asarray(k.accuracy)[:, j] for k in kept])
        choice = select({arm: np.where(bad, np.nan, scores)}, "higher")[arm]
        weights[arm] = jax.tree.map(lambda leaf, j=j: np.asarray(leaf)[:, j], kept[choice.only].best)
        lost |= bad[choice.only]
        steps = config.marks[j] * config.epoch
        context.chosen(arm, choice, len(own))
        context.given(arm, {"steps": steps, "samples": steps * BATCH})
        context.judged_on_rows(arm, parts.test, np.concatenate([parts.train, parts.valid], 1))
    return weights, lost
