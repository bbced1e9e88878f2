"""Changes of color: torchvision's jitter, gray images, and solarized ones."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import between, zero_or_more
from lrn.data.augment import arguments
from lrn.data.augment.combine import Augmentation
from lrn.types import Array, Key

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
_ORDERS = np.array(list(itertools.permutations(range(4))), np.int32)
_LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601-2, with the digits of torchvision

Planes = tuple[Array, ...]  # the channels of images, [batch, height, width] each


def color_jitter(
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
    p: float = 1.0,
) -> Augmentation:
    """Random brightness, contrast, saturation and hue in random order: torchvision's ``ColorJitter``.

    All strengths and p may be traced. Images of one channel have neither saturation nor hue.

    Args:
        brightness, contrast, saturation: the factor of each is uniform over ``max(0, 1 - strength)`` to
            ``1 + strength``.
        hue: the shift of the hue is uniform over plus and minus this share of a turn, at most .5.
        p: the probability that an image is changed.

    Raises:
        InputError: a strength is out of range; from the augmentation: ``x`` is no batch of float images with
            one or three channels.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, strength in strengths.items():
        check.non_negative(name, strength)
    check.between("hue", hue, 0, 0.5)
    strengths = {name: zero_or_more(strength) for name, strength in strengths.items()}
    hue, p = between(hue, 0, 0.5), arguments.probability(p)

    def augment(key: Key, x: Array) -> Array:
        x = arguments.images(x, *strengths.values(), hue, p)
        *factor_keys, hue_key, order_key, choose_key = jax.random.split(key, 6)
        count = x.shape[0]
        factors = [
            arguments.uniform(each, count, jnp.maximum(0.0, 1.0 - jnp.asarray(strength)), 1.0 + strength)
            for each, strength in zip(factor_keys, strengths.values())
        ]
        shift = arguments.uniform(hue_key, count, -jnp.asarray(hue), hue)
        order = jnp.asarray(_ORDERS)[jax.random.randint(order_key, (count,), 0, len(_ORDERS))]
        parameters = jnp.stack([*factors, shift], axis=1)
        return jittered(x, parameters, order, changed=arguments.chosen(choose_key, p, count))

    return augment


def jittered(x: Array, parameters: ArrayLike, order: ArrayLike, *, changed: ArrayLike = True) -> Array:
    """Images after the four changes of ``ColorJitter``, in an order of each image's own.

    Brightness multiplies by its factor. Contrast blends with the image's mean gray, saturation with each
    pixel's gray: ``factor * x + (1 - factor) * gray``. Hue turns the color in the space HSV. Each change but
    the last is clipped to [0, 1].

    Args:
        x: images [batch, height, width, channels], 1 or 3 channels, in [0, 1].
        parameters: the factors of brightness, contrast and saturation, and the shift of the hue in turns,
            [batch, 4].
        order: the changes in their order [batch, 4], each a permutation of `BRIGHTNESS`, `CONTRAST`,
            `SATURATION` and `HUE`.
        changed: whether an image is changed at all, one bool or [batch].

    Raises:
        InputError: an argument has the wrong shape.
    """
    x = arguments.images(x)
    parameters, order = jnp.asarray(parameters, x.dtype), jnp.asarray(order)
    count = x.shape[0]
    for name, value in (("parameters", parameters), ("order", order)):
        if value.shape != (count, 4):
            raise check.InputError(
                f"{name} must be [{count}, 4], got {value.shape}; give four for each image."
            )
    mask = arguments.over(changed, count, 3)
    planes = _planes(x)
    place = jnp.argmax(order == HUE, axis=1)  # of the hue, 0 to 3
    # The hue costs most. It is computed once, between two runs over the other changes, of which each image
    # takes those that come before its hue from the first and the others from the second.
    for slot in range(3):
        planes = _blend(planes, parameters, order[:, slot], (slot < place)[:, None, None] & mask)
    if len(planes) == 3:
        turned = _turned(planes, parameters[:, HUE].reshape(-1, 1, 1))
        planes = tuple(jnp.where(mask, new, old) for new, old in zip(turned, planes))
    for slot in range(1, 4):
        planes = _blend(planes, parameters, order[:, slot], (slot > place)[:, None, None] & mask)
    return jnp.stack(planes, axis=-1)


