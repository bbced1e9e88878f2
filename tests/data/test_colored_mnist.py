"""Colored MNIST against its description, the authors' lines in NumPy, and the chances that it states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.data import colored_mnist as colored

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(1, 256, (4000, 4, 6), dtype=np.uint8)
DIGIT = RNG.integers(0, 10, 4000).astype(np.int32)


@pytest.fixture(scope="module")
def dealt():
    return jax.device_get(jax.jit(lambda k: colored.assign(k, DIGIT, (0.2, 0.1)))(jax.random.key(0)))


def drawn(sampler, data, seed=0):
    return jax.device_get(jax.jit(sampler.draw)(jax.random.key(seed), data))


def test_images_are_dealt_once_with_the_stated_chances(dealt):
    rows, y, color = (dealt[name] for name in ("rows", "y", "color"))
    assert rows.shape == (2, 2000)
    assert sorted(rows.ravel()) == list(range(4000))
    low = DIGIT[rows] < 5
    sd = 3.5 * np.sqrt(0.25 * 0.75 / 2000)
    np.testing.assert_allclose((y != low).mean(1), 0.25, atol=sd)
    np.testing.assert_allclose((color != y).mean(1), [0.2, 0.1], atol=sd)
    # Noise and flips are independent.
    assert abs(np.corrcoef((y != low).ravel(), (color != y).ravel())[0, 1]) < 4 / np.sqrt(4000)


def test_painted_images_are_those_of_the_published_code(dealt):
    data = {"image": IMAGES, "digit": DIGIT, **dealt}
    batch = drawn(colored.painted(), data)
    # The authors stack two copies and multiply the channel 1 - color by 0.
    for e in range(2):
        rows, color = dealt["rows"][e], dealt["color"][e]
        images = np.stack([IMAGES[rows]] * 2, 1) / np.float32(255)
        images[np.arange(2000), 1 - color] *= 0
        np.testing.assert_allclose(batch["x"][e], np.moveaxis(images, 1, -1), rtol=1e-6)
        np.testing.assert_array_equal(batch["y"][e], dealt["y"][e])
    np.testing.assert_allclose(colored.grey(batch["x"])[..., 0], IMAGES[dealt["rows"]] / 255, rtol=1e-5)


def test_batches_keep_what_was_drawn_once_and_redraw_what_is_not(dealt):
    data = {"image": IMAGES, "digit": DIGIT, **dealt}
    columns = (dealt[name].ravel() for name in ("rows", "y", "color"))
    known = {IMAGES[r].tobytes(): (y, c) for r, y, c in zip(*columns)}
    batch = drawn(colored.painted(50), data)
    assert batch["x"].shape == (2, 50, 4, 6, 2)
    for x, y in zip(batch["x"].reshape(100, 4, 6, 2), batch["y"].ravel()):
        grey = np.rint(x.sum(-1) * 255).astype(np.uint8)
        assert known[grey.tobytes()] == (y, int(x[..., 1].any()))

    sampler = colored.redrawn(None, noise=0.1)
    low, sd = DIGIT[dealt["rows"]] < 5, 3.5 * np.sqrt(0.25 / 2000)
    other = {**data, "flip": np.array([0.3, 0.05], np.float32)}
    first, second = (drawn(sampler, other, seed) for seed in (0, 1))
    for batch in (first, second):
        np.testing.assert_allclose(colored.grey(batch["x"])[..., 0], IMAGES[dealt["rows"]] / 255, rtol=1e-5)
        np.testing.assert_allclose((batch["y"] != low).mean(1), 0.1, atol=sd)
        color = batch["x"][..., 1].any((-1, -2))
        np.testing.assert_allclose((color != batch["y"]).mean(1), [0.3, 0.05], atol=sd)
    assert (first["y"] != second["y"]).mean() > 0.1
    assert drawn(colored.redrawn(7), data)["x"].shape == (2, 7, 4, 6, 2)


def test_the_published_sets(monkeypatch):
    monkeypatch.setattr(colored, "TRAINING", 60)
    images = RNG.integers(0, 256, (100, 6, 6, 1), dtype=np.uint8)
    digits = np.arange(100) % 10
    train, test = colored.published(jax.random.key(0), images, digits)
    np.testing.assert_array_equal(train["image"], images[:60, ::2, ::2, 0])
    np.testing.assert_array_equal(test["image"], images[60:, ::2, ::2, 0])
    assert train["rows"].shape == (2, 30)
    assert test["rows"].shape == (1, 40)
    with pytest.raises(InputError, match="more than 60 images"):
        colored.published(jax.random.key(0), images[:60], digits[:60])


def test_bad_input(dealt):
    data = {"image": IMAGES, "digit": DIGIT, **dealt}
    with pytest.raises(InputError, match="every entry of flips must lie between 0 and 1"):
        colored.assign(jax.random.key(0), DIGIT, (0.2, 1.5))
    with pytest.raises(InputError, match="got 4000 images for 0 environments"):
        colored.assign(jax.random.key(0), DIGIT, ())
    with pytest.raises(InputError, match=r"digits must be whole numbers \[n\], got float32"):
        colored.assign(jax.random.key(0), DIGIT.astype(np.float32))
    with pytest.raises(InputError, match="noise must lie between 0 and 1"):
        colored.labels_and_colors(jax.random.key(0), jnp.asarray(DIGIT), 0.1, 2.0)
    with pytest.raises(InputError, match="images must be uint8"):
        colored.halved(IMAGES.astype(np.float32))
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        colored.painted(0)
    checked = colored.painted().check
    assert checked is not None
    with pytest.raises(InputError, match="rows must lie between 0 and 3999"):
        checked({**data, "rows": dealt["rows"] + 1})
    for sampler, name, sentence in (
        (colored.painted(), "y", r"'y' must be \[2, 2000\], as the rows, got shape \[1, 2000\]"),
        (colored.redrawn(), "digit", r"'digit' must be \[4000\], as the images, got shape \[3999\]"),
        (colored.redrawn(), "flip", r"'flip' must be \[2\], as the environments, got shape \[1\]"),
    ):
        assert sampler.check is not None
        sampler.check(data)
        with pytest.raises(InputError, match=sentence):
            sampler.check({**data, name: data[name][1:]})
    with pytest.raises(InputError, match=r"the data lack \['color'\]"):
        checked({name: value for name, value in data.items() if name != "color"})
    with pytest.raises(InputError, match="images must be uint8 or floats, got int32"):
        colored.paint(jnp.ones((2, 4, 4), jnp.int32), jnp.zeros(2, jnp.int32))
    wrong = colored.paint(jnp.ones((2, 4, 4)), jnp.array([1, 2]))
    assert np.isfinite(wrong[0]).all()
    assert np.isnan(wrong[1]).all()
