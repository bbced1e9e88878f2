"""Augmentations of images against torchvision and Pillow, and their frequencies and properties."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lrn.check import InputError
from lrn.data import augment

# Made by references/make_torchvision.py.
THEIRS = np.load(Path(__file__).parent / "references" / "torchvision.npz")
IMAGES = THEIRS["images"]
BOXES = jax.jit(augment.crop_boxes, static_argnums=(1, 2, 3, 4))
N = 400  # images where frequencies are counted


def close(ours, theirs, atol=1e-5):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


# Against torchvision and Pillow


def test_jitter_is_torchvisions_in_every_order():
    run = jax.jit(augment.jittered)
    parameters, orders = THEIRS["factors"], THEIRS["orders"]
    close(run(IMAGES, parameters, orders), THEIRS["jittered"])
    close(run(IMAGES[..., :1], parameters, orders), THEIRS["gray_jittered"])
    some = np.arange(24) % 2 == 0
    kept = jax.jit(lambda changed: augment.jittered(IMAGES, parameters, orders, changed=changed))(some)
    close(kept, np.where(some[:, None, None, None], THEIRS["jittered"], IMAGES))
    np.testing.assert_array_equal(kept[1::2], IMAGES[1::2])


def test_gray_solarized_and_blurred_images_are_torchvisions():
    def three(x, sigma):
        return augment.grayscale(x), augment.solarized(x, 0.4), augment.blurred(x, sigma, 5)

    for ours, name in zip(jax.jit(three)(IMAGES[:3], THEIRS["sigmas"]), ("gray", "solarized", "blurred")):
        close(ours, THEIRS[name])


@pytest.mark.parametrize("size", [(6, 5), (3, 9)])
def test_crops_are_torchvisions(size):
    run = jax.jit(augment.resized_crop, static_argnums=2)
    mirrored = np.array([False, True, False, True])
    ours = run(IMAGES[:4], THEIRS["boxes"], size, mirrored=mirrored)
    theirs = THEIRS["crop_{}x{}".format(*size)]
    close(ours, np.where(mirrored[:, None, None, None], theirs[:, :, ::-1], theirs))


def test_crops_are_pillows_with_boxes_of_fractions():
    boxes = np.array([[0, 0, 6, 5], [1.25, 0.5, 4.5, 3.75], [0.1, 2.2, 1.3, 2.6], [2.0, 1.0, 3.0, 4.0]])
    for beyond in (True, False):
        chosen = boxes if beyond else np.rint(boxes)
        ours = jax.jit(lambda boxes, b=beyond: augment.resized_crop(IMAGES[:4], boxes, (4, 7), beyond=b))(
            chosen
        )
        for image, (top, left, tall, wide), found in zip(IMAGES, chosen.tolist(), ours):
            box = (left, top, left + wide, top + tall)
            for channel in range(3):
                plane = Image.fromarray(image[..., channel])
                if beyond:
                    theirs = plane.resize((7, 4), Image.Resampling.BILINEAR, box=box)
                else:
                    theirs = plane.crop(box).resize((7, 4), Image.Resampling.BILINEAR)
                close(found[..., channel], theirs, 1e-6)


@pytest.mark.parametrize(("size", "scale"), [((28, 32), (0.08, 1.0)), ((8, 40), (0.5, 1.0))])
def test_boxes_are_drawn_as_torchvisions(size, scale):
    """Moments of 20,000 boxes; in the second case about a third of the ten draws do not fit."""
    boxes = np.asarray(BOXES(jax.random.key(0), 20_000, size, scale))
    means, stds = THEIRS["boxes_{}x{}".format(*size)]
    error = stds * np.sqrt(2 / 20_000)
    assert (np.abs(boxes.mean(0) - means) < 4.5 * error + 1e-6).all()
    np.testing.assert_allclose(boxes.std(0), stds, rtol=0.04)
    assert (boxes == np.rint(boxes)).all()
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= np.array(size)).all()
    assert (boxes[:, 2:].min(0) >= 1).all()


def test_no_box_fits_a_long_image():
    """Torchvision's way out: the largest box in the middle whose shape is allowed."""
    for size, expected in (((4, 40), [0, 17, 4, 5]), ((40, 4), [17, 0, 5, 4])):
        boxes = BOXES(jax.random.key(1), 3, size, (1.0, 1.0), (0.8, 1.25))
        np.testing.assert_array_equal(boxes, [expected] * 3)


# Frequencies and places


def drawn(augmentation, x, seed=0):
    return np.asarray(jax.jit(augmentation)(jax.random.key(seed), x))


def share_changed(augmentation, x):
    after = drawn(augmentation, x)
    changed = (np.abs(after - np.asarray(x)) > 1e-6).reshape(len(x), -1).any(1)
    return changed.mean()


