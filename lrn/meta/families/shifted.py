"""One classification through many shifts: of the pictures, of how common classes are, of what labels mean.

A task is a place where a classifier is deployed. All tasks have the same classes; what differs is, each with
a dial of its own that is 0 for none:

- covariate shift: the pictures are turned, brightened, faded, tinted or noisy (``turn`` and so on);
- label shift: some classes are common and others rare (``imbalance``);
- concept shift: some labels have changed places (``renamed``).
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
    """Tasks of all classes, under shifts drawn from ranges that the dials give.

    Args:
        images: uint8 (0 to 255, scaled to [0, 1]) or float in [0, 1], [classes, examples, height, width,
            channels].
        shots, queries: examples in the support and the query set, of all classes together.
        turn: most degrees, either way.
        brightness: most that is added to all pixels, either way.
        contrast: most that the distance from mid gray is lessened by, as a fraction.
        tint: most that a channel is scaled up or down by, as a fraction, each channel by itself.
        noise: greatest deviation of normal noise on each pixel.
        imbalance: 1 / concentration of the Dirichlet distribution that class frequencies are drawn from.
        renamed: fraction of the classes whose names are handed round among them, at random; rounded to whole
            classes, and one alone keeps its name.

    The code of a task is (angle / 180, brightness, contrast, noise, tints, frequencies, names one-hot).

    Raises:
        ValueError: fewer examples than a task needs, a count below 1, a dial out of range, images of another
            type, or floats (where they are known) outside of [0, 1].
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
        # Side by side, which compiles sooner.
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
        # Drawn flat: on CPU, a draw of four axes takes the compiler several times as long.
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
    """Raise InputError for floats that shifted pictures, which end at 0 and 1, would be cut off at."""
    if isinstance(images, Tracer) or images.dtype == jnp.uint8 or not images.size:
        return
    low, high = np.asarray(images).min(), np.asarray(images).max()
    if not (low >= 0 and high <= 1):
        raise check.InputError(
            f"float images must lie in [0, 1], got {low:g} to {high:g}; scale them, or give uint8."
        )


def rotated(picture: Array, degrees: Array) -> Array:
    """A picture [height, width, channels] turned anticlockwise about its middle; what comes in is 0."""
    height, width, _ = picture.shape
    angle = jnp.deg2rad(degrees)
    y, x = ((jnp.arange(n) - (n - 1) / 2).reshape(s) for n, s in ((height, (height, 1)), (width, (1, width))))
    rows = jnp.cos(angle) * y + jnp.sin(angle) * x + (height - 1) / 2
    columns = -jnp.sin(angle) * y + jnp.cos(angle) * x + (width - 1) / 2
    at = [rows, columns]
    turned = jax.vmap(lambda c: jax.scipy.ndimage.map_coordinates(c, at, order=1), in_axes=-1, out_axes=-1)
    return turned(picture)


def _handed_round(key: Key, classes: int, fraction: Any) -> Array:
    """The new name of each class, int [classes]: some keep theirs, the others' move on by one among them."""
    order = jax.random.permutation(key, classes)
    moving = jnp.round(fraction * classes).astype(jnp.int32)
    place = jnp.arange(classes)
    following = jnp.where(place < moving, jnp.where(place + 1 == moving, 0, place + 1), place)
    return jnp.zeros(classes, jnp.int32).at[order].set(order[following].astype(jnp.int32))
