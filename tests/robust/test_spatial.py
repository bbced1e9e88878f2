"""Rotations and translations against scipy and foolbox; the searches against brute force."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from lrn.robust.evaluate import robust_accuracy
from lrn.robust.spatial import SpatialConfig, search, spatial, transform
from tests.robust.others_peers import PEERS

RNG = np.random.default_rng(0)
X = RNG.uniform(size=(6, 7, 5, 2))
WEIGHTS = RNG.normal(size=(70, 3))
IMAGES = jnp.asarray(X, jnp.float32)


def moved(image, degrees, shift):
    """The image turned by scipy, which looks up pixel ``matrix @ place + offset`` for every place."""
    angle = np.deg2rad(degrees)
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = (np.array(image.shape[:2]) - 1) / 2
    offset: Any = middle - back @ (middle + np.asarray(shift))
    channels = [
        ndimage.affine_transform(image[..., c], back, offset, order=1, mode="grid-constant")
        for c in range(image.shape[2])
    ]
    return np.stack(channels, -1)


def scores(x, xp=np):
    return 3 * xp.tanh(x.reshape(len(x), 70) @ xp.asarray(WEIGHTS, x.dtype))


def logits(z):
    return scores(z.astype(jnp.float32), jnp)


Y = np.argmax(scores(X), 1)


def test_is_scipys_affine_transform():
    degrees = np.array([0, 30, -17.5, 90, 180, 5], np.float32)
    shift = RNG.uniform(-3, 3, (6, 2)).astype(np.float32)
    shift[0] = [1, -2]
    ours = jax.jit(transform)(IMAGES, degrees, shift)
    exact = np.stack([moved(x, d, s) for x, d, s in zip(X, degrees, shift)])
    np.testing.assert_allclose(ours, exact, atol=2e-5)
    np.testing.assert_allclose(ours[0, 1:, :3], IMAGES[0, :-1, 2:], atol=1e-6)  # down by one, left by two
    same = jax.jit(transform)(IMAGES, np.zeros(6, np.float32), np.zeros((6, 2), np.float32))
    np.testing.assert_array_equal(same, IMAGES)


def test_a_quarter_turn_is_counterclockwise():
    square = IMAGES[:, :5]
    turned = jax.jit(transform)(square, np.full(6, 90, np.float32), np.zeros((6, 2), np.float32))
    np.testing.assert_allclose(turned, np.rot90(square, 1, (1, 2)), atol=1e-5)


def test_is_foolboxs_where_it_means_the_same():
    # foolbox looks up R place + t, with t = (n - 1) / n of the shift it is given, as (column, row).
    x, n = jnp.asarray(PEERS["x"][:3]), 8
    for (degrees, dx, dy), theirs in zip(PEERS["spatial_parameters"], PEERS["spatial"]):
        angle = np.deg2rad(degrees)
        t = np.array([dy, dx]) * (n - 1) / n
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        shift = -turn.T @ t
        ours = transform(
            x, jnp.full(3, degrees, jnp.float32), jnp.tile(jnp.asarray(shift, jnp.float32)[None], (3, 1))
        )
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_derivatives_by_angle_and_shift_are_finite_differences():
    place = np.array([[11.3, 0.37, -1.21]] * 6)
    weight = RNG.normal(size=X.shape)

    def value(p):
        return sum(float((w * moved(x, q[0], q[1:])).sum()) for x, q, w in zip(X, p, weight))

    ours = jax.jit(
        jax.grad(lambda p: jnp.sum(weight.astype(np.float32) * transform(IMAGES, p[:, 0], p[:, 1:])))
    )(place.astype(np.float32))
    for i, j in itertools.product((0, 5), range(3)):
        step = np.zeros((6, 3))
        step[i, j] = 1e-5
        slope = (value(place + step) - value(place - step)) / 2e-5
        assert ours[i, j] == pytest.approx(slope, rel=2e-3, abs=2e-4)


def loss(x, y):
    z = scores(x)
    return np.log(np.exp(z).sum(1)) - z[np.arange(len(x)), y]


def test_the_grid_is_searched_whole():
    config = SpatialConfig(rotation=40.0, translation=2.0, rotations=4, translations=3)
    found, where = jax.jit(lambda: search(jax.random.key(0), logits, IMAGES, jnp.asarray(Y), config))()
    best, worst, places = X.copy(), loss(X, Y), np.zeros((6, 3))
    fooled = np.zeros(6, bool)
    for place in itertools.product(np.linspace(-40, 40, 4), (-2, 0, 2), (-2, 0, 2)):
        z = np.stack([moved(x, place[0], place[1:]) for x in X])
        value, wrong = loss(z, Y), np.argmax(scores(z), 1) != Y
        take = (wrong & ~fooled) | ((wrong == fooled) & (value > worst))
        best[take], worst, fooled, places[take] = (
            z[take], np.where(take, value, worst), fooled | wrong, place,
        )  # fmt: skip
    assert fooled.any()
    np.testing.assert_allclose(where, places, atol=1e-4)
    np.testing.assert_allclose(found, best, atol=2e-5)


@pytest.mark.parametrize("method", ["random", "first_order"])
def test_random_and_first_order_searches(method):
    def run(samples, method):
        config = SpatialConfig(method=method, samples=samples, steps=6, rotation=25.0, translation=1.5)
        return jax.jit(lambda key: search(key, logits, IMAGES, jnp.asarray(Y), config))(jax.random.key(0))

    (few, _), (many, where) = run(2, method), run(6, method)
    exact = np.stack([moved(x, p[0], p[1:]) for x, p in zip(X, np.asarray(where, np.float64))])
    np.testing.assert_allclose(many, exact, atol=2e-5)  # the image is that of the place reported
    assert (np.abs(where) <= np.array([[25, 1.5, 1.5]]) + 1e-5).all()
    assert (np.abs(where).max(0) > [5, 0.3, 0.3]).all()
    assert len(np.unique(np.asarray(where), axis=0)) > 3  # each example has a place of its own
    wrong = [np.argmax(scores(np.asarray(z)), 1) != Y for z in (few, many)]
    assert (wrong[1] >= wrong[0]).all()
    same = wrong[0] == wrong[1]
    assert (loss(np.asarray(many), Y) >= loss(np.asarray(few), Y) - 1e-4)[same].all()
    if method == "first_order":  # it starts where the random search looks, and climbs
        start, _ = run(6, "random")
        fooled = np.argmax(scores(np.asarray(start)), 1) != Y
        assert (wrong[1] >= fooled).all()
        gain = (loss(np.asarray(many), Y) - loss(np.asarray(start), Y))[wrong[1] == fooled]
        assert (gain >= -1e-4).all()
        assert gain.max() > 0.02


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("method", ["grid", "first_order"])
def test_stays_in_the_box_in_every_dtype(method, dtype, request):
    if dtype == jnp.float16:
        request.getfixturevalue("float16")
    x = jnp.asarray(np.round(X), dtype)  # black and white
    config = SpatialConfig(method=method, rotations=3, translations=2, samples=2, steps=3)
    run = jax.jit(lambda key: search(key, lambda z: logits(z), x, jnp.asarray(Y), config))
    found, where = run(jax.random.key(0))
    assert found.dtype == dtype
    assert 0 <= found.min() <= found.max() <= 1
    assert (np.abs(where) > 1e-3).any()  # a gradient that a rounding stops would leave all at the start


def test_out_of_range_is_nan_and_ranges_may_be_swept():
    bad = np.asarray(IMAGES).copy()
    bad[2, 0, 0, 0] = 1.5
    config = SpatialConfig(rotations=3, translations=1)
    run = jax.jit(lambda x, c: spatial(c)(jax.random.key(0), logits, x, jnp.asarray(Y)))
    found = run(bad, config)
    assert jnp.isnan(found[2]).all()
    assert jnp.isfinite(found[np.array([0, 1, 3, 4, 5])]).all()
    angles = jnp.array([0.0, 20.0])
    swept = jax.jit(jax.vmap(lambda a: run(IMAGES, SpatialConfig(rotation=a, rotations=3, translations=1))))(
        angles
    )
    np.testing.assert_array_equal(swept[0], IMAGES)
    alone = run(IMAGES, SpatialConfig(rotation=20.0, rotations=3, translations=1))
    np.testing.assert_allclose(swept[1], alone, atol=1e-5)
    with pytest.raises(ValueError, match=r"needs images \[batch, height, width, channels\]"):
        spatial(config)(jax.random.key(0), logits, IMAGES.reshape(6, 70), Y)


def test_counts_in_robust_accuracy_as_any_attack():
    attack = spatial(SpatialConfig(rotations=3, translations=3))
    accuracy = jax.jit(
        lambda: robust_accuracy(jax.random.key(0), logits, IMAGES, Y, {"spatial": attack}, 4)
    )()
    x_adv = jax.jit(lambda: attack(jax.random.key(0), logits, IMAGES, Y))()
    assert accuracy["spatial"] == np.mean(np.argmax(scores(np.asarray(x_adv)), 1) == Y)
    assert accuracy["spatial"] < 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rotation": 200.0}, "rotation must lie between 0 and 180"),
        ({"translation": -1.0}, "translation must be a finite number, 0 or more"),
        ({"method": "genetic"}, "method 'genetic' is not known"),
        ({"rotations": 0}, "rotations must be at least 1"),
        ({"loss": "mse"}, "loss 'mse' is not known"),
    ],
)
def test_bad_configs(settings, message):
    with pytest.raises(ValueError, match=message):
        SpatialConfig(**settings)
