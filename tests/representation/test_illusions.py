"""What the study of illusions measures: explained variances, rank correlations, groups of models."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from experiments.representation import _illusions as its
from experiments.representation import _set_codes as codes

RNG = np.random.default_rng(0)
PLACE = its.Place(0.6, 0.8)


@pytest.fixture(scope="module")
def data():
    return its.data(PLACE, [3, 4], 400, 300)


def test_the_nuisance_follows_the_scale_in_training_alone(data):
    for part, follows in (("train", True), ("reader", False), ("test", False)):
        scale, nuisance = data[f"{part} levels"][0, :, 0], data[f"{part} nuisance"][0]
        found: Any = scipy.stats.spearmanr(scale, nuisance)[0]
        assert (found > 0.6) == follows
        assert follows or abs(found) < 0.2
    assert data["train"].dtype == np.uint8
    assert data["train"].shape == (2, 400, 16, 16, 1)
    assert not np.array_equal(data["train"][0], data["train"][1])
    standard = data["reader all"][0]
    assert standard.shape == (400, 4)
    np.testing.assert_allclose(standard.std(0), 1, atol=0.1)


def test_rank_correlations_are_scipys():
    a: Any = RNG.normal(size=(50, 3))
    b: Any = np.stack([a[:, 0] ** 3, np.round(-a[:, 1] + 0.5 * RNG.normal(size=50))], 1)  # with ties
    pairs: Any = [[scipy.stats.spearmanr(x, y)[0] for y in b.T] for x in a.T]
    expected = np.abs(pairs)
    np.testing.assert_allclose(jax.jit(codes.rank_correlations)(a, b), expected, atol=1e-5)


def test_explained_variances(data):
    """Those of loops over groups; the strong nuisance explains more than each factor."""
    images = data["test"][0] / np.float32(255)
    levels, nuisance = data["test levels"][0], data["test nuisance"][0]
    found = np.asarray(jax.jit(codes.explained)(images, levels, nuisance))
    flat = images.reshape(len(images), -1)
    groups = [*levels.T, np.floor(nuisance * 8).astype(int)]
    for value, group in zip(found, groups):
        means = {g: flat[group == g].mean(0) for g in np.unique(group)}
        expected = np.mean([np.sum((means[g] - flat.mean(0)) ** 2) for g in group])
        np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert found[-1] > found[:-1].max()


def test_groups_of_models():
    count = len(its.population())
    assert count == 16
    metric = RNG.permuted(np.tile(np.linspace(0, 1, count + 4), (2, 1)), axis=1)
    scores = {its.MIG: metric, its.DCI: 1 - metric, its.SCORE: metric**2}
    found = dict(codes.groups({**scores, its.READER: np.ones(2), its.RATIO: np.ones(2)}))
    free = metric[:, :count]
    order = np.argsort(free, axis=1)
    for seed in range(2):
        # The top quarter by MIG are the last four, by DCI the first four.
        chosen = [*order[seed, :4], *order[seed, -4:]]
        np.testing.assert_allclose(found[its.CALLED][its.MIG][seed], free[seed, chosen].mean())
    np.testing.assert_allclose(found["FactorVAE"][its.MIG], free[:, 11:].mean(1))
    whole = found[""]
    np.testing.assert_allclose(whole["MIG and score across models"], 1)
    np.testing.assert_allclose(whole[its.ACROSS], 1)
    np.testing.assert_allclose(whole["DCI and score across models"], -1)
    base, best = metric[:, count] ** 2, metric[:, count + 1] ** 2
    np.testing.assert_allclose(whole[its.MIDDLE], (base + best) / 2)
    np.testing.assert_allclose(whole[its.HALF], best / 2)
    np.testing.assert_allclose(found[its.PCA][its.MIG], metric[:, -2])
    np.testing.assert_allclose(found[its.ROTATED][its.MIG], metric[:, -1])


def test_codes_that_are_the_factors():
    """Codes that are factors and nuisance, and that the decoder writes down, have the best score."""
    levels = jnp.stack(
        jnp.unravel_index(jnp.arange(320), its.SIZES), axis=1
    )  # all combinations of the three factors
    nuisance = jax.random.uniform(jax.random.key(0), (320,))
    image = jnp.concatenate([levels.astype(jnp.float32), nuisance[:, None]], axis=1)
    test = {"image": image, "levels": levels, "nuisance": nuisance}
    same = codes.Codec(lambda x: x, lambda z: z)

    @jax.jit
    def score(lesser):
        return codes.codec_scores(jax.random.key(1), same, lambda x: x, test, lesser, 100)

    found = score(jnp.asarray([True, False, False]))
    np.testing.assert_allclose(found[its.SCORE], 1, atol=1e-5)
    assert found[its.MIG] > 0.85  # ties in bins
    np.testing.assert_allclose(found[its.NUISANCE], 1, atol=1e-5)
    assert found[its.FACTOR] > 0.999
    assert float(score(jnp.zeros(3, bool))[its.FACTOR]) == 0