MANY = np.random.default_rng(1).uniform(size=(N, 6, 6, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "augmentation",
    [
        augment.horizontal_flip(0.3),
        augment.random_resized_crop(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.3),
        augment.color_jitter(0.4, 0.4, 0.4, 0.2, p=0.3),
        augment.random_grayscale(0.3),
        augment.solarize(0.5, p=0.3),
        augment.gaussian_blur(3, (1.0, 2.0), p=0.3),
        augment.cutout(2, p=0.3),
        augment.sometimes(0.3, lambda key, x: x + jax.random.uniform(key, x.shape)),
    ],
)
def test_a_share_of_the_images_is_changed(augmentation):
    assert abs(share_changed(augmentation, MANY) - 0.3) < 4 * np.sqrt(0.21 / N)


def test_the_factors_of_the_jitter_are_uniform():
    gray = np.full((N, 1, 1, 1), 0.4, np.float32)
    factors = drawn(augment.color_jitter(brightness=0.5), gray).ravel() / 0.4
    assert factors.min() >= 0.5 - 1e-6
    assert factors.max() <= 1.5 + 1e-6
    assert np.abs(np.sort(factors) - (0.5 + (np.arange(N) + 0.5) / N)).max() < 0.08  # Kolmogorov-Smirnov
    red = np.broadcast_to(np.array([0.8, 0.2, 0.2], np.float32), (N, 1, 1, 3))
    turned = drawn(augment.color_jitter(hue=0.25), red)[:, 0, 0]
    # A quarter of a turn from red: as many images go towards green as towards blue.
    assert abs((turned[:, 1] > turned[:, 2]).mean() - 0.5) < 0.1
    assert turned[:, 0].min() > 0.4


def test_windows_and_squares_are_where_they_may_be():
    image = np.arange(1.0, 17.0, dtype=np.float32).reshape(1, 4, 4, 1)
    many = np.broadcast_to(image, (N, 4, 4, 1))
    windows = {tuple(w) for w in drawn(augment.random_crop((2, 3)), many).reshape(N, -1)}
    assert windows == {tuple(image[0, i : i + 2, j : j + 3, 0].ravel()) for i in range(3) for j in range(2)}
    holes = {tuple(h) for h in (drawn(augment.cutout(2, fill=-1.0), many) == -1).reshape(N, -1)}
    expected = set()
    for i in range(4):
        for j in range(4):  # the center; the square is cut at the upper and left border
            hole = np.zeros((4, 4), bool)
            hole[max(i - 1, 0) : i + 1, max(j - 1, 0) : j + 1] = True
            expected.add(tuple(hole.ravel()))
    assert holes == expected


# Properties

EVERY = {
    "crop": augment.random_resized_crop((4, 3), flip=0.5),
    "window": augment.random_crop(3, pad=1),
    "jitter": augment.color_jitter(0.4, 0.4, 0.4, 0.2, p=0.8),
    "blur": augment.compose(augment.gaussian_blur(3), augment.random_grayscale(0.5)),
    "rest": augment.compose(augment.horizontal_flip(), augment.solarize(p=0.5), augment.cutout(2)),
    "sometimes": augment.sometimes(0.5, augment.color_jitter(0.4)),
}


def everything(key, x, strength):
    found = {}
    for each, (name, augmentation) in zip(jax.random.split(key, len(EVERY) + 2), EVERY.items()):
        found[name] = augmentation(each, x)
    keys = jax.random.split(key, len(EVERY) + 2)[-2:]
    crop = augment.random_resized_crop(scale=(strength / 2, strength), flip=strength)
    color = augment.color_jitter(strength, strength, strength, strength / 2, p=strength)
    found["swept"] = augment.compose(crop, color, augment.gaussian_blur(3, (strength, 1.0), p=strength))(
        keys[0], x
    )
    views = augment.multi_crop(crop, augment.random_resized_crop(2), 1)(keys[1], x)
    assert [view.shape[1] for view in views] == [6, 6, 2]
    found["views"] = jnp.concatenate([view.reshape(x.shape[0], -1) for view in views], axis=1)
    return found


def test_vmap_over_keys_and_strengths_is_a_loop():
    keys = jax.random.split(jax.random.key(3), 2)
    x, strengths = IMAGES[:8].reshape(2, 4, 6, 5, 3), jnp.array([0.3, 0.5])
    quick = {"xla_backend_optimization_level": 0}
    together = jax.jit(jax.vmap(everything), compiler_options=quick)(keys, x, strengths)
    alone = jax.jit(everything, compiler_options=quick)
    for lane in range(2):
        one = alone(keys[lane], x[lane], strengths[lane])
        for name, value in one.items():
            assert np.isfinite(value).all(), name
            np.testing.assert_allclose(together[name][lane], value, atol=1e-5, err_msg=name)
    assert not np.allclose(together["views"][0][:, :90], together["views"][0][:, 90:180])


def test_keys_are_used_once(key_reuse_checks):
    for augmentation in (*EVERY.values(), augment.multi_crop(EVERY["crop"], EVERY["crop"], 1)):
        jax.jit(augmentation).trace(jax.random.key(0), IMAGES[:4])


SWEPT = {
    "crop": lambda p: augment.random_resized_crop(2, flip=p),
    "flip": lambda p: augment.horizontal_flip(p),
    "cutout": lambda p: augment.cutout(2, p),
    "blur": lambda p: augment.gaussian_blur(3, p=p),
    "jitter": lambda p: augment.color_jitter(0.1, p=p),
    "strength": lambda p: augment.color_jitter(p - 1.0),
    "gray": lambda p: augment.random_grayscale(p),
    "solarize": lambda p: augment.solarize(p=p),
    "threshold": lambda p: augment.solarize(p),
    "sometimes": lambda p: augment.sometimes(p, augment.horizontal_flip()),
    "shifted": lambda p: lambda key, x: augment.shifted(key, x, share=p),
}


def test_a_traced_probability_out_of_bounds_gives_nan():
    def drawn(p):
        return {name: of(p)(jax.random.key(0), IMAGES[:2]) for name, of in SWEPT.items()}

    found = jax.jit(jax.vmap(drawn), compiler_options={"xla_backend_optimization_level": 0})(
        jnp.asarray([1.0, -0.5, jnp.nan, 1.5])
    )
    for name, value in found.items():
        wrong = np.isnan(value).all(axis=(1, 2, 3, 4))
        assert wrong.tolist() == [False, True, True, name != "strength"], name


def test_a_traced_range_out_of_bounds_gives_nan():
    run = jax.jit(lambda end: augment.random_resized_crop(scale=(0.5, end))(jax.random.key(0), IMAGES[:2]))
    assert np.isfinite(run(0.9)).all()
    assert np.isnan(run(1.5)).all()
    found = jax.jit(lambda sigma: augment.blurred(IMAGES[:3], sigma, 3))(jnp.asarray([1.0, -1.0, 0.0]))
    assert np.isnan(found).all(axis=(1, 2, 3)).tolist() == [False, True, True]


X = jnp.ones((2, 6, 5, 3))
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: augment.random_resized_crop(scale=(0.5, 1.5)), "scale, the crop's share of the image, must"),
        (lambda: augment.random_resized_crop(scale=(0.9, 0.5)), "must ascend"),
        (lambda: augment.random_resized_crop(scale=0.5), "must be a pair"),  # pyright: ignore[reportArgumentType]
        (lambda: augment.random_resized_crop(0), "height and width must be at least 1"),
        (lambda: augment.random_resized_crop(flip=1.5), "probability p must lie between 0 and 1"),
        (lambda: augment.resized_crop(X, jnp.array([[0.0, 0, 7, 5]] * 2)), "inside of the image of 6x5"),
        (lambda: augment.resized_crop(X, jnp.zeros((1, 4))), r"boxes must be \[2, 4\]"),
        (lambda: augment.random_crop(7)(KEY, X), "a crop of 7x7 is larger than the image of 6x5"),
        (lambda: augment.cutout(6)(KEY, X), "larger than the image of 6x5"),
        (lambda: augment.gaussian_blur(4), "kernel must be odd, got 4"),
        (lambda: augment.gaussian_blur(3, (0.0, 1.0)), "sigma must be a finite number above 0"),
        (lambda: augment.blurred(X, 1.0, 11), "smaller than the image of 6x5"),
        (lambda: augment.color_jitter(-0.1), "brightness must be"),
        (lambda: augment.color_jitter(hue=0.6), "hue must lie between 0 and 0.5"),
        (lambda: augment.color_jitter(0.1)(KEY, X[..., :2]), "one or three channels, got 2"),
        (lambda: augment.solarize(2.0), "threshold must lie"),
        (lambda: augment.horizontal_flip()(KEY, X[0]), r"must be floats \[batch, height, width, channels\]"),
        (lambda: augment.horizontal_flip()(KEY, X.astype(jnp.uint8)), "scale pixels"),
        (
            lambda: augment.jittered(X, jnp.ones((2, 3)), jnp.zeros((2, 4), int)),
            r"parameters must be \[2, 4\]",
        ),
        (lambda: augment.compose(), "at least one augmentation"),
        (lambda: augment.sometimes(0.5, augment.random_crop(3))(KEY, X), "must keep the shape"),
    ],
)
def test_bad_input_is_one_sentence(call, said):
    with pytest.raises(InputError, match=said) as error:
        call()
    assert "\n" not in str(error.value)
