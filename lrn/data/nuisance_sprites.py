"""Sprites with nuisances: backgrounds, tints, stripes and light, as strong and correlated as a config says.

A picture shows one sprite (`lrn.data.sprites`) before a background. The factors of the sprite have a number
of values each and are what codes ought to tell. The nuisances lie in [0, 1] and are what codes ought to
ignore. Every dial of strength may be 0. Two dials correlate two factors with each other, and one factor with
one nuisance, by a Gaussian copula: standard normals of the given correlation are mapped to uniform numbers by
their distribution function, so that each factor and nuisance alone stays uniform.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import nan_where
from lrn.config import config
from lrn.data import sprites
from lrn.types import Array, Key, Sampler

NUISANCES = ("brightness", "tint", "stripes", "light")
_STRIPES = 4  # across the canvas
# The value of a factor with one value.
_CONSTANT = {"color": 0.0, "shape": 0, "scale": 0.75, "orientation": 0.0, "x": 0.5, "y": 0.5}


@config
class NuisanceConfig:
    """Dials of the generator.

    levels: the factors with their numbers of values, 2 or more, in the order of the columns of "factors". A
        factor of `lrn.data.sprites.Factors` that is not named is constant.
    size: of the pictures in pixels. channels: 3, or 1 for gray pictures.
    brightness: the largest brightness of the background, in [0, 1]; the nuisance scales it.
    tint: the saturation of the background's color, in [0, 1], of which the nuisance is the hue; it needs 3
        channels and a brightness above 0.
    stripes: the contrast of stripes on the background, in [0, 1], of which the nuisance is the phase.
    light: by how much the picture darkens from one side to the other, in [0, 1]; the nuisance is the
        direction, as a share of a turn.
    noise: the standard deviation of noise on every pixel, 0 or more; noisy pixels leave [0, 1].
    factor_correlation: the correlation of the normals of the two factors ``correlated``, in [-1, 1].
    nuisance_correlation: that of the factor and the nuisance ``confounded``, in [-1, 1]. Where the two pairs
        share a factor, its partners correlate by the product of both.
    correlated: two factors of ``levels``. confounded: a factor of ``levels`` and one of `NUISANCES`.

    Raises:
        InputError: a field is out of its range.
    """

    levels: tuple[tuple[str, int], ...] = (("shape", 3), ("scale", 6), ("x", 16), ("y", 16))
    size: int = 64
    channels: int = 1
    brightness: float = 0.5
    tint: float = 0.0
    stripes: float = 0.0
    light: float = 0.0
    noise: float = 0.0
    factor_correlation: float = 0.0
    nuisance_correlation: float = 0.0
    correlated: tuple[str, str] = ("x", "y")
    confounded: tuple[str, str] = ("scale", "brightness")

    def __post_init__(self) -> None:
        check.integer("size", self.size, sprites.SMALLEST)
        if self.channels not in (1, 3):
            raise check.InputError(f"channels must be 1 or 3, got {self.channels!r}; choose one of the two.")
        for name in ("brightness", "tint", "stripes", "light"):
            check.between(name, getattr(self, name), 0, 1)
        check.non_negative("noise", self.noise)
        for name in ("factor_correlation", "nuisance_correlation"):
            check.between(name, getattr(self, name), -1, 1)
        _check_levels(self.levels)
        if self.channels == 1 and isinstance(self.tint, (int, float)) and self.tint > 0:
            raise check.InputError("a tint needs colors; set channels to 3, or tint to 0.")
        names = [name for name, _ in self.levels]
        for pair, options in ((self.correlated, (names, names)), (self.confounded, (names, NUISANCES))):
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise check.InputError(f"a correlation is of two names, got {pair!r}; give a pair.")
            for name, known in zip(pair, options):
                check.choice("name", name, known)
        if self.correlated[0] == self.correlated[1]:
            raise check.InputError(
                f"{self.correlated[0]} cannot be correlated with itself; name two factors."
            )


def _check_levels(levels: Any) -> None:
    if not isinstance(levels, tuple) or not all(isinstance(x, tuple) and len(x) == 2 for x in levels):
        raise check.InputError(
            f"levels must be a tuple of (factor, number of values), got {levels!r}; write (('x', 16), "
            "('y', 16))."
        )
    if len({name for name, _ in levels}) != len(levels) or len(levels) < 2:
        raise check.InputError(f"levels must name two factors or more, each once, got {levels}.")
    for name, count in levels:
        check.choice("factor", name, sprites.VALUES)
        check.integer(f"the number of values of {name}", count, 2)
        if name == "shape" and count > len(sprites.SHAPES):
            raise check.InputError(f"there are {len(sprites.SHAPES)} shapes, and levels asks for {count}.")


class Drawn(NamedTuple):
    """What a picture shows. levels: int32 [..., factors]. nuisances: [..., 4], ordered as `NUISANCES`."""

    levels: Array
    nuisances: Array


def draw(key: Key, n: int, config: NuisanceConfig) -> Drawn:
    """The factors [n, factors] and the nuisances [n, 4] of n pictures; each alone is uniform.

    Under a traced correlation beyond 1 all nuisances are NaN, and so are the pictures; all factors are -1.
    """
    check.integer("n", n, 1)
    names = [name for name, _ in config.levels]
    normal = jax.random.normal(key, (n, len(names) + len(NUISANCES)))
    first, second = (names.index(name) for name in config.correlated)
    factor = names.index(config.confounded[0])
    nuisance = len(names) + NUISANCES.index(config.confounded[1])
    normal = _correlate(normal, first, second, config.factor_correlation)
    normal = _correlate(normal, factor, nuisance, config.nuisance_correlation)
    uniform = jax.scipy.special.ndtr(normal)
    counts = jnp.asarray([count for _, count in config.levels], jnp.float32)
    levels = jnp.minimum(jnp.floor(uniform[:, : len(names)] * counts[None]), counts[None] - 1)
    bad = jnp.any(jnp.isnan(uniform))
    return Drawn(
        jnp.where(bad, -1, levels).astype(jnp.int32), jnp.where(bad, jnp.nan, uniform[:, len(names) :])
    )


def _correlate(normal: Array, source: int, target: int, correlation: Any) -> Array:
    """Columns [n, k] of which the target correlates with the source; NaN beyond 1."""
    rest = jnp.sqrt(1 - jnp.square(jnp.asarray(correlation, jnp.float32)))
    return normal.at[:, target].set(correlation * normal[:, source] + rest * normal[:, target])


def values(levels: Array, config: NuisanceConfig) -> sprites.Factors:
    """The factors of sprites with ``levels`` int [..., factors], for `lrn.data.sprites.render`.

    The values of a factor are spread evenly over the interval of `lrn.data.sprites.VALUES`, with both ends;
    those of the color and of the orientation, which are circles, without the upper end. A level that its
    factor does not have makes the scale NaN, and so the picture.
    """
    chosen: dict[str, Any] = {
        name: jnp.full(levels.shape[:-1], value, jnp.int32 if name == "shape" else jnp.float32)
        for name, value in _CONSTANT.items()
    }
    for i, (name, count) in enumerate(config.levels):
        if name == "shape":
            chosen[name] = levels[..., i]
            continue
        low = float(sprites.VALUES[name][0])
        high = 1.0 if name == "color" else float(sprites.VALUES[name][-1])
        even = np.linspace(low, high, count, endpoint=name not in ("color", "orientation"))
        chosen[name] = jnp.asarray(even, jnp.float32)[levels[..., i]]
    counts = jnp.asarray([count for _, count in config.levels]).reshape((1,) * (levels.ndim - 1) + (-1,))
    known = jnp.all((levels >= 0) & (levels < counts), axis=-1)
    return sprites.Factors(**{**chosen, "scale": nan_where(~known, chosen["scale"])})


def render(levels: Array, nuisances: Array, config: NuisanceConfig) -> Array:
    """One picture [size, size, channels], without noise; pure, for jit, vmap and grad.

    Args:
        levels: int [factors], see `values`.
        nuisances: [4], in [0, 1]. config: the dials.

    Raises:
        InputError: the levels or nuisances are not those of one picture.
    """
    if levels.shape != (len(config.levels),) or nuisances.shape != (len(NUISANCES),):
        raise check.InputError(
            f"render draws one picture of {len(config.levels)} factors and {len(NUISANCES)} nuisances, got "
            f"shapes {levels.shape} and {nuisances.shape}; use jax.vmap for many."
        )
    factors = values(levels, config)
    brightness, tint, stripes, light = nuisances
    coverage = sprites.coverage(factors, config.size)
    pixels = (jnp.arange(config.size, dtype=jnp.float32) + 0.5) / config.size
    right, down = pixels[None, :], pixels[:, None]
    wave = 0.5 + 0.5 * jnp.sin(2 * math.pi * (_STRIPES * (right + down) + stripes))
    ground = config.brightness * brightness * (1 - config.stripes) + config.stripes * wave
    angle = 2 * math.pi * light
    ramp = 0.5 + ((right - 0.5) * jnp.cos(angle) + (down - 0.5) * jnp.sin(angle)) / math.sqrt(2)
    shade = 1 - config.light * ramp
    if config.channels == 1:
        return ((coverage + (1 - coverage) * ground) * shade)[:, :, None]
    colored = any(name == "color" for name, _ in config.levels)
    front = sprites.rgb(factors.color, 1.0 if colored else 0.0)[None, None, :]
    back = ground[:, :, None] * sprites.rgb(tint, config.tint)[None, None, :]
    coverage = coverage[:, :, None]
    return (coverage * front + (1 - coverage) * back) * shade[:, :, None]


def sample(key: Key, n: int, config: NuisanceConfig) -> dict[str, Array]:
    """Pictures with what they show, drawn by a key.

    Returns:
        "image" [n, size, size, channels] in [0, 1], or beyond under noise; "factors" int32 [n, factors];
        "nuisances" [n, 4].
    """
    draw_key, noise_key = jax.random.split(key)
    drawn = draw(draw_key, n, config)
    return dict(zip(("image", "factors", "nuisances"), (pictures(noise_key, drawn, config), *drawn)))


def pictures(key: Key, drawn: Drawn, config: NuisanceConfig) -> Array:
    """The pictures [n, size, size, channels] of what was drawn; the key draws the noise."""
    images = jax.vmap(lambda levels, nuisances: render(levels, nuisances, config))(*drawn)
    if isinstance(config.noise, (int, float)) and config.noise == 0:
        return images
    return images + config.noise * jax.random.normal(key, images.shape)


def pairs(key: Key, n: int, config: NuisanceConfig, changed: int = 1) -> dict[str, Array]:
    """Weak pairs: as `sample`, with "partner", a picture of which some factors or nuisances were redrawn.

    Args:
        key: the key of the draw. n: the number of pairs. config: the dials.
        changed: how many of the factors and nuisances are drawn anew, chosen for each pair.

    Raises:
        InputError: n is below 1, or there are fewer factors and nuisances than ``changed``.
    """
    count = len(config.levels) + len(NUISANCES)
    check.integer("changed", changed, 1)
    if changed > count:
        raise check.InputError(f"there are {count} factors and nuisances, and {changed} are to change.")
    one_key, other_key, choice_key, noise_key, partner_key = jax.random.split(key, 5)
    one, other = draw(one_key, n, config), draw(other_key, n, config)
    order = jnp.argsort(jax.random.uniform(choice_key, (n, count)), axis=1)
    anew, cut = jnp.argsort(order, axis=1) < changed, len(config.levels)
    partner = Drawn(
        jnp.where(anew[:, :cut], other.levels, one.levels),
        jnp.where(anew[:, cut:], other.nuisances, one.nuisances),
    )
    images = pictures(noise_key, one, config), pictures(partner_key, partner, config)
    return dict(zip(("image", "partner", "factors", "nuisances"), (*images, *one)))


def batches(batch_size: int, config: NuisanceConfig) -> Sampler:
    """A sampler that renders the batches of `sample` anew at each step; it needs no data."""
    return Sampler(lambda key, data: sample(key, batch_size, config), needs_data=False)


def standardized(levels: Array, config: NuisanceConfig) -> Array:
    """Levels [n, factors] as floats with mean 0 and variance 1 under the uniform distribution."""
    counts = jnp.asarray([[count for _, count in config.levels]], jnp.float32)
    return (levels - (counts - 1) / 2) / jnp.sqrt((jnp.square(counts) - 1) / 12)
