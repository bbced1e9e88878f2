"""Sprites: pictures rendered from known factors, by a pure function of the factors.

The factors are those of dSprites (Matthey, Higgins, Hassabis and Lerchner 2017, "dSprites:
disentanglement testing sprites dataset"): shape (square, ellipse, heart), scale (6 values in [0.5, 1]),
orientation (40 values in [0, 2π]) and position (32 x 32 values in [0, 1]). The color varies too, where
dSprites has only white. The drawing differs from dSprites: edges are anti-aliased, so pictures depend
smoothly on the factors, at any size.

Nothing is stored. `render` maps factors to one picture and may be used under jit, vmap and grad. `sample`
draws factors by a key, `grid` lists every combination, as in the full dSprites.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.types import Array, Key

SHAPES = ("square", "ellipse", "heart")

# The values of every factor, with the factors in dSprites' order; in `grid` the last factor changes fastest.
VALUES: dict[str, np.ndarray] = {
    "color": np.arange(8) / 8,
    "shape": np.arange(3),
    "scale": np.linspace(0.5, 1, 6),
    # As in dSprites both ends are included, so the first and the last orientation look the same.
    "orientation": np.linspace(0, 2 * math.pi, 40),
    "x": np.linspace(0, 1, 32),
    "y": np.linspace(0, 1, 32),
}

# The largest distance of a sprite's points from its center at scale 1, in canvas widths. The center moves
# over the middle half of the canvas, so no sprite is ever cut off.
REACH = 0.21
SMALLEST = 16  # the least size in pixels; on a smaller canvas a blurred edge would touch the border

_HALF_SIDE = REACH / math.sqrt(2)
_SEMI_AXES = (REACH, REACH / 2)


class Factors(NamedTuple):
    """The factors of a sprite: scalars for `render`, or arrays of one shape.

    color: hue in [0, 1): 0 red, 1/3 green, 2/3 blue.
    shape: index into `SHAPES`.
    scale: in [0.5, 1]; lengths are proportional to it.
    orientation: angle in radians, counterclockwise as seen; at 0 the square stands on a side, the ellipse is
        horizontal, the heart stands on its tip.
    x: position in [0, 1], from left to right over the middle half of the canvas.
    y: position in [0, 1], from top to bottom over the middle half of the canvas.
    """

    color: Any
    shape: Any
    scale: Any
    orientation: Any
    x: Any
    y: Any


def render(factors: Factors, size: int = 64, saturation: Any = 1.0) -> Array:
    """Draw one sprite on black.

    A pixel's value is the fraction of the pixel that the sprite covers, computed from the signed
    distance of the pixel's center to the outline. At 64 pixels the sum over pixels is the sprite's
    area to about a percent.

    Args:
        factors: scalars. Gradients flow to all factors but the shape.
        size: width and height in pixels, at least `SMALLEST`; static.
        saturation: the saturation of the color, in [0, 1]; 0 gives white sprites, as in dSprites.

    Returns:
        float32 [size, size, 3] in [0, 1].

    Raises:
        ValueError: the size is too small, or a factor is no scalar.
    """
    check.integer("size", size, low=SMALLEST)
    for name, value in factors._asdict().items():
        if jnp.ndim(value) != 0:
            raise ValueError(
                f"render draws one sprite and {name} has shape {list(jnp.shape(value))}; "
                "use jax.vmap(render) for many."
            )
    return coverage(factors, size)[:, :, None] * rgb(factors.color, saturation)[None, None, :]


def sample(key: Key, shape: Sequence[int] = (), continuous: bool = False) -> Factors:
    """Factors drawn uniformly and independently.

    Args:
        key: the key of the draw.
        shape: the shape of every factor's array.
        continuous: whether to draw color, scale, orientation and position from their whole intervals
            instead of from `VALUES`.

    Returns:
        Factors of float32 arrays; the shape index is int32.
    """
    keys = dict(zip(VALUES, jax.random.split(key, len(VALUES))))
    drawn = {}
    for name, values in VALUES.items():
        if name == "shape":
            drawn[name] = jax.random.randint(keys[name], shape, 0, len(values))
        elif continuous:
            high = 1.0 if name == "color" else float(values[-1])  # hue is a circle
            drawn[name] = jax.random.uniform(keys[name], shape, minval=float(values[0]), maxval=high)
        else:
            drawn[name] = jax.random.choice(keys[name], jnp.asarray(values, jnp.float32), shape)
    return Factors(**drawn)


def grid(**values: Sequence[float] | np.ndarray) -> Factors:
    """Every combination of factor values; the last factor changes fastest.

    Args:
        values: from a factor to its values. The default is `VALUES` with one color: the 737,280
            combinations of dSprites, in the order of dSprites.

    Returns:
        Factors of numpy arrays [combinations]: float32, the shape index int32.

    Raises:
        ValueError: a factor is unknown, or its list of values is empty.
    """
    chosen = {**VALUES, "color": VALUES["color"][:1]}
    for name, choice in values.items():
        check.choice("factor", name, VALUES)
        if np.ndim(choice) != 1 or len(choice) == 0:
            raise ValueError(f"the values of {name} must be a list of at least one number, got {choice!r}.")
        chosen[name] = np.asarray(choice)
    axes = np.meshgrid(*chosen.values(), indexing="ij")
    kinds = {**dict.fromkeys(chosen, np.float32), "shape": np.int32}
    return Factors(**{name: axis.ravel().astype(kinds[name]) for name, axis in zip(chosen, axes)})


def area(factors: Factors) -> Any:
    """The exact area of a sprite as a fraction of the canvas: squared scale times the area of the shape."""
    unit = jnp.asarray(
        [4 * _HALF_SIDE**2, math.pi * math.prod(_SEMI_AXES), _HEART_AREA * _HEART_UNIT**2], jnp.float32
    )
    return unit[jnp.asarray(factors.shape)] * jnp.square(factors.scale)


def coverage(factors: Factors, size: int) -> Array:
    """The fraction of each pixel that the sprite covers, [size, size], with rows from top to bottom."""
    pixels = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    right = pixels[None, :] - (0.25 + factors.x / 2)
    up = (0.25 + factors.y / 2) - pixels[:, None]
    cos, sin = jnp.cos(factors.orientation), jnp.sin(factors.orientation)
    u, v = (right * cos + up * sin) / factors.scale, (up * cos - right * sin) / factors.scale
    distance = jnp.stack([_square(u, v), _ellipse(u, v), _heart(u, v)])[factors.shape] * factors.scale
    return jnp.clip(0.5 - distance * size, 0, 1)


def _norm(u: Array, v: Array) -> Array:
    """The length of (u, v), with a finite gradient at 0; its bias of 1e-6 canvas widths is below a pixel."""
    return jnp.sqrt(u * u + v * v + 1e-12)


def _box(u: Array, v: Array, half: float) -> Array:
    """Signed distance to an upright square about 0."""
    a, b = jnp.abs(u) - half, jnp.abs(v) - half
    return _norm(jnp.maximum(a, 0), jnp.maximum(b, 0)) + jnp.minimum(jnp.maximum(a, b), 0)


def _square(u: Array, v: Array) -> Array:
    return _box(u, v, _HALF_SIDE)


def _ellipse(u: Array, v: Array) -> Array:
    """The first-order distance g/|∇g| of g = |(u/a, v/b)| - 1: exact on the axes, and near the outline."""
    a, b = _SEMI_AXES
    ratio = _norm(u / a, v / b)
    return (ratio - 1) * ratio / _norm(u / a**2, v / b**2)


# A heart is a square on its tip with a half disc on each upper side. For a side of 1 the constants below
# are the heart's area, the height of its centroid above the tip (the centroid of a half disc of diameter
# 1 lies 2/(3π) beyond its side), and the unit of length that puts the tip, the point farthest from the
# centroid, at REACH.
_DISCS_AREA = math.pi / 4
_HEART_AREA = 1 + _DISCS_AREA
_DISCS_HEIGHT = (1.5 + 2 / (3 * math.pi)) / math.sqrt(2)
_CENTROID = (1 / math.sqrt(2) + _DISCS_AREA * _DISCS_HEIGHT) / _HEART_AREA
_HEART_UNIT = REACH / _CENTROID


def _heart(u: Array, v: Array) -> Array:
    """Signed distance to the union of a square and two whole discs, whose inner halves lie in the square."""
    # The origin is the square's center.
    u, v = u / _HEART_UNIT, v / _HEART_UNIT + (_CENTROID - 1 / math.sqrt(2))
    p, q = (u + v) / math.sqrt(2), (v - u) / math.sqrt(2)  # coordinates along the normals of the upper sides
    discs = jnp.minimum(_norm(p - 0.5, q), _norm(p, q - 0.5)) - 0.5
    return jnp.minimum(_box(p, q, 0.5), discs) * _HEART_UNIT


def rgb(hue: Any, saturation: Any) -> Array:
    """The color [3] of full value with a hue and a saturation, by the HSV hexcone (Smith 1978)."""
    offset = jnp.asarray([0.0, 2 / 3, 1 / 3], jnp.float32)
    ramp = jnp.abs(jnp.mod(hue + offset, 1.0) * 6 - 3) - 1
    return 1 - saturation * (1 - jnp.clip(ramp, 0, 1))
