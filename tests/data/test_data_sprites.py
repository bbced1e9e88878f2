"""Sprites against closed forms and dSprites' documented sizes, areas, centers, symmetries and borders."""

import colorsys
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.data import sprites
from lrn.data.sprites import Factors, grid, render, sample

SIZE = 64
DRAW = jax.jit(render, static_argnums=1)


def sprite(**changed):
    return Factors(
        **{"color": 0.0, "shape": 0, "scale": 1.0, "orientation": 0.0, "x": 0.5, "y": 0.5, **changed}
    )


def mask(size=SIZE, **changed):
    """The covered part of each pixel, [size, size]: the red channel of a white sprite."""
    return np.asarray(DRAW(sprite(**changed), size, 0.0))[..., 0]


def test_the_factors_of_dsprites():
    assert {name: len(values) for name, values in sprites.VALUES.items()} == {
        "color": 8, "shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32,
    }  # fmt: skip
    assert sprites.SHAPES == ("square", "ellipse", "heart")
    np.testing.assert_allclose(sprites.VALUES["scale"], [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert sprites.VALUES["orientation"][0] == 0
    assert sprites.VALUES["orientation"][-1] == 2 * math.pi
    whole = grid()
    assert whole.x.shape == (737_280,)  # 3 x 6 x 40 x 32 x 32
    # In dSprites' order the last factor changes fastest: picture i has y = i % 32 and shape i // 245,760.
    i = 500_123
    assert whole.y[i] == np.float32(sprites.VALUES["y"][i % 32])
    assert whole.x[i] == np.float32(sprites.VALUES["x"][i // 32 % 32])
    assert whole.orientation[i] == np.float32(sprites.VALUES["orientation"][i // 1024 % 40])
    assert whole.scale[i] == np.float32(sprites.VALUES["scale"][i // 40_960 % 6])
    assert whole.shape[i] == i // 245_760
    assert whole.shape.dtype == np.int32


def test_grid_of_chosen_values():
    chosen = grid(shape=[1], scale=[1.0], orientation=[0.0], x=[0.25, 0.75], y=[0, 0.5, 1], color=[0, 0.5])
    assert [tuple(round(float(v), 2) for v in row) for row in zip(*chosen)][:4] == [
        (0, 1, 1, 0, 0.25, 0), (0, 1, 1, 0, 0.25, 0.5), (0, 1, 1, 0, 0.25, 1), (0, 1, 1, 0, 0.75, 0),
    ]  # fmt: skip
    assert len(chosen.x) == 12
    with pytest.raises(ValueError, match="did you mean color"):
        grid(colr=[0])
    for bad in ([], 0.5):
        with pytest.raises(ValueError, match="values of x must be a list"):
            grid(x=bad)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("shape", range(3))
@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("orientation", [0.0, 0.4, 1.3, 4.0])
def test_area_is_the_shape_s_times_scale_squared(shape, scale, orientation):
    covered = mask(shape=shape, scale=scale, orientation=orientation).sum() / SIZE**2
    side = sprites.REACH * math.sqrt(2)
    # The heart: a square of diagonal d and two half discs on its sides. The tip is REACH from the centroid.
    d = side_of_heart() * math.sqrt(2)
    unit = (side**2, math.pi * sprites.REACH**2 / 2, d**2 / 2 + math.pi * (d / math.sqrt(2)) ** 2 / 4)[shape]
    assert covered == pytest.approx(unit * scale**2, rel=0.015)
    exact = sprites.area(sprite(shape=shape, scale=scale))
    assert float(exact) == pytest.approx(unit * scale**2, rel=1e-3)


def side_of_heart():
    """The side of the heart, from REACH and the centroid of a heart of side 1, summed over a fine grid."""
    x, y = np.meshgrid(np.linspace(-1.2, 1.2, 1201), np.linspace(-0.2, 2, 1101))
    p, q = (x + y) / math.sqrt(2), (y - x) / math.sqrt(2)
    inside = ((p >= 0) & (p <= 1) & (q >= 0) & (q <= 1)) | (
        np.minimum((p - 1) ** 2 + (q - 0.5) ** 2, (p - 0.5) ** 2 + (q - 1) ** 2) <= 0.25
    )
    return sprites.REACH / y[inside].mean()


@pytest.mark.parametrize("shape", range(3))
def test_coverage_equals_supersampling(shape):
    """Sprites equal point-in-shape tests at 16 x 16 points per pixel, which use no distances."""
    factors = {"shape": shape, "scale": 0.9, "orientation": 0.7, "x": 0.31, "y": 0.62}
    n = SIZE * 16
    points = (np.arange(n) + 0.5) / n
    x, y = points[None, :] - (0.25 + 0.31 / 2), (0.25 + 0.62 / 2) - points[:, None]
    u = (x * math.cos(0.7) + y * math.sin(0.7)) / 0.9
    v = (y * math.cos(0.7) - x * math.sin(0.7)) / 0.9
    r = sprites.REACH
    if shape == 0:
        inside = np.maximum(abs(u), abs(v)) <= r / math.sqrt(2)
    elif shape == 1:
        inside = (u / r) ** 2 + (2 * v / r) ** 2 <= 1
    else:
        side = side_of_heart()
        p, q = (u + v + r) / math.sqrt(2) / side, (v + r - u) / math.sqrt(2) / side  # from the tip, r below
        inside = ((p >= 0) & (p <= 1) & (q >= 0) & (q <= 1)) | (
            np.minimum((p - 1) ** 2 + (q - 0.5) ** 2, (p - 0.5) ** 2 + (q - 1) ** 2) <= 0.25
        )
    exact = inside.reshape(SIZE, 16, SIZE, 16).mean((1, 3))
    drawn = mask(**factors)
    assert abs(drawn - exact).max() < 0.2  # a clipped linear ramp differs by up to this value at corners
    assert abs(drawn - exact).mean() < 1e-3
    assert ((drawn > 0.5) == (exact > 0.5)).mean() > 0.999


def test_mass_is_centered_at_the_position():
    for shape in range(3):
        for x, y, orientation in ((0, 0, 0.3), (1, 0.2, 2.0), (0.37, 1, 5.0), (0.5, 0.5, 0)):
            weight = mask(shape=shape, x=x, y=y, orientation=orientation, scale=0.8)
            pixels = (np.arange(SIZE) + 0.5) / SIZE
            center = (weight.sum(0) @ pixels / weight.sum(), weight.sum(1) @ pixels / weight.sum())
            np.testing.assert_allclose(center, (0.25 + x / 2, 0.25 + y / 2), atol=0.15 / SIZE)


def test_nothing_is_cut_off():
    corners = grid(scale=[1.0], x=[0, 1], y=[0, 1], orientation=np.linspace(0, 2 * math.pi, 37))
    images = np.asarray(jax.jit(jax.vmap(lambda f: render(f, SIZE, 0.0)))(corners))[..., 0]
    border = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
    assert max(edge.max() for edge in border) == 0
    assert images.max((1, 2)).min() > 0.9
    # The blurred edge, half a pixel wide, ends within the canvas even at the smallest size.
    assert sprites.REACH + 0.5 / sprites.SMALLEST < 0.25


def test_moving_the_position_moves_the_picture():
    # One pixel of 64 is 1/32 of the range of x, which covers half the canvas.
    for shape in range(3):
        here = mask(shape=shape, x=0.25, y=0.5, orientation=0.6)
        there = mask(shape=shape, x=0.25 + 5 / 32, y=0.5 - 7 / 32, orientation=0.6)
        np.testing.assert_allclose(np.roll(here, (-7, 5), (0, 1)), there, atol=1e-4)


def test_turning_the_orientation_turns_the_picture():
    for shape in range(3):
        for angle in (0.0, 0.3):
            turned = mask(shape=shape, orientation=angle + math.pi / 2)
            np.testing.assert_allclose(np.rot90(mask(shape=shape, orientation=angle)), turned, atol=1e-4)
    # A square has four such symmetries, an ellipse two, a heart none; the angles 0 and 2π give one picture.
    for shape, period in ((0, math.pi / 2), (1, math.pi), (2, 2 * math.pi)):
        same = mask(shape=shape, orientation=0.3)
        np.testing.assert_allclose(mask(shape=shape, orientation=0.3 + period), same, atol=1e-4)
        assert abs(mask(shape=shape, orientation=0.3 + period / 2) - same).max() > 0.5


def test_upright():
    ellipse, heart = mask(shape=1) > 0.5, mask(shape=2) > 0.5
    assert (
        mask()[32].sum()
        == pytest.approx(mask()[:, 32].sum(), abs=1e-4)
        == pytest.approx(64 * 0.21 * 2**0.5, abs=1e-3)
    )
    assert ellipse.any(0).sum() > 1.8 * ellipse.any(1).sum()  # the ellipse lies on its side
    np.testing.assert_array_equal(heart, heart[:, ::-1])  # mirror symmetry, left and right
    rows = heart.sum(1)[heart.any(1)]
    assert rows[-1] <= 2 < rows[3]  # the heart stands on its tip
    assert not np.array_equal(heart, heart[::-1])


def test_any_size():
    for size in (16, 33, 128):
        assert DRAW(sprite(), size, 1.0).shape == (size, size, 3)
        assert mask(size, shape=2).sum() / size**2 == pytest.approx(
            float(sprites.area(sprite(shape=2))), rel=0.03
        )
    for bad, said in ((15, "at least 16"), (32.0, "whole number")):
        with pytest.raises(ValueError, match=said):
            render(sprite(), bad)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"x has shape \[2\]; use jax.vmap"):
        render(sprite(x=jnp.zeros(2)))


def test_colors_are_those_of_colorsys():
    for hue in [*sprites.VALUES["color"], 1 / 3, 2 / 3, 0.99]:
        for saturation in (0.0, 0.4, 1.0):
            inside = np.asarray(DRAW(sprite(color=float(hue)), SIZE, saturation))[32, 32]
            np.testing.assert_allclose(inside, colorsys.hsv_to_rgb(hue, saturation, 1.0), atol=1e-5)


def test_values_lie_in_the_unit_interval():
    images = jax.jit(jax.vmap(render))(sample(jax.random.key(0), (64,), continuous=True))
    assert images.dtype == jnp.float32
    assert float(images.min()) == 0
    assert float(images.max()) <= 1


def test_jit_is_eager_and_vmap_is_a_loop():
    factors = sample(jax.random.key(1), (6,))
    together = jax.jit(jax.vmap(render))(factors)
    for i in range(6):
        one = jax.tree.map(lambda x, i=i: x[i], factors)
        np.testing.assert_allclose(DRAW(one, SIZE, 1.0), together[i], atol=1e-5)
        if i < 2:
            np.testing.assert_allclose(render(one), together[i], atol=1e-5)


def test_gradients_are_finite_and_right():
    """The moments of a picture have closed forms; so have their slopes, averaged over many pictures."""
    pixels = (jnp.arange(SIZE) + 0.5) / SIZE

    def moments(values, shape):
        color, scale, orientation, x, y = values
        picture = render(Factors(color, shape, scale, orientation, x, y), SIZE)
        red, green = picture[..., 0] / SIZE**2, picture[..., 1] / SIZE**2
        return jnp.stack([red.sum(), red.sum(0) @ pixels, red.sum(1) @ pixels, green.sum()])

    slopes = jax.jit(jax.vmap(jax.jacobian(moments)))
    drawn = sample(jax.random.key(0), (600,), continuous=True)
    # One of the pictures is centered on a pixel's center, where a square root might have no slope.
    points = jnp.stack([drawn.color, drawn.scale, drawn.orientation, drawn.x, drawn.y], 1)
    points = points.at[0].set(jnp.asarray([0.1, 1.0, 0.0, 0.5 + 1 / 64, 0.5 + 1 / 64]))
    assert jnp.isfinite(slopes(points, drawn.shape)).all()
    points = points.at[:, 0].set(0.1)  # orange: red is full, and green rises by 6 per unit of hue
    slope = np.asarray(slopes(points, drawn.shape))
    scale = np.asarray(points[:, 1])
    area = np.asarray(sprites.area(drawn._replace(scale=points[:, 1])))
    for shape in range(3):
        rows = np.asarray(drawn.shape) == shape
        by_scale = slope[rows, 0, 1] * scale[rows] / area[rows]
        np.testing.assert_allclose(by_scale.mean(), 2, rtol=0.02)
        rest = slope[rows][:, :, 1:] / area[rows][:, None, None]
        np.testing.assert_allclose(rest[:, 0, 1:].mean(0), 0, atol=0.1)  # mass by all but scale
        np.testing.assert_allclose(rest[:, 1, 2].mean(), 0.5, atol=0.05)  # moment along x by x
        np.testing.assert_allclose(rest[:, 2, 3].mean(), 0.5, atol=0.05)  # moment along y by y
        np.testing.assert_allclose(slope[rows, 3, 0] / area[rows], 6, rtol=0.02)  # green by hue


def test_sample_is_uniform_over_the_values():
    drawn = sample(jax.random.key(5), (20_000,))
    assert drawn.shape.dtype == jnp.int32
    for name, values in sprites.VALUES.items():
        column = np.asarray(getattr(drawn, name))
        counts = [np.isclose(column, v, atol=1e-6).sum() for v in values]
        assert sum(counts) == 20_000
        expected = 20_000 / len(values)
        chi = ((np.array(counts) - expected) ** 2 / expected).sum()
        assert chi < len(values) + 4.5 * math.sqrt(2 * len(values))
    free = sample(jax.random.key(5), (20_000,), continuous=True)
    for name, values in sprites.VALUES.items():
        if name != "shape":
            column, high = np.asarray(getattr(free, name)), 1.0 if name == "color" else values[-1]
            assert values[0] <= column.min() < values[0] + 0.01 * high
            assert high * 0.99 < column.max() <= high * (1 + 1e-6)
            assert len(np.unique(column)) > 10_000
    assert sample(jax.random.key(0)).x.shape == ()


def test_factors_are_drawn_independently():
    drawn = sample(jax.random.key(6), (20_000,))
    table = np.corrcoef(np.stack([np.asarray(c, np.float64) for c in drawn]))
    assert abs(table - np.eye(6)).max() < 0.035
