"""Properties of the attacks that minimize the distance, in every dtype and for examples out of range."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import check
from lrn.robust import carlini_wagner, closest, deepfool, hop_skip_jump
from lrn.robust.carlini_wagner import CarliniWagnerConfig
from lrn.robust.deepfool import DeepFoolConfig
from lrn.robust.hop_skip_jump import HopSkipJumpConfig

CASES = {
    "carlini_wagner": (carlini_wagner.carlini_wagner, carlini_wagner.minimal, CarliniWagnerConfig, "l2",
                       dict(searches=2, steps=20, step_size=0.15, initial_c=1.0)),
    "deepfool": (deepfool.deepfool, deepfool.minimal, DeepFoolConfig, "l2", dict(steps=20)),
    "deepfool_linf": (deepfool.deepfool, deepfool.minimal, DeepFoolConfig, "linf", dict(steps=20)),
    "hop_skip_jump": (hop_skip_jump.hop_skip_jump, hop_skip_jump.minimal, HopSkipJumpConfig, "l2",
                      dict(steps=2, first_draws=20)),
    "hop_skip_jump_linf": (hop_skip_jump.hop_skip_jump, hop_skip_jump.minimal, HopSkipJumpConfig, "linf",
                           dict(steps=2, first_draws=20)),
}  # fmt: skip
WEIGHTS = np.random.default_rng(2).normal(size=(8, 3))


def logits(z):
    return z.reshape(z.shape[0], 8) @ jnp.asarray(WEIGHTS, z.dtype)


def images(dtype, n=12):
    x = np.random.default_rng(0).uniform(size=(n, 2, 4, 1))
    x.ravel()[:5] = [0, 1, 1e-6, 1 - 1e-4, 0.5]
    x = jnp.asarray(x, dtype)
    return x, jnp.argmax(logits(x), 1)


def length(delta, norm):
    return np.linalg.norm(delta.reshape(len(delta), -1), ord=np.inf if norm == "linf" else 2, axis=1)


def float64(x):
    return np.asarray(x.astype(jnp.float32) if x.dtype.itemsize < 4 else x, np.float64)


@pytest.mark.parametrize(
    "dtype",
    [
        jnp.bfloat16,
        jnp.float32,
        *(pytest.param(d, marks=pytest.mark.slow) for d in (jnp.float16, jnp.float64)),
    ],
)
@pytest.mark.parametrize("name", CASES)
def test_points_are_adversarial_at_their_distance_in_ball_and_box(name, dtype, request):
    if dtype == jnp.float16:
        request.getfixturevalue("float16")
    factory, minimal, config, norm, settings = CASES[name]
    kind = {"norm": norm} if name != "carlini_wagner" else {}
    with jax.enable_x64(dtype == jnp.float64):
        x, y = images(dtype)
        eps = np.linspace(0, 0.4, 12, dtype=np.float32) * (4 if norm == "l2" else 1)

        @jax.jit
        def run(key):
            found = minimal(key, logits, x, y, config(**settings, **kind))
            attack = factory(config(eps=eps, **settings, **kind))
            return found, attack(jax.random.clone(key), logits, x, y), logits(found.x)

        found, x_adv, seen = run(jax.random.key(0))
        assert found.x.dtype == x_adv.dtype == dtype
        reached = np.isfinite(np.asarray(found.distance, np.float64))
        assert reached.mean() > 0.8
        assert (np.argmax(float64(seen), 1) != y)[reached].all() or dtype != jnp.float32
        assert (np.asarray(found.x) == np.asarray(x))[~reached].all()
        size = length(float64(found.x) - float64(x), norm)
        np.testing.assert_allclose(size[reached], np.asarray(found.distance)[reached], rtol=1e-5)
        # The ball's attack: each example has a radius of its own, and a point beyond it is left out.
        inside = reached & (np.asarray(found.distance) <= eps)
        np.testing.assert_array_equal(x_adv[inside], found.x[inside])
        np.testing.assert_array_equal(x_adv[~inside], x[~inside])
        assert 0 < inside.sum() < 12
        for z in (found.x, x_adv):
            assert 0 <= z.min() <= z.max() <= 1


@pytest.mark.parametrize("name", CASES)
def test_examples_out_of_range_are_nan_and_wrong_ones_stay(name):
    _, minimal, config, norm, settings = CASES[name]
    kind = {"norm": norm} if name != "carlini_wagner" else {}
    x, y = (np.array(a) for a in images(jnp.float32, 6))
    y[4] = (y[4] + 1) % 3
    run = jax.jit(lambda x, y: minimal(jax.random.key(0), logits, x, y, config(**settings, **kind)))
    whole = run(x, y)
    np.testing.assert_array_equal(whole.x[4], x[4])
    assert whole.distance[4] == 0
    bad, labels = x.copy(), y.copy()
    bad[1, 0, 0, 0], bad[2, 1, 1, 0], labels[3] = -0.1, np.nan, 3
    part = run(bad, labels)
    assert jnp.isnan(part.x[1:4]).all()
    assert jnp.isnan(part.distance[1:4]).all()
    for i in (0, 4, 5):
        np.testing.assert_allclose(part.x[i], whole.x[i], atol=1e-6)
    with pytest.raises(ValueError, match=r"x must lie in \[0, 1\]"):
        minimal(jax.random.key(0), logits, bad[:2], y[:2], config(**settings, **kind))


@pytest.mark.parametrize("name", CASES)
def test_networks_with_ties_have_distance_0_and_with_nan_valid_points(name):
    _, minimal, config, norm, settings = CASES[name]
    kind = {"norm": norm} if name != "carlini_wagner" else {}
    x, y = images(jnp.float32)

    def tied(z):  # ties count as wrong
        return 0 * logits(z)

    def sure(z):  # right on the clean input, and NaN elsewhere; NaN counts as wrong
        moved = jnp.abs(z - x).reshape(12, -1).max(1) > 0
        return jnp.where(moved[:, None], jnp.nan, jax.nn.one_hot(y, 3) + 0 * logits(z))

    @jax.jit
    def run(key):
        settled = config(**settings, **kind)
        return minimal(key, tied, x, y, settled), minimal(jax.random.clone(key), sure, x, y, settled)

    flat, broken = run(jax.random.key(0))
    np.testing.assert_array_equal(flat.distance, 0)
    np.testing.assert_array_equal(flat.x, x)
    assert ((broken.x >= 0) & (broken.x <= 1)).all()


def test_closer_takes_adversarial_and_nearer_points_only():
    x = jnp.full((4, 2), 0.5)
    best = closest.first(x, jnp.array([True, False, False, False]), "linf")
    np.testing.assert_array_equal(best.distance, [0, np.inf, np.inf, np.inf])
    far, near = x + 0.3, x - 0.1
    adversarial = jnp.array([True, True, False, True])
    best = closest.closer(best, far, adversarial, x, "linf")
    np.testing.assert_allclose(best.distance, [0, 0.3, np.inf, 0.3], rtol=1e-6)
    best = closest.closer(best, near, jnp.array([True, True, True, False]), x, "linf")
    best = closest.closer(best, far, jnp.ones(4, bool), x, "linf")
    np.testing.assert_allclose(best.distance, [0, 0.1, 0.1, 0.3], rtol=1e-6)
    np.testing.assert_allclose(best.x[:, 0], [0.5, 0.4, 0.4, 0.8], rtol=1e-6)
    np.testing.assert_allclose(closest.within(best, x, 0.2)[:, 0], [0.5, 0.4, 0.4, 0.5], rtol=1e-6)
    assert closest.within(best, x, None) is best.x
    with pytest.raises(check.InputError, match="one for each of 4 examples"):
        closest.within(best, x, jnp.ones(3))


def test_a_rounded_point_has_the_derivative_of_the_identity():
    x = jnp.asarray([[0.5, 0.75, 1.0]], jnp.bfloat16)
    value, pullback = jax.vjp(lambda z: closest.rounded(z, x), jnp.asarray([[0.503, 0.7481, 0.999]]))
    np.testing.assert_array_equal(float64(value), [[0.5, 0.75, 1.0]])
    np.testing.assert_array_equal(pullback(jnp.asarray([[1.0, 2.0, 3.0]], jnp.bfloat16))[0], [[1, 2, 3]])
