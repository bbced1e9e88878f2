"""Random augmentations of batches, as pure functions of a key that run on the device.

An augmentation is ``augment(key, x) -> x`` on a batch [batch, ...]; each example of the batch is drawn
separately. Factories make augmentations from strengths, which are floats and may be traced, so that a sweep
over strengths compiles once; under vmap over keys and batches an augmentation is the same function. One
image is a batch of one: ``augment(key, image[None])[0]``. Beside each factory stands the function of its
parameters (`resized_crop`, `jittered`, `blurred`, ...), which tests compare with torchvision and Pillow.

`crop`, `color`, `blur` and `masking` are for images [batch, height, width, channels] with values in [0, 1],
`sequences` is for [batch, time, channels], `combine` puts augmentations together, and `samplers` holds the
usual augmentation of supervised learning on CIFAR-10.
"""

from lrn.data.augment.blur import blurred, gaussian_blur
from lrn.data.augment.color import color_jitter, grayscale, jittered, random_grayscale, solarize, solarized
from lrn.data.augment.combine import Augmentation, Augmentations, compose, multi_crop, sometimes
from lrn.data.augment.crop import (
    crop_boxes,
    horizontal_flip,
    random_crop,
    random_resized_crop,
    resized_crop,
)
from lrn.data.augment.masking import cutout
from lrn.data.augment.samplers import flip_and_crop, shifted
from lrn.data.augment.sequences import (
    crop_in_time,
    jitter,
    mask_in_time,
    permute_segments,
    scale_channels,
)

__all__ = [
    "Augmentation",
    "Augmentations",
    "blurred",
    "color_jitter",
    "compose",
    "crop_boxes",
    "crop_in_time",
    "cutout",
    "flip_and_crop",
    "gaussian_blur",
    "grayscale",
    "horizontal_flip",
    "jitter",
    "jittered",
    "mask_in_time",
    "multi_crop",
    "permute_segments",
    "random_crop",
    "random_grayscale",
    "random_resized_crop",
    "resized_crop",
    "scale_channels",
    "shifted",
    "solarize",
    "solarized",
    "sometimes",
]
