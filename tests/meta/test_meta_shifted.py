"""Shifts of one classification: each dial has its effect, and none at 0."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from lrn.meta.episode import check_family, draw
from lrn.meta.families.shifted import rotated, shifted

CLASSES = 6


def table() -> jax.Array:
    """Gray pictures of one shade per class and example: class k has shades from .1 + .1 k to .15 + .1 k."""
    shade = 0.1 + 0.1 * np.arange(CLASSES)[:, None] + np.linspace(0, 0.05, 40)[None]
    return jnp.asarray(np.broadcast_to(shade[:, :, None, None, None], (CLASSES, 40, 4, 4, 3)), jnp.float32)


def shade(batch):
    return np.asarray(batch["x"]).mean((-3, -2, -1))


def test_without_a_shift_tasks_are_the_data():
    family = shifted(table(), 10, 20)
    check_family(family)
    given = draw(family, jax.random.key(0), 50)
    np.testing.assert_array_equal(((shade(given.query) - 0.095) * 10).astype(int), given.query["y"])
    np.testing.assert_allclose(np.bincount(np.ravel(given.query["y"])) / 1000, 1 / CLASSES, atol=0.04)
    # No example is drawn twice: all shades of a task's class differ.
    for i in range(50):
        both = np.concatenate([shade(given.support)[i], shade(given.query)[i]])
        assert len(np.unique(both.round(6))) == 30


@pytest.mark.parametrize("dial", ["brightness", "contrast", "tint", "noise"])
def test_pictures_shift_and_stay_pictures(dial):
    given = draw(shifted(table(), 10, 20, **{dial: 0.5}), jax.random.key(0), 50)
    plain = draw(shifted(table(), 10, 20), jax.random.key(0), 50)
    np.testing.assert_array_equal(given.query["y"], plain.query["y"])
    assert float(given.query["x"].min()) >= 0
    assert float(given.query["x"].max()) <= 1
    moved = np.abs(np.asarray(given.query["x"]) - np.asarray(plain.query["x"])).mean((1, 2, 3, 4))
    assert moved.max() > 3 * moved.min()  # tasks differ in the size of their shift
    assert moved.max() > 0.05


def test_imbalance_makes_classes_rare():
    given = draw(shifted(table(), 10, 30, imbalance=5.0), jax.random.key(0), 40)
    most = np.array([np.bincount(y, minlength=CLASSES).max() / 30 for y in np.asarray(given.query["y"])])
    even = draw(shifted(table(), 10, 30), jax.random.key(0), 40)
    fair = np.array([np.bincount(y, minlength=CLASSES).max() / 30 for y in np.asarray(even.query["y"])])
    assert most.mean() > fair.mean() + 0.2


@pytest.mark.parametrize(("renamed", "moved"), [(0.0, 0), (0.5, 3), (1.0, 6)])
def test_names_are_handed_round(renamed, moved):
    given = draw(shifted(table(), 10, 20, renamed=renamed), jax.random.key(0), 30)
    true = ((shade(given.query) - 0.095) * 10).astype(int)
    for i in range(30):
        names = {int(t): int(y) for t, y in zip(true[i], np.asarray(given.query["y"][i]))}
        assert len(set(names.values())) == len(names)  # all examples of a class share one label
        assert sum(k != v for k, v in names.items()) <= moved
        code = np.asarray(given.code[i])[-CLASSES * CLASSES :].reshape(CLASSES, CLASSES).argmax(1)
        assert (code != np.arange(CLASSES)).sum() == moved
        assert all(code[k] == v for k, v in names.items())


@pytest.mark.parametrize("degrees", [0.0, 33.0, 90.0, -120.0])
def test_turns_are_scipys(degrees):
    picture = np.random.default_rng(0).random((9, 9, 2)).astype(np.float32)
    expected = ndimage.rotate(picture, degrees, axes=(1, 0), reshape=False, order=1, mode="grid-constant")
    np.testing.assert_allclose(rotated(jnp.asarray(picture), jnp.float32(degrees)), expected, atol=2e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(shots=30, queries=20), "need 50 examples of a class and the data has 40"),
        (dict(turn=270.0), "turn must lie between 0 and 180"),
        (dict(renamed=2.0), "renamed must lie between 0 and 1"),
        (dict(images=jnp.zeros((3, 4))), r"images must be \[classes"),
    ],
)
def test_bad_shifts(settings, message):
    with pytest.raises(ValueError, match=message):
        shifted(**{"images": table(), "shots": 5, "queries": 5, **settings})
