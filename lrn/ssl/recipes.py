"""Ready views: the augmentations of published methods, for images in color, gray images and sequences.

Each recipe is a composition of `lrn.data.augment`, which has the parts for other compositions.
"""

from __future__ import annotations

from lrn import check
from lrn.data import augment
from lrn.ssl.views import View

Range = tuple[float, float]


def simclr_images(
    size: int | tuple[int, int] | None = None,
    strength: float = 0.5,
    *,
    crop: Range | None = (0.08, 1.0),
    flip: float = 0.5,
    gray: float = 0.2,
    blur: int | None = None,
) -> View:
    """The views of SimCLR (Chen et al. 2020, appendix A) of images [batch, height, width, 3] in [0, 1].

    A resized crop, a mirror image, a jitter of the color with probability .8, gray, and blur with probability
    .5. The defaults are those of the paper for CIFAR-10 (appendix B.9): half of the jitter, no blur.

    Args:
        size: the side of the views in pixels, or (height, width); None keeps the size of the images.
        strength: of the jitter: .8 times ``strength`` for brightness, contrast and saturation, .2 times for
            the hue; the paper has 1 for ImageNet. May be traced.
        crop: the range of the crop's share of the area; None leaves the crop out. Its ends may be traced.
        flip: the probability of a mirror image; may be traced.
        gray: the probability of a gray image; may be traced.
        blur: the side of the blur's kernel in pixels, odd, about a tenth of the view; None leaves the
            blur out.

    Raises:
        InputError: a setting is out of range.
    """
    check.between("strength", strength, 0, 2.5)
    most = 0.8 * strength
    jitter = augment.color_jitter(most, most, most, 0.2 * strength, p=0.8)
    parts = [_cropped(size, crop, flip), jitter, augment.random_grayscale(gray)]
    if blur is not None:
        parts.append(augment.gaussian_blur(blur))
    return augment.compose(*parts)


def gray_images(
    size: int | tuple[int, int] | None = None,
    strength: float = 0.5,
    *,
    crop: Range | None = (0.3, 1.0),
    flip: float = 0.0,
    blur: int | None = 3,
) -> View:
    """Views of small images of one channel, such as those of MNIST and Fashion-MNIST.

    A resized crop that keeps more of the image than SimCLR's, a jitter of brightness and contrast with
    probability .8, and a weak blur with probability .5. Nothing is mirrored, because a mirrored digit is no
    digit; Fashion-MNIST takes ``flip=0.5``.

    Args:
        size, flip, blur: as for `simclr_images`; the blur's standard deviation is .1 to 1 pixels.
        strength: of the jitter: .8 times ``strength`` for brightness and contrast; may be traced.
        crop: as for `simclr_images`.

    Raises:
        InputError: a setting is out of range.
    """
    check.between("strength", strength, 0, 2.5)
    parts = [_cropped(size, crop, flip), augment.color_jitter(0.8 * strength, 0.8 * strength, p=0.8)]
    if blur is not None:
        parts.append(augment.gaussian_blur(blur, (0.1, 1.0)))
    return augment.compose(*parts)


def sequence_views(
    noise: float = 0.05,
    scale: float = 0.1,
    *,
    crop: Range | None = (0.5, 1.0),
    mask: float = 0.2,
    segments: int | None = None,
) -> View:
    """Views of sequences [batch, time, channels].

    A resized crop, segments in random order, a factor of each channel, noise, and a mask.

    Args:
        noise: the standard deviation of the noise, in the unit of the sequences; may be traced.
        scale: the standard deviation of the factor of each channel; may be traced.
        crop: the range of the crop's share of the length; None leaves the crop out. Its ends may be traced.
        mask: the largest share of the sequence that is set to 0; may be traced.
        segments: the number of segments that are put in random order with probability .5; None leaves the
            order as it is.

    Raises:
        InputError: a setting is out of range.
    """
    parts = [] if crop is None else [augment.crop_in_time(crop)]
    if segments is not None:
        parts.append(augment.permute_segments(segments, 0.5))
    return augment.compose(
        *parts, augment.scale_channels(scale), augment.jitter(noise), augment.mask_in_time(mask)
    )


def _cropped(size: int | tuple[int, int] | None, crop: Range | None, flip: float) -> View:
    if crop is not None:
        return augment.random_resized_crop(size, crop, flip=flip)
    if size is not None:
        raise check.InputError(f"without a crop the images keep their size, got size {size!r}; leave it out.")
    return augment.horizontal_flip(flip)
