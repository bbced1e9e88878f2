"""Few-shot classification of images: a task is a few classes out of many, with new labels.

    family = few_shot(images, ways=5, shots=1, queries=15)  # images [classes, examples, h, w, c]
    sampler = episodes(lambda data: few_shot(data["images"], 5, 1, 1, rotations=True), 32)

The device draws classes without repeats, the order of the classes (so that a label carries no information
about its class), and examples without repeats. With ``rotations`` a class turned by 90, 180 and 270
degrees counts as three more classes, the convention for Omniglot (Santoro et al. 2016).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lrn import check
from lrn.data.sampler import permute
from lrn.meta.episode import TaskFamily
from lrn.types import Array, Batch, Key, PyTree


def few_shot(
    images: Array,
    ways: int,
    shots: int,
    queries: int,
    *,
    rotations: bool = False,
    shuffled: bool = True,
) -> TaskFamily:
    """Tasks of ``ways`` classes with ``shots`` support examples and ``queries`` query examples of each class.

    Args:
        images: [classes, examples, height, width, channels], uint8 in 0 to 255, which are scaled to [0,
            1], or floats, which stay as they are.
        ways: the number of classes of a task.
        shots: the number of examples of each class in the support set.
        queries: the number of examples of each class in the query set.
        rotations: whether a turned class counts as another class; needs square images.
        shuffled: whether labels are drawn anew for each task. If not, a label is the class's number modulo
            ``ways``; tasks then do not contradict each other, and a network can memorize them.

    The code of a task is the numbers of its classes, int [ways], from 0 to classes - 1 (4
    classes - 1 with rotations).

    Raises:
        ValueError: the data has fewer classes or examples than a task needs, a count is below 1 (``ways``
            below 2), or the images have another shape or type.
    """
    images = class_table(images, shots, queries)
    classes, examples, height, width, _ = images.shape
    check.integer("ways", ways, low=2)
    turns = 4 if rotations else 1
    if rotations and height != width:
        raise check.InputError(f"rotations need square images, got {height}x{width}; crop them.")
    if ways > classes * turns:
        raise check.InputError(
            f"{ways} ways need as many classes and the data has {classes * turns}; choose fewer ways."
        )
    if not shuffled and classes * turns < 2 * ways:
        raise check.InputError(
            f"without shuffled labels each of {ways} labels needs two classes or more, and the data has "
            f"{classes * turns}; choose fewer ways."
        )

    def sample(key: Key) -> PyTree:
        if shuffled:
            return permute(key, jnp.arange(ways), classes * turns)
        group = jax.random.randint(key, (ways,), 0, classes * turns // ways)
        return (group * ways + jnp.arange(ways)).astype(jnp.int32)

    def batch(key: Key, task: PyTree) -> tuple[Batch, Batch]:
        which = jax.vmap(lambda k: jax.random.permutation(k, examples)[: shots + queries])(
            jax.random.split(key, ways)
        )
        x = images[(task % classes)[:, None], which]  # [ways, shots + queries, height, width, channels]
        if rotations:
            x = turned(x, task // classes)
        x = as_pixels(x)

        def part(begin: int, count: int) -> Batch:
            chosen = x[:, begin : begin + count].swapaxes(0, 1)  # examples of all classes in turn
            y = jnp.tile(jnp.arange(ways, dtype=jnp.int32), count)
            return {"x": chosen.reshape(-1, *x.shape[2:]), "y": y}

        return part(0, shots), part(shots, queries)

    return TaskFamily("few-shot classes", sample, batch, ways, lambda task: task)


def class_table(images: Array, shots: int, queries: int) -> Array:
    """The images of classes [classes, examples, height, width, channels] as a device array.

    Raises:
        ValueError: another shape or type, pixels that are 0 or 1 as uint8 (where they are known), a count
            below 1, or fewer examples than both counts together.
    """
    if getattr(images, "ndim", 0) != 5:
        raise check.InputError(
            f"images must be [classes, examples, height, width, channels], got "
            f"{list(getattr(images, 'shape', []))}; see lrn.data.few_shot.by_class."
        )
    check.integer("shots", shots, low=1)
    check.integer("queries", queries, low=1)
    if shots + queries > images.shape[1]:
        raise check.InputError(
            f"{shots} shots and {queries} queries need {shots + queries} examples of a class and the data has"
            f" {images.shape[1]}; choose fewer."
        )
    if images.dtype != jnp.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise check.InputError(
            f"images must be uint8, 0 to 255, or float, as the network is to see them, got {images.dtype}, "
            "whose scale is not known; convert them."
        )
    # On the host: under a trace nothing that jax computes is known.
    if (
        images.dtype == jnp.uint8
        and not isinstance(images, Tracer)
        and np.asarray(images).max(initial=0) == 1
    ):
        raise check.InputError(
            "images are uint8, 0 to 255, and none of these pixels is above 1; multiply them by 255, or "
            "convert them to float."
        )
    return jnp.asarray(images)


def as_pixels(x: Array) -> Array:
    """Images as floats; uint8, 0 to 255, is scaled to [0, 1]."""
    return x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x


def turned(x: Array, quarter: Array) -> Array:
    """Images [ways, n, h, w, c], those of each way turned by so many quarters, int [ways] in 0 to 3."""
    quarter = quarter.reshape(-1, 1, 1, 1, 1)
    half = x[:, :, ::-1, ::-1]
    x = jnp.where(quarter >= 2, half, x)
    return jnp.where(quarter % 2 == 1, jnp.rot90(x, axes=(2, 3)), x)
