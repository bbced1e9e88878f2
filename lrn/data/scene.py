"""Scenes: several objects on a floor before a wall, under a light, rendered from known factors.

A scene has five factors for each object (shape, size, hue, and its place on the floor) and four of its own
(hues of floor and wall, direction of the light, brightness of the shadows). Nearer objects are larger and
cover farther ones, all objects throw shadows, so that, unlike sprites, the factors interact in the picture.
`render` is a pure function of the factors, for jit, vmap and grad; nothing is stored.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.arrays import nan_where
from lrn.data.sprites import rgb
from lrn.types import Array, Key

SHAPES = ("ball", "box", "cone")
HORIZON = 0.4  # the height of the line between wall and floor, as a share of the canvas from the top
SMALLEST = 16  # the least size in pixels
_HEIGHT = math.radians(45)  # of the light


class Scene(NamedTuple):
    """The factors of a scene, or of many with leading axes.

    shape: indices into `SHAPES`, int [..., objects].
    size: [..., objects], in [0.5, 1]; lengths are proportional to it.
    hue: [..., objects], in [0, 1).
    x: [..., objects], in [0, 1], from left to right.
    depth: [..., objects], in [0, 1], from the wall to the front.
    floor, wall: hues [...], in [0, 1).
    light: the direction of the light as an angle [...] in radians; at 0 it comes from the right, at pi / 2
        from the front.
    ambient: [...], in [0, 1], the brightness of what the light does not reach.
    """

    shape: Any
    size: Any
    hue: Any
    x: Any
    depth: Any
    floor: Any
    wall: Any
    light: Any
    ambient: Any


def sample(key: Key, n: int, objects: int = 3) -> Scene:
    """n scenes with factors drawn uniformly and independently; ``ambient`` from [.3, .7], ``light`` from
    [0, pi], so that the light comes from the front.

    Raises:
        InputError: a number is below 1.
    """
    check.integer("n", n, 1)
    check.integer("objects", objects, 1)
    shape_key, own_key, rest_key = jax.random.split(key, 3)
    size, hue, x, depth = jax.random.uniform(own_key, (4, n, objects))
    floor, wall, light, ambient = jax.random.uniform(rest_key, (4, n))
    return Scene(
        jax.random.randint(shape_key, (n, objects), 0, len(SHAPES)),
        0.5 + 0.5 * size,
        hue,
        x,
        depth,
        floor,
        wall,
        math.pi * light,
        0.3 + 0.4 * ambient,
    )


def names(objects: int) -> tuple[str, ...]:
    """The names of the columns of `table`."""
    own = [f"{name}-{i + 1}" for name in Scene._fields[:5] for i in range(objects)]
    return (*own, *Scene._fields[5:])


def table(scene: Scene) -> Array:
    """The factors of scenes as one table of floats [n, 5 objects + 4], in the order of `names`."""
    own = [jnp.asarray(part, jnp.float32) for part in scene[:5]]
    rest = [jnp.asarray(part, jnp.float32)[:, None] for part in scene[5:]]
    return jnp.concatenate([*own, *rest], axis=1)


def render(scene: Scene, size: int = 64) -> Array:
    """Draw one scene.

    Args:
        scene: one scene, with factors [objects] and scalars. Gradients flow to all factors but the shapes.
        size: width and height in pixels, at least `SMALLEST`; static.

    Returns:
        float32 [size, size, 3] in [0, 1]; NaN where a shape is no index into `SHAPES`.

    Raises:
        InputError: the size is too small, or the factors are not those of one scene.
    """
    check.integer("size", size, SMALLEST)
    shapes = {jnp.shape(part) for part in scene[:5]}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1 or any(jnp.ndim(part) for part in scene[5:]):
        raise check.InputError(
            f"render draws one scene, of factors [objects] and scalars, got shapes "
            f"{[list(np.shape(part)) for part in scene]}; use jax.vmap for many."
        )
    pixels = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    right = jnp.broadcast_to(pixels[None, :], (size, size))
    down = jnp.broadcast_to(pixels[:, None], (size, size))
    index = jnp.asarray(scene.shape)
    known = jnp.all((index >= 0) & (index < len(SHAPES)))
    ambient = nan_where(~known, jnp.asarray(scene.ambient, jnp.float32))
    towards = jnp.stack(
        [
            math.cos(_HEIGHT) * jnp.cos(scene.light),
            jnp.asarray(math.sin(_HEIGHT)),
            math.cos(_HEIGHT) * jnp.sin(scene.light),
        ]
    )  # right, up, out of the picture

    def lit(normal: Array) -> Array:
        """The brightness of surfaces with normals [..., 3]."""
        return ambient + (1 - ambient) * jnp.maximum(jnp.matmul(normal, towards, precision="highest"), 0)

    floor_light, wall_light = lit(jnp.asarray([0.0, 1.0, 0.0])), lit(jnp.asarray([0.0, 0.0, 1.0]))
    below = jnp.clip(0.5 + (down - HORIZON) * size, 0, 1)
    image = _over(
        _paint(scene.wall, 0.5, wall_light, size), below, _paint(scene.floor, 0.5, floor_light, size)
    )

    objects = [jnp.asarray(part) for part in scene[:5]]
    order = jnp.argsort(objects[4])
    objects = [part[order] for part in objects]

    def shadow(image: Array, one: list[Array]) -> tuple[Array, None]:
        _, length, _, x, depth = one
        across, foot, radius = _place(x, depth, length)
        # The shadow is a flat ellipse that begins at the object's foot and points away from the light.
        u = (right - (across - radius * towards[0])) / (1.3 * radius)
        v = (down - (foot + 0.4 * radius * (towards[2] - 1))) / (0.45 * radius)
        inside = jnp.clip(0.5 - (jnp.sqrt(u * u + v * v + 1e-12) - 1) * 0.45 * radius * size, 0, 1) * below
        return image * (1 - inside * (1 - ambient / floor_light))[:, :, None], None

    def stand(image: Array, one: list[Array]) -> tuple[Array, None]:
        shape, length, hue, x, depth = one
        across, foot, radius = _place(x, depth, length)
        u, v = (right - across) / radius, (foot - radius - down) / radius
        covers, normals = zip(_ball(u, v), _box(u, v), _cone(u, v))
        cover = jnp.clip(0.5 - jnp.stack(covers)[shape] * radius * size, 0, 1)
        bright = lit(jnp.stack(normals)[shape])
        return _over(image, cover, bright[:, :, None] * rgb(hue, 0.8)[None, None, :]), None

    image, _ = jax.lax.scan(shadow, image, objects)
    image, _ = jax.lax.scan(stand, image, objects)
    return image


def _place(x: Array, depth: Array, length: Array) -> tuple[Array, Array, Array]:
    """The center and the foot of an object on the canvas, and half its width, in canvas widths."""
    near = 0.6 + 0.4 * depth
    foot = HORIZON + 0.15 + (0.97 - HORIZON - 0.15) * depth
    return 0.5 + (x - 0.5) * near * 0.8, foot, 0.16 * length * near


def _paint(hue: Any, saturation: float, light: Array, size: int) -> Array:
    return jnp.broadcast_to((light * rgb(hue, saturation))[None, None, :], (size, size, 3))


def _over(back: Array, cover: Array, front: Array) -> Array:
    cover = cover[:, :, None]
    return (1 - cover) * back + cover * front


def _ball(u: Array, v: Array) -> tuple[Array, Array]:
    """The signed distance to a disc of radius 1, and the normals of the ball, for lengths in its radius."""
    length = jnp.sqrt(u * u + v * v + 1e-12)
    out = jnp.sqrt(jnp.maximum(1 - jnp.minimum(u * u + v * v, 1), 1e-6))
    return length - 1, jnp.stack([u, v, out], axis=-1)


def _box(u: Array, v: Array) -> tuple[Array, Array]:
    """The signed distance, within the box and near it, to the square of half side .85 that stands at -1."""
    distance = jnp.maximum(jnp.abs(u), jnp.abs(v + 0.15)) - 0.85
    return distance, jnp.broadcast_to(jnp.asarray([0.0, 0.0, 1.0]), (*u.shape, 3))


def _cone(u: Array, v: Array) -> tuple[Array, Array]:
    """The signed distance, within the cone and near it, to a triangle, and the normals of the cone."""
    side = (2 * jnp.abs(u) + (v - 1)) / math.sqrt(5)
    across = jnp.clip(u / jnp.maximum((1 - v) / 2, 1e-3), -1, 1)
    out = jnp.sqrt(jnp.maximum(1 - across * across, 1e-6))
    slope = 1 / math.sqrt(5)
    flat = 2 / math.sqrt(5)
    normals = jnp.stack([flat * across, jnp.full(u.shape, slope), flat * out], axis=-1)
    return jnp.maximum(side, -1 - v), normals
