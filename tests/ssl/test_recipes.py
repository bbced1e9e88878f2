"""Ready views: their parts, their strengths under a sweep, and what they leave out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.data import augment
from lrn.ssl.recipes import gray_images, sequence_views, simclr_images

IMAGES = np.random.default_rng(0).uniform(size=(6, 12, 12, 3)).astype(np.float32)
SEQUENCES = np.random.default_rng(1).normal(size=(6, 20, 2)).astype(np.float32)
QUICK = {"xla_backend_optimization_level": 0}


def drawn(views, x, seed=0):
    run = jax.jit(lambda key, x: [view(key, x) for view in views], compiler_options=QUICK)
    return [np.asarray(one) for one in run(jax.random.key(seed), x)]


def test_recipes_are_their_parts():
    simclr = augment.compose(
        augment.random_resized_crop(8, (0.08, 1.0), flip=0.5),
        augment.color_jitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        augment.random_grayscale(0.2),
        augment.gaussian_blur(3),
    )
    ours, theirs = drawn((simclr_images(8, 1.0, blur=3), simclr), IMAGES)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.shape == (6, 8, 8, 3)
    assert ours.min() >= 0
    assert ours.max() <= 1
    gray = augment.compose(
        augment.random_resized_crop(None, (0.3, 1.0), flip=0.0),
        augment.color_jitter(0.4, 0.4, p=0.8),
        augment.gaussian_blur(3, (0.1, 1.0)),
    )
    ours, theirs = drawn((gray_images(), gray), IMAGES[..., :1])
    np.testing.assert_array_equal(ours, theirs)
    parts = augment.compose(
        augment.crop_in_time((0.5, 1.0)),
        augment.permute_segments(3, 0.5),
        augment.scale_channels(0.1),
        augment.jitter(0.05),
        augment.mask_in_time(0.2),
    )
    ours, theirs = drawn((sequence_views(segments=3), parts), SEQUENCES)
    np.testing.assert_array_equal(ours, theirs)


def test_a_recipe_without_strength_changes_nothing():
    plain = (
        simclr_images(strength=0.0, crop=None, flip=0.0, gray=0.0),
        gray_images(strength=0.0, crop=None, blur=None),
        simclr_images(strength=0.0, crop=(1.0, 1.0), flip=0.0, gray=0.0),
    )
    for one, x in zip(plain, (IMAGES, IMAGES[..., :1], IMAGES)):
        np.testing.assert_allclose(drawn((one,), x)[0], x, atol=1e-6)
    still = sequence_views(0.0, 0.0, crop=None, mask=0.0)
    np.testing.assert_array_equal(drawn((still,), SEQUENCES)[0], SEQUENCES)


def test_strengths_are_swept():
    def run(strength):
        return simclr_images(strength=strength, crop=(strength / 4, strength))(
            jax.random.key(0), jnp.asarray(IMAGES)
        )

    swept = jax.jit(jax.vmap(run), compiler_options=QUICK)(jnp.array([0.2, 0.8]))
    assert np.isfinite(swept).all()
    assert np.abs(np.asarray(swept[0] - swept[1])).max() > 0.1


def test_bad_input_is_one_sentence():
    for call, said in (
        (lambda: simclr_images(strength=3.0), "strength must lie between 0 and 2.5"),
        (lambda: simclr_images(8, crop=None), "leave it out"),
        (lambda: gray_images(blur=2), "kernel must be odd"),
        (lambda: gray_images(crop=(0.5, 2.0)), "crop's share of the image"),
        (lambda: sequence_views(mask=1.5), "share must lie"),
        (
            lambda: jax.eval_shape(sequence_views(segments=30), jax.random.key(0), SEQUENCES),
            "no 30 segments",
        ),
    ):
        with pytest.raises(InputError, match=said):
            call()
