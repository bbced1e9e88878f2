"""Rotations and translations of images (Engstrom et al. 2019).

The threat model is no Lp ball: the result lies in the box, and its distance from the clean image is as large
as the image's contrast. In `lrn.robust.evaluate.robust_accuracy` this attack counts like any other, so that
"worst" is then the accuracy under the union of its threat models: report accuracy under rotations and
translations in a call of its own, or say that "worst" is over a union. `masking_gap` does not compare it with
attacks in a ball.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.config import config
from lrn.robust.attack import Attack, LogitsFn, check_examples, column, in_box
from lrn.robust.closest import rounded
from lrn.robust.losses import LOSSES
from lrn.robust.norms import widen
from lrn.robust.pgd import classification_objective
from lrn.types import Array, Key

METHODS = ("grid", "random", "first_order")


@config
class SpatialConfig:
    """Settings of the attack by rotations and translations.

    rotation: the largest angle in degrees, in both directions.
    translation: the largest shift in pixels, in all four directions.
    step_size: the step of the first-order method, as a share of the two ranges.
    method: "grid" tries all combinations of angles and shifts, the strongest attack in the paper; "random"
        tries some of them (worst of k); "first_order" follows the sign of the gradient of the loss by angle
        and shifts.
    rotations: the number of angles of the grid.
    translations: the number of shifts of the grid along each axis.
    samples: the number of random transformations, or of the first-order method's starts.
    steps: the number of steps of the first-order method.
    loss: the loss to maximize, one of `lrn.robust.losses.LOSSES`.
    """

    rotation: float = 30.0
    translation: float = 3.0
    step_size: float = 0.1
    method: str = "grid"
    rotations: int = 31
    translations: int = 5
    samples: int = 10
    steps: int = 20
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        check.between("rotation", self.rotation, 0, 180)
        check.non_negative("translation", self.translation)
        check.positive("step_size", self.step_size)
        check.choice("method", self.method, METHODS)
        check.counts(self, "rotations", "translations", "samples", "steps")
        check.choice("loss", self.loss, LOSSES)


def spatial(config: SpatialConfig) -> Attack:
    """The attack, which returns the worst of the images that it tries, the clean image included.

    ``x`` is [batch, height, width, channels]. A misclassified image is worse than any other, and among equals
    the larger loss is worse.
    """

    def attack(key: Key, logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        return search(key, logits_fn, x, y, config)[0]

    return attack


def search(key: Key, logits_fn: LogitsFn, x: Array, y: Array, config: SpatialConfig) -> tuple[Array, Array]:
    """The search of `spatial`, with the transformations found.

    Args:
        key: the key of the random transformations; unused by the grid.
        logits_fn, x, y: as for an `Attack`.
        config: the settings.

    Returns:
        The images [batch, height, width, channels], and the angle in degrees and the shifts in pixels (down
        and right) of each, [batch, 3], which are 0 for a clean image.

    Raises:
        ValueError: x is not [batch, height, width, channels], or `check_examples` refuses ``x`` and ``y``.
    """
    x, y = check_examples(logits_fn, x, y)
    if x.ndim != 4:
        raise check.InputError(
            f"the spatial attack needs images [batch, height, width, channels], got shape {x.shape}; "
            "reshape x."
        )
    judge = classification_objective(logits_fn, y, config.loss)
    limits = jnp.stack([jnp.asarray(v, jnp.float32) for v in (config.rotation, *2 * (config.translation,))])

    def at(place: Array) -> _Found:
        """The images at a place in the cube [-1, 1]^3 of transformations, [batch, 3]."""
        values = place * limits[None]
        z = rounded(transform(x, values[:, 0], values[:, 1:]), x)
        return _Found(z, place, *judge(z))

    def consider(best: _Found, place: Array) -> tuple[_Found, None]:
        return _worse(best, at(place)), None

    best = _Found(x, jnp.zeros((x.shape[0], 3), jnp.float32), *judge(x))
    if config.method == "first_order":
        best = _climb(key, at, best, config)
    elif config.method == "grid":
        axis = _cells(config.translations)
        cells = np.array(list(itertools.product(_cells(config.rotations), axis, axis)), np.float32)
        best, _ = jax.lax.scan(lambda b, c: consider(b, jnp.tile(c[None], (x.shape[0], 1))), best, cells)
    else:
        samples = jnp.arange(config.samples)
        best, _ = jax.lax.scan(lambda b, i: consider(b, _random_place(key, i, x.shape[0])), best, samples)
    # Zeros come in from beyond the edges, so an image that is not valid has to be marked again.
    return jnp.where(in_box(x)[:, None, None, None], best.x, jnp.nan), best.place * limits[None]


def transform(x: Array, angle: Array, shift: Array) -> Array:
    """Rotate images about their center, and then shift them; bilinear, with black beyond the edges.

    Args:
        x: images [batch, height, width, channels].
        angle: degrees [batch]; a positive angle turns from the axis down to the axis right, counterclockwise
            as the image is seen.
        shift: pixels down and right, [batch, 2].

    Returns:
        Images of the same shape, in float32 or wider. Each pixel is a mean of pixels of ``x`` and black, so
        the box holds the result. Angle and shift have derivatives, where no pixel lies on the lattice.
    """
    pixels = widen(x)
    batch, height, width, channels = x.shape
    radians = jnp.deg2rad(angle).astype(pixels.dtype).reshape(batch, 1, 1)
    down, right = (shift[:, i].astype(pixels.dtype).reshape(batch, 1, 1) for i in (0, 1))
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    # Each output pixel looks up where it comes from: the inverse shift, and then the inverse rotation.
    rows = jnp.arange(height, dtype=pixels.dtype).reshape(1, -1, 1) - middle_row - down
    columns = jnp.arange(width, dtype=pixels.dtype).reshape(1, 1, -1) - middle_column - right
    cosine, sine = jnp.cos(radians), jnp.sin(radians)
    source_row = cosine * rows + sine * columns + middle_row
    source_column = -sine * rows + cosine * columns + middle_column
    flat = pixels.reshape(batch, height * width, channels)
    total = jnp.zeros_like(pixels)
    top, left = jnp.floor(source_row), jnp.floor(source_column)
    for r, c in ((0, 0), (0, 1), (1, 0), (1, 1)):
        near_row, near_column = top + r, left + c
        weight = (1 - jnp.abs(source_row - near_row)) * (1 - jnp.abs(source_column - near_column))
        inside = (near_row >= 0) & (near_row < height) & (near_column >= 0) & (near_column < width)
        index = jnp.where(inside, near_row * width + near_column, 0).astype(jnp.int32)
        value = jnp.take_along_axis(flat, index.reshape(batch, -1, 1), axis=1).reshape(pixels.shape)
        total = total + jnp.where(inside, weight, 0)[..., None] * value
    return jnp.clip(total, 0, 1)  # a sum of rounded weights may exceed 1 in the last bit


def _cells(count: int) -> np.ndarray:
    """Evenly spaced values from -1 to 1; 0 for a single value."""
    return np.linspace(-1, 1, count) if count > 1 else np.zeros(1)


def _random_place(key: Key, i: Array, batch: int) -> Array:
    return jax.random.uniform(jax.random.fold_in(key, i), (batch, 3), minval=-1.0, maxval=1.0)


class _Found(NamedTuple):
    """Images [batch, ...], their places [batch, 3], losses [batch], and whether the network is wrong."""

    x: Array
    place: Array
    loss: Array
    fooled: Array


def _worse(old: _Found, new: _Found) -> _Found:
    """The image of each example that is misclassified, or among equals has the larger loss."""
    take = (new.fooled & ~old.fooled) | ((new.fooled == old.fooled) & (new.loss > old.loss))
    return jax.tree.map(lambda a, b: jnp.where(column(take, a), b, a), old, new)


def _climb(key: Key, at: Callable[[Array], _Found], best: _Found, config: SpatialConfig) -> _Found:
    """Projected ascent by the sign of the gradient in the cube of transformations, from random starts."""

    def total(place: Array) -> tuple[Array, _Found]:
        here = at(place)
        return jnp.sum(here.loss), here

    def step(carry: tuple[Array, _Found], _: None) -> tuple[tuple[Array, _Found], None]:
        place, best = carry
        gradient, here = jax.grad(total, has_aux=True)(place)
        move = config.step_size * jnp.sign(jnp.where(jnp.isfinite(gradient), gradient, 0))
        return (jnp.clip(place + move, -1, 1), _worse(best, here)), None

    def start(best: _Found, i: Array) -> tuple[_Found, None]:
        begin = _random_place(key, i, best.x.shape[0]), best
        (place, best), _ = jax.lax.scan(step, begin, length=config.steps)
        return _worse(best, at(place)), None

    return jax.lax.scan(start, best, jnp.arange(config.samples))[0]
