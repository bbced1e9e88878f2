"""DeepCluster-v2: k-means against loops, the bank, the targets, and what the seeding of clusters prevents."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.ssl import deep_cluster as module
from lrn.ssl.deep_cluster import DeepClusterConfig, spherical_kmeans

COMPILED = jax.jit(spherical_kmeans, static_argnums=(3, 5))


def points(rows: int, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows and unit centroids in three dimensions."""
    rng = np.random.default_rng(0)
    made = rng.normal(size=(rows, 3)), rng.normal(size=(clusters, 3))
    x, c = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in made)
    return x.astype(np.float32), c.astype(np.float32)


def by_loops(x: np.ndarray, centroids: np.ndarray, rounds: int) -> np.ndarray:
    """Spherical k-means in float64; an empty cluster keeps its centroid."""
    x, centroids = x.astype(np.float64), centroids.astype(np.float64)
    for _ in range(rounds):
        groups = [[] for _ in centroids]
        for row in x:
            groups[int(np.argmax([row @ c for c in centroids]))].append(row)
        sums = [np.sum(g, axis=0) if g else c for g, c in zip(groups, centroids)]
        centroids = np.array([s / np.linalg.norm(s) for s in sums])
    return centroids


def test_kmeans_equals_loops_and_climbs():
    x, start = points(40, 5)
    ours = COMPILED(jax.random.key(0), x, start, 3, 40, False)
    np.testing.assert_allclose(ours, by_loops(x, start, 3), rtol=1e-4, atol=1e-5)
    values = [np.max(x @ by_loops(x, start, rounds).T, axis=1).mean() for rounds in range(4)]
    assert values == sorted(values)
    # Rows behind the filled ones take no part.
    padded = np.concatenate([x, -x])
    np.testing.assert_allclose(COMPILED(jax.random.key(0), padded, start, 3, 40, False), ours, rtol=1e-4)


def test_empty_clusters_get_rows_of_the_filled_part():
    x, start = points(40, 5)
    x[:, 0], start[1:, 0] = np.abs(x[:, 0]), -np.abs(start[1:, 0])  # near one centroid, far from the others
    start[0], start[1:, 1:] = (1, 0, 0), 0
    x[20:] = np.nan
    moved = np.asarray(COMPILED(jax.random.key(0), x, start, 1, 20, True))
    stayed = np.asarray(COMPILED(jax.random.key(0), np.nan_to_num(x), start, 1, 20, False))
    assert (stayed[1:] == start[1:]).all()
    assert all(any((row == c).all() for row in x[:20]) for c in moved[1:])


def test_the_bank_keeps_the_newest_and_clusters_stay_in_use():
    made = module.example()
    assert made.sampler is not None
    data = {name: jnp.asarray(made.data[name]) for name in ("image", "label")}
    draw = made.sampler.draw

    def trained(reseed: bool):
        learner = made.factory(dataclasses.replace(made.config, prototypes=64, reseed=reseed))

        def one(state, key):
            state, metrics = learner.step(key, state, draw(jax.random.fold_in(key, 1), data))
            return state, (metrics["usage_entropy"], state.memory)

        def run(key):
            begin = learner.init(key, draw(key, data))
            return jax.lax.scan(one, begin, jax.random.split(jax.random.fold_in(key, 1), 60))[1]

        return jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})(jax.random.key(0))

    usage, memory = trained(True)
    banks = np.asarray(memory["bank"])
    assert not banks[0, 32:].any()
    assert (banks[2, 32:] == banks[1, :32]).all()
    np.testing.assert_allclose(np.linalg.norm(memory["prototypes"][-1], axis=1), 1, rtol=1e-5)
    without, _ = trained(False)
    assert float(jnp.mean(usage[-5:])) > float(jnp.mean(without[-5:])) + 0.3


def small(**changed):
    made = module.example()
    return made.factory(dataclasses.replace(made.config, **changed))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: DeepClusterConfig(prototypes=1), "two or more"),
        (lambda x: DeepClusterConfig(temperature=0.0), "temperature"),
        (lambda x: DeepClusterConfig(bank=16, prototypes=32), "cannot fill 32 clusters"),
        (lambda x: small().init(jax.random.key(0), {"x": jnp.ones((65, 3))}), "smaller than a batch of 65"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(jnp.ones((8, 3)))
