"""DeepFool against closed forms, its definition in NumPy float64, foolbox and torchattacks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.robust.deepfool import DeepFoolConfig, deepfool, minimal
from tests import plain
from tests.robust.others_peers import IMAGES, LABELS, PEERS, network

KEY = jax.random.key(0)
RNG = np.random.default_rng(5)
X = RNG.uniform(0.3, 0.7, (9, 3, 2))
LINEAR, SQUARED = RNG.normal(size=(6, 4)), 2 * RNG.normal(size=(6, 4))


def affine(x, xp=np):
    return (x.reshape(len(x), 6) - 0.5) @ xp.asarray(LINEAR)


def curved(x, xp=np):
    flat = x.reshape(len(x), 6) - 0.5
    return flat @ xp.asarray(LINEAR) + flat**2 @ xp.asarray(SQUARED)


def in_float32(f):
    return lambda z: f(z.astype(jnp.float32), jnp)


def run(f, y, config):
    return jax.jit(lambda x: minimal(KEY, in_float32(f), x, jnp.asarray(y), config))(X.astype(np.float32))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_distance_to_the_nearest_hyperplane(norm):
    y = np.argmax(affine(X), 1)
    found = run(affine, y, DeepFoolConfig(norm=norm, overshoot=0.1))
    gaps = affine(X)[np.arange(9), y][:, None] - affine(X)
    normals = LINEAR[:, y].T[:, None] - LINEAR.T[None]  # [batch, class, pixel]
    size = np.abs(normals).sum(2) if norm == "linf" else np.linalg.norm(normals, axis=2)
    size[np.arange(9), y] = np.nan
    exact = np.nanmin(gaps / size, axis=1)
    np.testing.assert_allclose(found.distance, 1.1 * (exact + 1e-4), rtol=1e-4, atol=2e-6)


def reference(x, y, c):
    """The distances of DeepFool on the curved network; the gradients are central differences."""
    rows = np.arange(len(x))
    order = np.argsort(-np.where(np.eye(4, dtype=bool)[y], -np.inf, curved(x)), axis=1)[
        :, : min(c.candidates, 4) - 1
    ]
    total, z = np.zeros_like(x), x.copy()
    distance = np.where(np.argmax(curved(x), 1) == y, np.inf, 0.0)
    for _ in range(c.steps):
        best, step = np.full(len(x), np.inf), np.zeros_like(x)
        for k in order.T:
            gradient = plain.gradient(lambda z, k=k: (curved(z)[rows, k] - curved(z)[rows, y]).sum(), z)
            gap = np.abs(curved(z)[rows, k] - curved(z)[rows, y])
            flat = gradient.reshape(len(x), -1)
            size = np.abs(flat).sum(1) if c.norm == "linf" else np.linalg.norm(flat, axis=1)
            direction = np.sign(gradient) if c.norm == "linf" else gradient / size.reshape(-1, 1, 1)
            nearer = gap / size < best
            step[nearer] = ((gap / size + 1e-4).reshape(-1, 1, 1) * direction)[nearer]
            best = np.where(nearer, gap / size, best)
        active = np.isinf(distance)
        total[active] += step[active]
        z = np.clip(x + (1 + c.overshoot) * total, 0, 1)
        wrong = active & (np.argmax(curved(z), 1) != y)
        moved = np.abs(z - x).reshape(len(x), -1)
        size = moved.max(1) if c.norm == "linf" else np.linalg.norm(moved, axis=1)
        distance = np.where(wrong, size, distance)
    return distance


@pytest.mark.parametrize(("norm", "candidates"), [("l2", 10), ("linf", 10), ("l2", 2)])
def test_is_its_definition(norm, candidates):
    y = np.argmax(curved(X), 1)
    y[0] = (y[0] + 1) % 4  # wrong from the start
    config = DeepFoolConfig(norm=norm, candidates=candidates, overshoot=0.05, steps=15)
    exact = reference(X, y, config)
    found = run(curved, y, config)
    assert np.isfinite(exact).sum() >= 8
    assert exact[0] == 0
    np.testing.assert_allclose(found.distance, exact, rtol=2e-3, atol=1e-5)


def test_candidates_are_the_classes_with_the_largest_clean_logits():
    # Class 2 has the smallest logit and the nearest boundary: .2 / 4 away, against .1 / 1 for class 1.
    def logits(z):
        moved = z[:, :1] - 0.5
        return jnp.concatenate([0 * moved, moved - 0.1, -4 * moved - 0.2], axis=1)

    x, y = jnp.full((1, 2), 0.5), jnp.array([0])
    for candidates, exact, found_class in ((2, 0.1, 1), (3, 0.05, 2), (10, 0.05, 2)):
        config = DeepFoolConfig(candidates=candidates)
        found = jax.jit(lambda x, c=config: minimal(KEY, logits, x, y, c))(x)
        assert found.distance[0] == pytest.approx(1.02 * (exact + 1e-4), rel=1e-3)
        assert jnp.argmax(logits(found.x), 1)[0] == found_class


@pytest.mark.parametrize(
    ("norm", "name", "tolerance"),
    [("l2", "deepfool_l2", 2e-3), ("l2", "deepfool_torchattacks", 8e-3), ("linf", "deepfool_linf", 2e-3)],
)
def test_distances_are_the_peers(norm, name, tolerance):
    run = jax.jit(lambda: minimal(KEY, network, IMAGES, LABELS, DeepFoolConfig(norm=norm)))
    found = run()
    assert jnp.isfinite(found.distance).all()  # without the extra length some steps die at the box
    np.testing.assert_allclose(found.distance, PEERS[name], rtol=tolerance, atol=5e-4)
    assert (np.asarray(jnp.argmax(network(found.x), 1)) != LABELS).all()


def test_the_number_of_steps_bounds_the_path_and_jit_is_eager():
    y = np.argmax(curved(X), 1)
    few = run(curved, y, DeepFoolConfig(steps=1, overshoot=0.0)).distance
    many = run(curved, y, DeepFoolConfig(steps=30, overshoot=0.0)).distance
    assert np.isinf(few).any()
    assert np.isfinite(many).all()
    attack = deepfool(DeepFoolConfig(eps=0.3, steps=2))
    x = jnp.asarray(X, jnp.float32)
    eager = attack(KEY, in_float32(curved), x, y)
    np.testing.assert_allclose(
        jax.jit(attack, static_argnums=1)(KEY, in_float32(curved), x, y), eager, atol=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "l1"}, "norm 'l1' is not known"),
        ({"candidates": 1}, "candidates must be at least 2"),
        ({"overshoot": -0.1}, "overshoot must be a finite number, 0 or more"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"eps": 8.0, "norm": "linf"}, "eps must lie between 0 and 1"),
    ],
)
def test_bad_configs(settings, message):
    with pytest.raises(ValueError, match=message):
        DeepFoolConfig(**settings)
