"""Sprites with nuisances: correlations and strengths are those of the dials."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.data import nuisance_sprites as ns
from lrn.data import sprites

BASE = ns.NuisanceConfig(levels=(("shape", 3), ("scale", 4), ("x", 5)), size=16, correlated=("scale", "x"))


@pytest.fixture(scope="module")
def draw():
    return jax.jit(lambda key, config: ns.draw(key, 20_000, config))


def spearman_of(normal):
    """The correlation of the ranks of two normals of this correlation."""
    return 6 / np.pi * np.arcsin(normal / 2)


def test_factors_are_uniform_and_as_correlated_as_the_dials_say(draw):
    config = dataclasses.replace(BASE, factor_correlation=0.8, nuisance_correlation=-0.6)
    levels, nuisances = map(np.asarray, draw(jax.random.key(0), config))
    for i, (_, count) in enumerate(config.levels):
        shares = np.bincount(levels[:, i], minlength=count) / len(levels)
        np.testing.assert_allclose(shares, 1 / count, atol=0.015)
    for column in nuisances.T:
        np.testing.assert_allclose(np.quantile(column, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.015)
    found = np.corrcoef(np.concatenate([levels, nuisances], 1).T)
    # Few levels blur the correlation of the uniform numbers below.
    assert 0.7 < found[1, 2] < spearman_of(0.8) + 0.01
    assert -spearman_of(0.6) - 0.01 < found[1, 3] < -0.5
    np.testing.assert_allclose(found[0, 1:], 0, atol=0.025)
    np.testing.assert_allclose(found[3, 4:], 0, atol=0.025)
    # The two partners of the scale correlate by the product.
    assert abs(found[2, 3] + spearman_of(0.48)) < 0.05
    plain = np.concatenate(list(map(np.asarray, draw(jax.random.key(1), BASE))), 1)
    np.testing.assert_allclose(np.corrcoef(plain.T) - np.eye(7), 0, atol=0.03)


def test_without_nuisances_the_pictures_are_sprites():
    config = dataclasses.replace(BASE, brightness=0.0)
    levels = jnp.asarray([2, 1, 3], jnp.int32)
    factors = ns.values(levels, config)
    found, expected = jax.jit(
        lambda: (ns.render(levels, jnp.full(4, 0.7), config), sprites.render(factors, 16, saturation=0))
    )()
    assert (int(factors.shape), float(factors.x), float(factors.y)) == (2, 0.75, 0.5)
    np.testing.assert_allclose(factors.scale, 0.5 + 0.5 / 3, rtol=1e-6)
    np.testing.assert_allclose(found, expected[:, :, :1], atol=1e-6)


def test_each_dial_moves_the_background_alone():
    """Strength 0 hides a nuisance; with a strength it changes the background, but not the sprite."""
    levels = jnp.asarray([0, 3, 2], jnp.int32)
    rgb = dataclasses.replace(BASE, channels=3)
    cover = np.asarray(sprites.coverage(ns.values(levels, rgb), 16))
    dials = {
        "brightness": dict(brightness=0.6),
        "tint": dict(brightness=0.6, tint=0.8),
        "stripes": dict(brightness=0.0, stripes=0.5),
        "light": dict(brightness=0.0, light=0.5),
    }

    @jax.jit
    def both(config, which):
        low, high = jnp.full(4, 0.2), jnp.full(4, 0.2).at[which].set(0.7)
        return ns.render(levels, low, config), ns.render(levels, high, config)

    off = dataclasses.replace(rgb, brightness=0.0)
    for i, name in enumerate(ns.NUISANCES):
        np.testing.assert_array_equal(*both(off, i))
        low, high = map(np.asarray, both(dataclasses.replace(off, **dials[name]), i))
        assert np.abs(high - low).max() > 0.05
        assert min(low.min(), high.min()) >= 0
        assert max(low.max(), high.max()) <= 1
        if name != "light":
            np.testing.assert_allclose(high[cover == 1], low[cover == 1], atol=1e-6)
    dim, bright = map(np.asarray, both(dataclasses.replace(off, brightness=0.6), 0))
    np.testing.assert_allclose(bright[cover == 0] - dim[cover == 0], 0.6 * 0.5, atol=1e-6)


def test_samples_and_pairs():
    config = dataclasses.replace(BASE, noise=0.1, stripes=0.3)
    found = jax.jit(lambda key, c: (ns.sample(key, 200, c), ns.pairs(key, 200, c, 2)))(
        jax.random.key(0), config
    )
    one, pair = jax.tree.map(np.asarray, found)
    assert one["image"].shape == (200, 16, 16, 1)
    assert one["factors"].dtype == np.int32
    assert one["nuisances"].shape == (200, 4)
    clean, standard = jax.jit(
        lambda one: (
            jax.vmap(lambda a, b: ns.render(a, b, config))(one["factors"], one["nuisances"]),
            ns.standardized(one["factors"], config),
        )
    )(one)
    np.testing.assert_allclose(np.std(one["image"] - clean), 0.1, rtol=0.03)
    assert set(pair) == {"image", "partner", "factors", "nuisances"}
    # Of the two that are redrawn, a factor may keep its value.
    assert np.mean(np.abs(pair["image"] - pair["partner"]).max((1, 2, 3)) > 0.5) > 0.3
    np.testing.assert_allclose(np.mean(standard, 0), 0, atol=0.2)
    np.testing.assert_allclose(np.std(standard, 0), 1, atol=0.15)
    batch = jax.eval_shape(lambda key: ns.batches(3, config).draw(key, None), jax.random.key(0))
    assert batch["image"].shape == (3, 16, 16, 1)


def test_bad_input_is_one_sentence():
    wrong: Any
    for wrong, sentence in (
        (dict(levels=(("shape", 4), ("x", 2))), "there are 3 shapes, and levels asks for 4"),
        (dict(levels=(("x", 2),)), "levels must name two factors or more"),
        (dict(levels=("x", "y")), "levels must be a tuple of"),
        (dict(levels=(("x", 1), ("y", 2))), "the number of values of x must be at least 2"),
        (dict(channels=2), "channels must be 1 or 3"),
        (dict(tint=0.5), "a tint needs colors"),
        (dict(brightness=1.5), "brightness must lie between 0 and 1"),
        (dict(factor_correlation=-2.0), "factor_correlation must lie between -1 and 1"),
        (dict(correlated=("x", "x")), "x cannot be correlated with itself"),
        (dict(confounded=("x", "y")), "name 'y' is not known"),
        (dict(size=8), "size must be at least 16"),
    ):
        with pytest.raises(InputError, match=sentence):
            ns.NuisanceConfig(**wrong)
    picture = jax.jit(lambda levels: ns.render(levels, jnp.full(4, 0.5), BASE))
    with_traced = jax.jit(
        lambda r: ns.sample(jax.random.key(0), 3, dataclasses.replace(BASE, factor_correlation=r))
    )
    assert np.isnan(with_traced(1.5)["image"]).all()
    for levels in ([3, 0, 0], [0, -1, 0], [0, 0, 5]):
        assert np.isnan(picture(jnp.array(levels))).all()
    assert np.isfinite(picture(jnp.array([2, 3, 4]))).all()
    with pytest.raises(InputError, match="render draws one picture"):
        ns.render(jnp.zeros((2, 3), jnp.int32), jnp.zeros(4), BASE)
    with pytest.raises(InputError, match="there are 7 factors and nuisances, and 8 are to change"):
        ns.pairs(jax.random.key(0), 2, BASE, 8)
