"""MNIST-1D: one-dimensional digits, drawn by a key, or exactly as published.

The source is Greydanus and Kobak, "Scaling down deep learning with MNIST-1D", 2024
(github.com/greydanus/mnist1d). A digit is a template of 12 points. Padding with a random number of zeros
and a dilation to a fixed length scale its width, a random factor scales its height, and a circular shift
moves it. Smooth noise outside of the digit, white noise, a shear and a resampling to 40 points follow.

`sample` draws as many signals as are wanted, with any arguments. `published` makes the 5,000 signals of the
authors' file, which `lrn.data.load("mnist1d")` gives.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.config import config
from lrn.types import Array, Key

CLASSES = 10
# The mean and the standard deviation of the published set before its standardization.
MEAN, STD = -0.0055075064312771795, 0.15467803420593054
_SMOOTH = 2.0  # the standard deviation of the smoothing of the noise, in points
_TINY = 1e-8  # added to a template: the noise is put where the padded template is exactly zero

_POINTS = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)


@config
class Mnist1dConfig:
    """The arguments of the generation; the defaults are those of the published set.

    padding: the least and the largest number of zeros behind a template; more zeros make a narrower digit.
    translation: a digit is shifted by 0 to ``translation`` - 1 points.
    length: the number of points of a signal.
    scale: the range of the random factor, which lies in 1 +- scale / 2.
    smooth_noise: the standard deviation of the noise around the digit, before it is smoothed.
    white_noise: the standard deviation of the noise on all points.
    shear: the range of the random slope, which lies in +- shear / 2 over the whole signal.

    Raises:
        InputError: an argument is out of its range.
    """

    padding: tuple[int, int] = (36, 60)
    translation: int = 48
    length: int = 40
    scale: float = 0.4
    smooth_noise: float = 0.25
    white_noise: float = 0.02
    shear: float = 0.75

    def __post_init__(self) -> None:
        if not (isinstance(self.padding, tuple) and len(self.padding) == 2):
            raise check.InputError(
                f"padding must be a pair of whole numbers, got {self.padding!r}; see above."
            )
        check.integer("the least padding", self.padding[0], 0)
        check.integer("the largest padding", self.padding[1], self.padding[0])
        check.integer("translation", self.translation, 1)
        check.integer("length", self.length, 2)
        for name in ("scale", "smooth_noise", "white_noise", "shear"):
            check.non_negative(name, getattr(self, name))


_PUBLISHED = Mnist1dConfig()


def templates() -> np.ndarray:
    """The templates of the digits 0 to 9, float64 [10, 12]; each begins at 0."""
    x = np.array(_POINTS)
    x -= x.mean(1, keepdims=True)
    x /= x.std(1, keepdims=True)
    x -= x[:, :1]
    return x / 6.0


def sample(key: Key, label: ArrayLike, settings: Mnist1dConfig = _PUBLISHED) -> Array:
    """A signal of each label, drawn by a key; jit- and vmap-safe.

    Whatever the arguments, the mean of the published set is subtracted and its standard deviation divides.

    Args:
        key: the key of all draws.
        label: integers [n] in 0..9.
        settings: the arguments of the generation; the floats may be traced.

    Returns:
        float32 [n, length, 1]; NaN for a label that is no digit.

    Raises:
        InputError: the labels are no integers [n].
    """
    label = jnp.asarray(label)
    if label.ndim != 1 or not jnp.issubdtype(label.dtype, jnp.integer):
        raise check.InputError(
            f"labels must be integers [n], got shape {label.shape} of {label.dtype}; give one digit a signal."
        )
    s, n = settings, label.shape[0]
    pad_key, scale_key, shift_key, smooth_key, white_key, shear_key = jax.random.split(key, 6)
    points = len(_POINTS[0])
    width = points + s.padding[1]  # of the dilated signal

    # Dilation: the padded template of points + pad entries is read at ``width`` places between its ends.
    pad = jax.random.randint(pad_key, (n,), s.padding[0], s.padding[1] + 1)
    place = jnp.arange(width)[None] / (width - 1) * (points + pad - 1)[:, None]
    left = jnp.minimum(jnp.floor(place).astype(jnp.int32), points)
    table = jnp.pad(jnp.asarray(templates() + _TINY, jnp.float32), ((0, 0), (0, 2)))
    part = place - left
    own = label[:, None]
    x = (1 - part) * table[own, left] + part * table[own, left + 1]
    inside = place < points
    x = jnp.where(inside, x, 0.0)
    x = x * (1 + s.scale * (jax.random.uniform(scale_key, (n,)) - 0.5))[:, None]

    shift = jax.random.randint(shift_key, (n,), 0, s.translation)
    moved = (jnp.arange(width)[None] - shift[:, None]) % width
    x, inside = jnp.take_along_axis(x, moved, axis=1), jnp.take_along_axis(inside, moved, axis=1)

    smooth = jnp.matmul(
        s.smooth_noise * jax.random.normal(smooth_key, (n, width)), _smoothing(width), precision="highest"
    )
    x = jnp.where(inside, x, smooth) + s.white_noise * jax.random.normal(white_key, (n, width))
    slope = s.shear * (jax.random.uniform(shear_key, (n,)) - 0.5)
    x = x - slope[:, None] * jnp.linspace(-0.5, 0.5, width)[None]
    x = (jnp.matmul(x, _resampling(width, s.length), precision="highest") - MEAN) / STD
    known = (label >= 0) & (label < CLASSES)
    return jnp.where(known[:, None], x, jnp.nan)[:, :, None]


@functools.cache
def published() -> tuple[np.ndarray, np.ndarray]:
    """The signals, float64 [5000, 40], and the labels, int64 [5000], of the authors' file mnist1d_data.pkl.

    The random numbers are those of the authors' code, which sets NumPy's global seed to 42; the signals are
    equal to those of the file up to a rounding error of 1e-15. The first 4,000 rows are the training part.
    """
    s = _PUBLISHED
    rng = np.random.RandomState(42)
    x, y = templates(), np.repeat(np.arange(CLASSES), 500)
    signals = np.stack([_signal(rng, x[label], s) for label in y])
    order = rng.permutation(len(y))
    signals = signals[order]
    return (signals - signals.mean()) / signals.std(), y[order]


def _signal(rng: np.random.RandomState, x: np.ndarray, s: Mnist1dConfig) -> np.ndarray:
    """One signal [length] of a template [12], with the draws in the order of the authors' code."""
    from scipy.ndimage import gaussian_filter

    low, high = s.padding
    width = len(x) + high
    zeros = low + int(rng.rand() * (high - low + 1))
    x = _interpolate(np.concatenate([x + _TINY, np.zeros(zeros)]), width)
    x = x * (1 + s.scale * (rng.rand() - 0.5))
    x = np.roll(x, rng.choice(s.translation))
    noise = gaussian_filter(s.smooth_noise * rng.randn(width), _SMOOTH)
    x = np.where(x != 0, x, noise) + s.white_noise * rng.randn(width)
    x = x - s.shear * (rng.rand() - 0.5) * np.linspace(-0.5, 0.5, width)
    return _interpolate(x, s.length)


def _interpolate(x: np.ndarray, count: int) -> np.ndarray:
    return np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(x)), x)


def _smoothing(width: int) -> np.ndarray:
    """The matrix [width, width], float32, that smooths rows by a Gaussian with mirrored ends."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.eye(width), (_SMOOTH, 0)).T.astype(np.float32)


def _resampling(width: int, count: int) -> np.ndarray:
    """The matrix [width, count], float32, that reads rows at ``count`` places by linear interpolation."""
    return np.stack([_interpolate(row, count) for row in np.eye(width)]).astype(np.float32)
