"""Augmented images are windows of the padded image or its mirror image, with the documented frequencies."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.data.augment import flip_and_crop, shifted
from lrn.data.resize import mean_of_blocks
from lrn.types import Sampler

IMAGE = jnp.arange(1.0, 13.0).reshape(3, 4, 1)
REPEAT = Sampler(
    lambda key, data: {"image": jnp.broadcast_to(data["image"], (400, 3, 4, 1)), "label": jnp.zeros(400)}
)


def test_every_window_of_both_mirrors_comes_and_no_other():
    drawn = jax.jit(flip_and_crop(REPEAT, pad=1).draw)(jax.random.key(0), {"image": IMAGE})
    windows = set()
    for image in (np.asarray(IMAGE), np.asarray(IMAGE)[:, ::-1]):
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        windows |= {padded[i : i + 3, j : j + 4].tobytes() for i in range(3) for j in range(3)}
    seen = [np.asarray(x).tobytes() for x in drawn["image"]]
    assert set(seen) == windows  # 400 draws from 18 equally likely windows
    assert max(seen.count(w) for w in windows) < 60
    assert drawn["label"].shape == (400,)


def test_each_draw_is_its_reference():
    """A split gives the sampler's key and the images' keys; an image's key gives mirror, row and column."""
    images = np.random.default_rng(0).normal(size=(9, 5, 4, 2)).astype(np.float32)

    def draw(key, data):
        return {"image": jnp.roll(data, jax.random.randint(key, (), 0, 9), 0), "label": jnp.arange(9)}

    ours = jax.jit(flip_and_crop(Sampler(draw), pad=2).draw)(jax.random.key(4), images)
    draw_key, augment_key = jax.random.split(jax.random.key(4))
    before = np.asarray(draw(draw_key, images)["image"])
    for i, key in enumerate(jax.random.split(augment_key, 9)):
        flip, down, right = jax.random.split(key, 3)
        image = before[i, :, ::-1] if jax.random.bernoulli(flip) else before[i]
        padded = np.zeros((9, 8, 2))
        padded[2:7, 2:6] = image
        top, left = (int(jax.random.randint(k, (), 0, 5)) for k in (down, right))
        np.testing.assert_array_equal(ours["image"][i], padded[top : top + 5, left : left + 4])
    np.testing.assert_array_equal(ours["label"], np.arange(9))


def test_a_sampler_without_data_stays_one():
    assert flip_and_crop(REPEAT).needs_data
    assert not flip_and_crop(Sampler(REPEAT.draw, needs_data=False)).needs_data


def test_no_padding_only_mirrors():
    drawn = flip_and_crop(REPEAT, pad=0).draw(jax.random.key(1), {"image": IMAGE})["image"]
    mirrored = (drawn == IMAGE[None, :, ::-1]).all((1, 2, 3)).sum()
    assert 150 < int(mirrored) < 250


def test_bad_input():
    with pytest.raises(ValueError, match="pad must be at least 0"):
        flip_and_crop(REPEAT, pad=-1)
    flat = Sampler(lambda key, data: {"image": data["image"]})
    with pytest.raises(ValueError, match="give each image three axes"):
        flip_and_crop(flat).draw(jax.random.key(0), {"image": jnp.zeros((5, 9))})


def test_shifted_images_are_windows_of_the_padded_ones():
    images = jnp.arange(1.0, 1 + 50 * 12, dtype=np.float32).reshape(50, 3, 4, 1)
    moved = np.asarray(jax.jit(lambda key: shifted(key, images, 2))(jax.random.key(0)))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    corners = set()
    for one, around in zip(moved, padded):
        places = [(i, j) for i in range(5) for j in range(5) if (around[i : i + 3, j : j + 4] == one).all()]
        corners.add(places[0])
    assert len(corners) > 15, "all 25 places are drawn"


def test_a_share_of_the_images_is_shifted():
    images = jnp.ones((400, 3, 3, 1))
    moved = np.asarray(jax.jit(lambda share: shifted(jax.random.key(0), images, 1, share))(0.3))
    share = (moved.sum((1, 2, 3)) < 9).mean()  # one of nine shifts is none
    assert abs(share - 0.3 * 8 / 9) < 0.08
    with pytest.raises(ValueError, match="images must be"):
        shifted(jax.random.key(0), images[0])


def test_mean_of_blocks_is_the_rounded_mean():
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 4, 2)).astype(np.uint8)
    found = mean_of_blocks(images, 2)
    assert found.shape == (3, 3, 2, 2)
    assert found.dtype == np.uint8
    assert found[1, 2, 0, 1] == np.rint(images[1, 4:6, 0:2, 1].mean())
    for bad in (images[:, :5], images.astype(np.float32), images[0]):
        with pytest.raises(ValueError, match="images must be uint8"):
            mean_of_blocks(bad, 2)
