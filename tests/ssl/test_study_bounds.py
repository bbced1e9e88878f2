"""Helpers of the studies `ssl.infonce_bound` and `ssl.augmentation`."""

from __future__ import annotations

import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.ssl import _bounds as bounds
from experiments.ssl import _placed as placed
from experiments.ssl._bijection import flow
from lrn.ssl.simclr import nt_xent
from lrn.ssl.similarity import grouped

TRACED = jax.jit(jax.value_and_grad(bounds.nt_xent_in_groups))
GROUPED = jax.jit(jax.vmap(lambda a, b: nt_xent(a, b, 0.3)))


@pytest.mark.parametrize("k", [2, 4, 12])
def test_groups_by_a_traced_k_are_those_of_simclr(k):
    a, b = np.random.default_rng(0).normal(size=(2, 12, 5)).astype(np.float32)
    apart = GROUPED(grouped(a, k), grouped(b, k))
    value, gradient = TRACED(a, b, 0.3, float(k))
    assert float(value) == pytest.approx(float(apart.mean()), abs=1e-5)
    assert np.isfinite(gradient).all()


def test_the_bound_in_groups_is_at_most_log_k_and_zero_without_knowledge():
    a, b = np.random.default_rng(1).normal(size=(2, 12, 5)).astype(np.float32)

    @jax.jit
    def both(a, b):
        told = bounds.in_groups(lambda a, b: 100.0 * jnp.eye(len(a)), a, b, 4)
        return told, bounds.in_groups(lambda a, b: jnp.zeros((len(a), len(b))), a, b, 4)

    told, blind = both(a, b)
    assert float(told) == pytest.approx(math.log(4), abs=1e-5)
    assert float(blind) == pytest.approx(0.0, abs=1e-6)


def test_a_flow_can_be_inverted_for_any_weights():
    bent = flow(8, layers=3, width=6)
    x = np.random.default_rng(2).normal(size=(20, 8)).astype(np.float32)

    @jax.jit
    def there_and_back(x):
        params, state = bent.net.init(jax.random.key(3), x)
        params = jax.tree.map(lambda p: p + 0.1, params)
        z, _ = bent.net.apply(params, state, x)
        return z, bent.inverse(params, z)

    z, back = there_and_back(x)
    assert np.abs(z - x).max() > 0.5
    np.testing.assert_allclose(back, x, atol=1e-3)


@pytest.mark.slow
def test_the_best_critic_reads_a_bijections_features():
    of = bounds.scene(bounds.BIJECTIVE, [0], (20, 10, 16))
    x = jnp.asarray(of.task.data["x"][:16])
    params, _ = of.encoder.init(jax.random.key(4), x)
    a, b = of.view(jax.random.key(5), x), of.view(jax.random.key(6), x)
    plain = bounds.scene(bounds.CONTENT, [0], (20, 10, 16))
    assert of.best is not None
    assert plain.best is not None
    np.testing.assert_allclose(of.best(params, a, b), plain.best(params, a, b), rtol=1e-3, atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", [placed.IMAGES, placed.SEQUENCES])
def test_objects_lie_where_their_label_says_and_a_crop_of_all_is_no_crop(name):
    if name == placed.IMAGES and not os.environ.get("LRN_DATA_DIR"):
        pytest.skip("fashion_mnist is not at hand: LRN_DATA_DIR is not set")
    of = placed.scene(name, [0], (60, 20, 20))
    x = placed.floats(of.task.data[of.task.column])
    np.testing.assert_allclose(placed.crop(name, 1.0)(jax.random.key(0), x[:8]), x[:8], atol=1e-5)
    assert float(jnp.mean(jnp.abs(placed.crop(name, 0.5)(jax.random.key(0), x[:8]) - x[:8]))) > 0.01
    place = of.task.data[placed.PLACE]
    assert place.min() == 0
    assert place.max() == placed.CLASSES[placed.PLACE] - 1
    if name == placed.IMAGES:  # rows of the garment's first bright line, by the cell's row
        bright = np.asarray(x[..., 0].sum(2) > 0.0)
        top = bright.argmax(1)
        assert top[place % 3 == 0].mean() < top[place % 3 == 1].mean() < top[place % 3 == 2].mean()
