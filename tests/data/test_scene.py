"""Scenes: what each factor does to the picture."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.data import scene

SIZE = 48
PLAIN = scene.Scene(
    shape=jnp.asarray([0, 1]),
    size=jnp.asarray([1.0, 1.0]),
    hue=jnp.asarray([0.0, 1 / 3]),  # red, green
    x=jnp.asarray([0.1, 0.9]),
    depth=jnp.asarray([0.5, 0.5]),
    floor=jnp.asarray(2 / 3),
    wall=jnp.asarray(2 / 3),  # both blue
    light=jnp.asarray(np.pi / 2),
    ambient=jnp.asarray(0.5),
)


@pytest.fixture(scope="module")
def render():
    drawn = jax.jit(lambda one: scene.render(one, SIZE))
    return lambda **changes: np.asarray(
        drawn(PLAIN._replace(**{k: jnp.asarray(v) for k, v in changes.items()}))
    )


def of(color, picture):
    """Where a picture is mostly red, green or blue."""
    return np.argmax(picture, axis=-1) == color


def test_objects_are_where_they_should_be(render):
    picture = render()
    assert picture.shape == (SIZE, SIZE, 3)
    assert picture.min() >= 0
    assert picture.max() <= 1
    for color, side in ((0, slice(0, SIZE // 2)), (1, slice(SIZE // 2, SIZE))):
        there = of(color, picture)
        assert there.sum() == there[:, side].sum() > 40
    moved = of(0, render(x=[0.3, 0.9]))
    assert np.argwhere(moved)[:, 1].mean() - np.argwhere(of(0, picture))[:, 1].mean() > 5
    smaller = of(0, render(size=[0.5, 1.0]))
    np.testing.assert_allclose(smaller.sum() / of(0, picture).sum(), 0.25, atol=0.06)
    near = of(0, render(depth=[1.0, 0.5]))
    assert np.argwhere(near)[:, 0].max() > np.argwhere(of(0, picture))[:, 0].max() + 5
    assert near.sum() > of(0, picture).sum()


def test_the_nearer_object_covers_the_farther(render):
    """Whatever the order of the objects."""
    near, far = 0.8, 0.6
    front = of(0, render(x=[0.5, 0.5], depth=[near, far]))
    behind = of(0, render(x=[0.5, 0.5], depth=[far, near]))
    assert front.sum() > 1.5 * behind.sum()


def test_light_and_shadow(render):
    """The light side of a ball is the side of the light, and the shadow falls on the other side."""
    right, left = render(light=0.0), render(light=np.pi)
    ball = of(0, right) & of(0, left)
    columns = np.argwhere(ball)[:, 1]
    middle = columns.mean()
    for picture, sign in ((right, 1), (left, -1)):
        bright = picture[:, :, 0][ball]
        assert sign * (bright[columns > middle].mean() - bright[columns < middle].mean()) > 0.1
    floor = ~of(0, right) & ~of(0, left) & ~of(1, right) & ~of(1, left)
    difference = np.where(floor, right[:, :, 2] - left[:, :, 2], 0)
    shaded = np.argwhere(difference < -0.05)
    assert len(shaded) > 10  # with the light from the right, shadows on the left
    assert np.abs(render(ambient=1.0) - render(ambient=1.0, light=0.0)).max() < 1e-5  # no light, no shadow


def test_shapes_and_colors(render):
    sizes = [of(0, render(shape=[shape, 1])).sum() for shape in range(3)]
    assert len(set(sizes)) == 3
    assert sizes[2] < sizes[0]  # a triangle is smaller than the disc of its height
    assert of(0, render(floor=0.0)).sum() > SIZE * SIZE * 0.4
    assert of(1, render(wall=1 / 3)).sum() > SIZE * SIZE * 0.25


def test_gradients_flow():
    def loss(x, light):
        return jnp.sum(jnp.square(scene.render(PLAIN._replace(x=x, light=light), 16)))

    for part in jax.jit(jax.grad(loss, (0, 1)))(PLAIN.x, PLAIN.light):
        assert np.isfinite(part).all()
        assert np.abs(part).max() > 0


def test_samples():
    drawn = scene.sample(jax.random.key(0), 500, 2)
    columns = np.asarray(scene.table(drawn))
    names = scene.names(2)
    assert columns.shape == (500, 14)
    assert len(names) == 14
    assert names[0] == "shape-1"
    assert names[-1] == "ambient"
    np.testing.assert_allclose(np.corrcoef(columns.T) - np.eye(14), 0, atol=0.2)
    bounds = {"size-1": (0.5, 1), "hue-2": (0, 1), "light": (0, np.pi), "ambient": (0.3, 0.7)}
    for name, (low, high) in bounds.items():
        column = columns[:, names.index(name)]
        assert low <= column.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < column.max() <= high
    pictures = jax.jit(jax.vmap(lambda one: scene.render(one, 16)))(jax.tree.map(lambda a: a[:4], drawn))
    assert pictures.shape == (4, 16, 16, 3)


def test_bad_input_is_one_sentence(render):
    for shape in ([0, 3], [-1, 0]):
        assert np.isnan(render(shape=shape)).all()
    with pytest.raises(InputError, match="size must be at least 16"):
        scene.render(PLAIN, 8)
    with pytest.raises(InputError, match="render draws one scene"):
        scene.render(PLAIN._replace(x=jnp.ones(3)))
    with pytest.raises(InputError, match="objects must be at least 1"):
        scene.sample(jax.random.key(0), 3, 0)
