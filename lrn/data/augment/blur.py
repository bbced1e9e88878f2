"""Gaussian blur of images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero
from lrn.data.augment import arguments, resample
from lrn.data.augment.combine import Augmentation
from lrn.types import Array, Key


def gaussian_blur(kernel: int, sigma: tuple[float, float] = (0.1, 2.0), p: float = 0.5) -> Augmentation:
    """Blur each image with probability p by a Gaussian of random width.

    Args:
        kernel: the side of the kernel in pixels, odd; SimCLR takes a tenth of the image.
        sigma: the range of the standard deviation, uniform, in pixels, above 0; its ends may be traced.
        p: the probability; may be traced.

    Raises:
        InputError: a setting is out of range; from the augmentation: as `blurred`.
    """
    _kernel(kernel)
    low, high = arguments.interval("sigma", sigma, 0, float("inf"))
    check.positive("the lower end of sigma", low)
    p = arguments.probability(p)

    def augment(key: Key, x: Array) -> Array:
        x = arguments.images(x, p)
        sigma_key, choose_key = jax.random.split(key)
        widths = arguments.uniform(sigma_key, x.shape[0], low, high)
        return blurred(x, widths, kernel, changed=arguments.chosen(choose_key, p, x.shape[0]))

    return augment


def blurred(x: Array, sigma: ArrayLike, kernel: int, *, changed: ArrayLike = True) -> Array:
    """Images blurred by a Gaussian with reflected borders: torchvision's ``gaussian_blur``.

    Args:
        x: images [batch, height, width, channels].
        sigma: the standard deviation in pixels, above 0, one for all or one for each image [batch]. An
            array's value that is not above 0 makes its image NaN.
        kernel: the side of the kernel in pixels, odd.
        changed: whether an image is changed at all, one bool or [batch].

    Raises:
        InputError: an argument is out of range, or half of the kernel is wider than the image.
    """
    x = arguments.images(x)
    _kernel(kernel)
    check.positive("sigma", sigma)
    batch, rows, columns = x.shape[:3]
    if kernel // 2 >= min(rows, columns):
        raise check.InputError(
            f"half of a kernel of {kernel} pixels must be smaller than the image of {rows}x{columns} pixels; "
            "choose a smaller kernel."
        )
    widths = jnp.broadcast_to(arguments.over(above_zero(sigma), batch, 1), (batch,))
    mask = arguments.over(changed, batch, 3)
    weights = []
    for side in (rows, columns):
        same = jnp.eye(side)[None]
        weights.append(jnp.where(mask, resample.blurring(widths, side, kernel), same))
    return resample.along_both(x, *weights)


def _kernel(kernel: int) -> None:
    check.integer("kernel", kernel, 1)
    if kernel % 2 == 0:
        raise check.InputError(f"kernel must be odd, got {kernel}; choose {kernel - 1} or {kernel + 1}.")
