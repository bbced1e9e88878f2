"""The trainings of `experiments.bench.ssl`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lrn import data, nets, train
from lrn.data.sampler import minibatch
from lrn.ssl.recipes import gray_images, simclr_images
from lrn.ssl.simclr import SimCLRConfig, simclr
from lrn.ssl.views import View
from lrn.supervised.optimizers import OptimizerConfig
from lrn.types import Net

TEMPERATURE, RATE = 0.5, 1e-3


class Setting(NamedTuple):
    """A training to measure.

    name: of the data set. network: its name for lightly. encoder: maps images to features. head: the
    projector, of one hidden layer. view: the augmentations. batch, steps: the defaults.
    """

    name: str
    network: str
    encoder: Net
    head: tuple[int, int]
    view: View
    batch: int
    steps: int


SETTINGS = {
    "simclr": Setting("mnist", "cnn", nets.cnn(None, (32, 64), (128,)), (128, 64), gray_images(), 256, 20),
    "resnet": Setting("cifar10", "resnet", nets.resnet18(None), (512, 128), simclr_images(), 64, 8),
}


def projector(setting: Setting) -> Net:
    """The projector of a setting."""
    return nets.projector(setting.head[1], (setting.head[0],))


def channels(images: np.ndarray) -> np.ndarray:
    """Images [n, height, width(, 3)] with an axis of channels."""
    return images if images.ndim == 4 else images[..., None]


def load(name: str) -> np.ndarray:
    """The training images of a set, uint8 [n, height, width(, 3)]."""
    images = np.asarray(data.load(name, "train")["image"])
    return images[..., 0] if images.shape[-1] == 1 else images


def fitted(setting: Setting, images: np.ndarray, seeds: Any, batch: int, steps: int) -> train.Fit:
    """SimCLR on images uint8, all seeds in one call."""
    return train.fit(
        lambda c: simclr(setting.encoder, projector(setting), setting.view, c),
        SimCLRConfig(OptimizerConfig("adam", RATE), temperature=TEMPERATURE),
        seeds,
        steps=steps,
        data={"image": channels(images)},
        sampler=minibatch(batch, columns=("image",)),
        progress=False,
        log_every=steps,
    )
