"""What the studies of self-supervised learning share: rows of each seed, views, and probes of features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lrn import data
from lrn.data.augment import (
    Augmentation,
    color_jitter,
    compose,
    crop_in_time,
    jitter,
    mask_in_time,
    random_resized_crop,
    scale_channels,
)
from lrn.data.dataset import split
from lrn.supervised.probes.linear import linear_probe
from lrn.types import Array

PARTS = ("train", "validation", "test")


class Task(NamedTuple):
    """A labeled set as a study uses it. Labels serve the probes alone.

    data: {"image" or "x": [rows, ...], "label": int [rows]}; all seeds share these arrays.
    rows: from "train", "validation" and "test" to integers [seeds, n], the disjoint rows of each seed.
    classes: the number of labels.
    """

    data: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    classes: int

    @property
    def column(self) -> str:
        """The name of the inputs."""
        return "image" if "image" in self.data else "x"


def task(name: str, seeds: Sequence[int], sizes: Sequence[int]) -> Task:
    """A set that each seed divides anew.

    Args:
        name: "digits", "mnist", "fashion_mnist" or "mnist1d".
        seeds: the seeds of the study.
        sizes: the numbers of training, validation and test rows.
    """
    whole = data.load(name, "all" if name == "digits" else "train")
    column = "image" if "image" in whole else "x"
    return divided({column: np.asarray(whole[column]), "label": np.asarray(whole["label"])}, seeds, sizes)


def divided(arrays: Mapping[str, np.ndarray], seeds: Sequence[int], sizes: Sequence[int]) -> Task:
    """A task from arrays with a "label", which each seed divides into parts of these sizes."""
    total = len(arrays["label"])
    if sum(sizes) > total:
        raise ValueError(f"{sum(sizes)} rows are asked of a set of {total}; ask for fewer.")
    shares = [size / total for size in sizes]
    own = [[part[:size] for part, size in zip(split(int(s), total, shares), sizes)] for s in seeds]
    rows = {part: np.stack([each[i] for each in own]).astype(np.int32) for i, part in enumerate(PARTS)}
    return Task(dict(arrays), rows, int(arrays["label"].max()) + 1)


def image_view(scale: float = 0.3, strength: float = 0.4) -> Augmentation:
    """Views of gray images: a crop of at least ``scale`` of the area, and another contrast."""
    return compose(
        random_resized_crop(scale=(scale, 1.0)), color_jitter(brightness=strength, contrast=strength)
    )


def sequence_view(share: float = 0.5, noise: float = 0.1) -> Augmentation:
    """Views of sequences: a window of at least ``share`` of the time, noise, a hidden stretch."""
    return compose(crop_in_time((share, 1.0)), scale_channels(0.3), jitter(noise), mask_in_time(0.2))


def floats(x: Any) -> Array:
    """Images of bytes in [0, 1]; other arrays as they are."""
    return jnp.asarray(x, jnp.float32) / 255 if x.dtype == np.uint8 else jnp.asarray(x)


def probed(features: Callable[[Array], Array], own: Mapping[str, Any], task: Mapping[str, Any], classes: int):
    """The accuracy of a linear probe on features, whose penalty is chosen on validation rows.

    Args:
        features: maps inputs [n, ...] to features [n, dim].
        own: the rows of one seed, by part. task: the data of a `Task`.
        classes: the number of labels.

    Returns:
        {"validation": scalar, "test": scalar}, accuracies in [0, 1].
    """
    column = "image" if "image" in task else "x"
    h = {part: features(floats(task[column][own[part]])).reshape(own[part].shape[0], -1) for part in PARTS}
    y = {part: jnp.asarray(task["label"])[own[part]] for part in PARTS}
    probe = linear_probe(
        h["train"], y["train"], h["validation"], y["validation"], classes, l2=(1e-3, 1e-2, 1e-1)
    )
    right = jnp.mean(jnp.argmax(probe.logits(h["test"]), 1) == y["test"], dtype=jnp.float32)
    return {"validation": probe.accuracy[probe.chosen], "test": right}
