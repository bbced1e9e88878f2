"""One classification under many shifts: of the pictures, of class frequencies, of the meaning of labels.

A task is a deployment of a classifier. All tasks have the same classes and differ by three kinds of
shift. Each shift has a dial, which is 0 for no shift:

- covariate shift: the pictures are turned, brightened, faded, tinted or noisy (``turn`` and so on);
- label shift: some classes are common and others rare (``imbalance``);
- concept shift: some classes have exchanged their labels (``renamed``).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lrn import check
from lrn.data.sampler import permute
from lrn.meta.episode import TaskFamily
from lrn.meta.families.few_shot import as_pixels, class_table
from lrn.types import Array, Batch, Key, PyTree


def shifted(
    images: Array,
    shots: int,
    queries: int,
    *,
    turn: Any = 0.0,
    brightness: Any = 0.0,
    contrast: Any = 0.0,
    tint: Any = 0.0,
    noise: Any = 0.0,
    imbalance: Any = 0.0,
    renamed: Any = 0.0,
) -> TaskFamily:
    """Tasks of all classes under shifts, whose sizes are drawn uniformly up to the dials.

    Args:
        images: [classes, examples, height, width, channels], uint8 in 0 to 255, which are scaled to [0,
            1], or floats in [0, 1].
        shots, queries: the number of examples in the support and in the query set, over all classes.
        turn: the largest rotation, in degrees, in either direction.
        brightness: the largest number that is added to all pixels or subtracted from them.
        contrast: the largest fraction by which the distance of pixels from mid gray shrinks.
        tint: the largest fraction by which a channel is scaled up or down; channels are scaled independently.
        noise: the largest standard deviation of normal noise on each pixel.
        imbalance: 1 / concentration of the Dirichlet distribution of class frequencies.
        renamed: the fraction of classes that exchange their labels in a cycle, at random. The fraction is
            rounded to whole classes; a single class keeps its label.

    The code of a task is (angle / 180, brightness, contrast, noise, tints, frequencies, labels one-hot).

    Raises:
        ValueError: the data has fewer examples than a task needs, a count is below 1, a dial is out of
            range, the images have another type, or floats whose values are known lie outside of [0, 1].
    """
    images = class_table(images, shots, queries)
    _check_pixels(images)
    classes, examples, *_, channels = images.shape
    check.between("turn", turn, 0.0, 180.0)
    check.non_negative("imbalance", imbalance)
    dials = {"brightness": brightness, "contrast": contrast, "tint": tint, "noise": noise, "renamed": renamed}
    for name, dial in dials.items():
        check.between(name, dial, 0.0, 1.0)

    def sample(key: Key) -> PyTree:
        angle, light, fade, tints, grain, often, names = jax.random.split(key, 7)
        # One vmapped draw compiles faster than four draws.
        keys, least = jnp.stack([angle, light, fade, grain]), jnp.array([-1.0, -1.0, 0.0, 0.0])
        angle, light, fade, grain = jax.vmap(lambda k, low: jax.random.uniform(k, minval=low))(keys, least)
        concentration = 1 / jnp.maximum(imbalance, 1e-3)
        frequency = jax.random.dirichlet(often, jnp.full(classes, concentration))
        return {
            "angle": turn * angle,
            "brightness": brightness * light,
            "contrast": contrast * fade,
            "tint": tint * jax.random.uniform(tints, (channels,), minval=-1.0),
            "noise": noise * grain,
            "frequency": jnp.where(imbalance > 0, frequency, 1 / classes),
            "name": _handed_round(names, classes, renamed),
        }

    def batch(key: Key, task: PyTree) -> tuple[Batch, Batch]:
        class_key, example_key, noise_key = jax.random.split(key, 3)
        count = shots + queries
        y = jax.random.categorical(class_key, jnp.log(task["frequency"]), shape=(count,))
        x = as_pixels(images[y, permute(example_key, jnp.arange(count), examples)])
        x = jax.vmap(lambda picture: rotated(picture, task["angle"]))(x)
        x = 0.5 + (1 - task["contrast"]) * (x - 0.5) + task["brightness"]
        # A draw of one axis: on CPU a draw of four axes takes several times as long to compile.
        noise = jax.random.normal(noise_key, (x.size,)).reshape(x.shape)
        x = x * (1 + task["tint"]).reshape(1, 1, 1, -1) + task["noise"] * noise
        x, y = jnp.clip(x, 0, 1), task["name"][y].astype(jnp.int32)
        return {"x": x[:shots], "y": y[:shots]}, {"x": x[shots:], "y": y[shots:]}

    def code(task: PyTree) -> Array:
        numbers = jnp.stack([task["angle"] / 180, task["brightness"], task["contrast"], task["noise"]])
        names = jax.nn.one_hot(task["name"], classes).reshape(-1)
        return jnp.concatenate([numbers, task["tint"], task["frequency"], names])

    return TaskFamily("shifted classes", sample, batch, classes, code)


def _check_pixels(images: Array) -> None:
    """Raise InputError for floats outside of [0, 1], to which the shifted pictures are clipped."""
    if isinstance(images, Tracer) or images.dtype == jnp.uint8 or not images.size:
        return
    low, high = np.asarray(images).min(), np.asarray(images).max()
    if not (low >= 0 and high <= 1):
        raise check.InputError(
            f"float images must lie in [0, 1], got {low:g} to {high:g}; scale them, or give uint8."
        )


def rotated(picture: Array, degrees: Array) -> Array:
    """A picture [height, width, channels] turned counterclockwise about its center; new pixels are 0."""
    height, width, _ = picture.shape
    angle = jnp.deg2rad(degrees)
    y, x = ((jnp.arange(n) - (n - 1) / 2).reshape(s) for n, s in ((height, (height, 1)), (width, (1, width))))
    rows = jnp.cos(angle) * y + jnp.sin(angle) * x + (height - 1) / 2
    columns = -jnp.sin(angle) * y + jnp.cos(angle) * x + (width - 1) / 2
    at = [rows, columns]
    turned = jax.vmap(lambda c: jax.scipy.ndimage.map_coordinates(c, at, order=1), in_axes=-1, out_axes=-1)
    return turned(picture)


def _handed_round(key: Key, classes: int, fraction: Any) -> Array:
    """The label of each class, int [classes]: a random part of the classes shift their labels in a cycle."""
    order = jax.random.permutation(key, classes)
    moving = jnp.round(fraction * classes).astype(jnp.int32)
    place = jnp.arange(classes)
    following = jnp.where(place < moving, jnp.where(place + 1 == moving, 0, place + 1), place)
    return jnp.zeros(classes, jnp.int32).at[order].set(order[following].astype(jnp.int32))