def grayscale(x: Array) -> Array:
    """Images of three equal channels, the luma .2989 R + .587 G + .114 B; a single channel stays.

    Raises:
        InputError: ``x`` is no batch of float images with one or three channels.
    """
    planes = _planes(arguments.images(x))
    return jnp.stack([_luma(planes)] * len(planes), axis=-1)


def random_grayscale(p: float = 0.2) -> Augmentation:
    """Turn each image gray with probability p, which may be traced, and keep the number of channels.

    Raises:
        InputError: p is no probability; from the augmentation: as `grayscale`.
    """
    p = arguments.probability(p)

    def augment(key: Key, x: Array) -> Array:
        planes = _planes(arguments.images(x, p))
        mask = arguments.over(arguments.chosen(key, p, x.shape[0]), x.shape[0], 3)
        luma = _luma(planes)
        return jnp.stack([jnp.where(mask, luma, plane) for plane in planes], axis=-1)

    return augment


def solarized(x: Array, threshold: ArrayLike = 0.5) -> Array:
    """Images whose values of ``threshold`` or more are replaced by 1 minus the value.

    Args:
        x: images [batch, height, width, channels] in [0, 1].
        threshold: one number, or one for each image [batch].

    Raises:
        InputError: an argument has the wrong shape or dtype.
    """
    x = arguments.images(x)
    return jnp.where(x >= arguments.over(threshold, x.shape[0], 4), 1 - x, x)


def solarize(threshold: float = 0.5, p: float = 0.2) -> Augmentation:
    """Solarize each image with probability p; both arguments may be traced.

    Raises:
        InputError: the threshold is not in [0, 1], or p is no probability; from the augmentation: ``x`` is no
            batch of float images.
    """
    check.between("threshold", threshold, 0, 1)
    threshold, p = between(threshold, 0, 1), arguments.probability(p)

    def augment(key: Key, x: Array) -> Array:
        x = arguments.images(x, threshold, p)
        # Nothing reaches a threshold of infinity.
        mask = arguments.chosen(key, p, x.shape[0])
        return solarized(x, jnp.where(mask, threshold, jnp.inf))

    return augment


def _planes(x: Array) -> Planes:
    if x.shape[3] not in (1, 3):
        raise check.InputError(
            f"color needs images of one or three channels, got {x.shape[3]}; leave color augmentations out."
        )
    return tuple(x[..., channel] for channel in range(x.shape[3]))


def _luma(planes: Planes) -> Array:
    if len(planes) == 1:
        return planes[0]
    return _LUMA[0] * planes[0] + _LUMA[1] * planes[1] + _LUMA[2] * planes[2]


def _blend(planes: Planes, parameters: Array, change: Array, active: Array) -> Planes:
    """Images after the change [batch] where it is active; unit factors change no bit."""
    change = change.reshape(-1, 1, 1)
    factor = jnp.take_along_axis(parameters, jnp.minimum(change[:, 0], SATURATION), axis=1).reshape(-1, 1, 1)
    if len(planes) == 1:
        active = active & (change < SATURATION)
    factor = jnp.where(active, factor, 1)
    to_mean = jnp.where(change == CONTRAST, 1 - factor, 0)
    to_gray = jnp.where(change == SATURATION, 1 - factor, 0)
    luma = _luma(planes)
    gray = to_mean * jnp.mean(luma, axis=(1, 2), keepdims=True) + to_gray * luma
    # The barrier keeps XLA from computing one change again inside of the next.
    return jax.lax.optimization_barrier(tuple(jnp.clip(factor * plane + gray, 0, 1) for plane in planes))


def _turned(planes: Planes, shift: Array) -> Planes:
    """Colors whose hue is shifted by a share of a turn, through HSV, without branches or a modulus.

    The largest and the smallest of the three channels stay; a channel's place between them is a trapezoid of
    the hue (in sixths of a turn, 5, 3 and 1 ahead for red, green and blue).
    """
    r, g, b = planes
    top = jnp.maximum(jnp.maximum(r, g), b)
    spread = top - jnp.minimum(jnp.minimum(r, g), b)
    inverse = 1 / jnp.where(spread == 0, 1, spread)
    of_blue = jnp.where(top == g, 2 + (b - r) * inverse, 4 + (r - g) * inverse)
    hue = jnp.where(top == r, (g - b) * inverse, of_blue) + 6 * shift

    def channel(ahead: int) -> Array:
        place = hue + ahead
        place = place - 6 * jnp.floor(place / 6)
        return top - spread * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)

    return channel(5), channel(3), channel(1)
