"""FAB against NumPy in float64, step by step, and against the distances that pyautoattack finds."""

# pyright: reportArgumentType=false, reportCallIssue=false
# NumPy arrays stand in for jax arrays.

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from lrn.config import stack
from lrn.robust.fab import FABConfig, advance, fab, minimal
from lrn.robust.losses import is_correct
from lrn.robust.norms import NORMS
from tests import plain

RNG = np.random.default_rng(4)
LINEAR, SQUARED = RNG.normal(size=(6, 4)), RNG.normal(size=(6, 4))
X = RNG.uniform(size=(7, 3, 2)).astype(np.float32).astype(float)
X[0, 0] = [0, 1]  # a point on two faces of the box


def logits_of(x, xp=np):
    """A nonlinear network from six pixels to four classes: its gradient depends on the point."""
    flat = x.reshape(len(x), 6)
    return flat @ xp.asarray(LINEAR) + 2 * (flat - 0.5) ** 2 @ xp.asarray(SQUARED)


def network(x):
    return logits_of(x, jnp)


Y = np.argsort(logits_of(X), axis=1)[:, -1]
Y[1] = np.argsort(logits_of(X[1:2]))[0, -2]  # the network misclassifies this one from the start
IMAGES, LABELS = jnp.asarray(X, jnp.float32), jnp.asarray(Y)


def norm_of(d, norm):
    return np.linalg.norm(d.ravel(), {"linf": np.inf, "l2": 2, "l1": 1}[norm])


def move_of(x, g, v, norm):
    """The shortest move within the box to where v + g . d = 0, by bisection or in the order of slopes."""
    down = -np.sign(v) * np.sign(g)
    room = np.where(down > 0, 1 - x, x) * (g != 0)
    if abs(v) >= abs(g) @ room:
        return down * room
    if norm == "l1":
        d, left = np.zeros_like(x), abs(v)
        for i in np.argsort(-abs(g)):
            d[i] = min(room[i], left / abs(g[i])) if g[i] else 0
            left -= d[i] * abs(g[i])
        return down * d
    speed = abs(g) if norm == "l2" else np.ones_like(g)
    level = brentq(lambda t: abs(g) @ np.minimum(t * speed, room) - abs(v), 0, 1e6, xtol=1e-15)
    return down * np.minimum(level * speed, room)


def step_of(z, x, v, g, c):
    """One step of FAB for one example, all flat."""
    d, d_clean = move_of(z, g, v, c.norm), move_of(x, g, v + g @ (x - z), c.norm)
    a, b = (max(norm_of(m, c.norm), 1e-8) for m in (d, d_clean))
    alpha = min(a / (a + b), c.alpha_max)
    return np.clip((1 - alpha) * (z + c.eta * d) + alpha * (x + c.eta * d_clean), 0, 1)


def boundary_of(z, y, target, norm):
    """A wrong logit minus the true one, and its gradient; without a target, of the nearest boundary."""
    dual = {"linf": "l1", "l2": "l2", "l1": "linf"}[norm]

    def gap(k):
        return lambda z: float(logits_of(z[None])[0, k] - logits_of(z[None])[0, y])

    wrong = [k for k in range(4) if k != y] if target is None else [target]
    both = [(gap(k)(z), plain.gradient(gap(k), z)) for k in wrong]
    return min(both, key=lambda b: abs(b[0]) / norm_of(b[1], dual))


def start_of(key, i, n, radius, norm):
    draw = jax.random.uniform if norm == "linf" else jax.random.normal
    keywords = {"minval": -1, "maxval": 1} if norm == "linf" else {}
    direction = np.asarray(draw(jax.random.fold_in(key, i), (len(X), 6), **keywords), float)[n]
    return np.clip(X[n].ravel() + radius / 2 * direction / norm_of(direction, norm), 0, 1)


def fab_reference(key, c, enough, eps):
    """The nearest misclassified points and their distances."""
    points, distances = X.copy(), np.full(len(X), np.inf)
    for n, (x, y) in enumerate(zip(X.reshape(7, 6), Y)):
        logits = logits_of(x[None])[0]
        if logits.argmax() != y:
            distances[n] = 0
            continue
        targets = [k for k in np.argsort(-logits) if k != y][: c.targets] if c.targets else [None]
        for i in range(len(targets) * c.restarts):
            if distances[n] <= enough[n]:
                break
            z = start_of(key, i, n, min(eps[n], distances[n]), c.norm) if i % c.restarts else x
            for _ in range(c.steps):
                z = step_of(z, x, *boundary_of(z, y, targets[i // c.restarts], c.norm), c)
                if logits_of(z[None])[0].argmax() != y:
                    if norm_of(z - x, c.norm) < distances[n]:
                        points[n], distances[n] = z.reshape(3, 2), norm_of(z - x, c.norm)
                    z = x + c.backward * (z - x)
    return points, distances


RADII = {"linf": 0.12, "l2": 0.2, "l1": 0.35}
EPS = {norm: np.float32(r) * np.linspace(0.4, 1.6, 7, dtype=np.float32) for norm, r in RADII.items()}
CASES = {
    (norm, targets): FABConfig(EPS[norm], 5, 2, norm, targets, 0.07, 1.1, 0.8)  # pyright: ignore
    for norm in NORMS
    for targets in (0, 2)
}


@pytest.mark.parametrize(("norm", "targets"), CASES)
def test_is_its_reference(norm, targets):
    c = CASES[norm, targets]
    with jax.debug_key_reuse(False):
        key = jax.random.key(3)
        run = plain.compiled(
            lambda k: (minimal(k, network, IMAGES, LABELS, c), fab(c)(k, network, IMAGES, LABELS)), key
        )
        (points, distances), attacked = run(key)
        wanted, least = fab_reference(key, c, 0 * EPS[norm], EPS[norm])
        np.testing.assert_allclose(distances, least, rtol=2e-4, atol=1e-6)
        np.testing.assert_allclose(points, wanted, atol=2e-4)
        wanted, least = fab_reference(key, c, EPS[norm], EPS[norm])
        inside = (least <= EPS[norm])[:, None, None]
        np.testing.assert_allclose(attacked, np.where(inside, wanted, X), atol=2e-4)
    assert distances[1] == 0
    np.testing.assert_array_equal(points[1], IMAGES[1])
    assert 1 < inside.sum() < 7
    assert np.isfinite(least).sum() > 4


@pytest.mark.parametrize("norm", NORMS)
def test_each_step_is_its_reference(norm):
    rng = np.random.default_rng(5)
    z, x = rng.uniform(size=(2, 40, 6))
    v, g = rng.normal(size=40) * rng.choice([0.1, 1, 9], 40), rng.normal(size=(40, 6))
    z[::4] = x[::4]
    g[::5, :3], v[7] = 0, 0
    c = FABConfig(norm=norm, alpha_max=0.3)
    narrow = [a.astype(np.float32) for a in (z, x, v, g)]
    ours = jax.jit(lambda *a: advance(*a, c))(*narrow)
    exact = [step_of(*row, c) for row in zip(*(a.astype(float) for a in narrow))]
    np.testing.assert_allclose(ours, exact, atol=2e-5)


# Against pyautoattack

SAVED = np.load(Path(__file__).parent / "references" / "fab_square_digits.npz")
DIGITS, NUMERALS = (SAVED["x"] / np.float32(16)).reshape(-1, 8, 8, 1), SAVED["y"].astype(np.int32)


def digits_network(x):
    hidden = jax.nn.relu(x.reshape(x.shape[0], 64) @ SAVED["w0"] + SAVED["b0"][None])
    return hidden @ SAVED["w1"] + SAVED["b1"][None]


@pytest.mark.parametrize("targets", [0, pytest.param(9, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.5), ("l1", 1.75)])
def test_finds_the_distances_of_pyautoattack(norm, eps, targets):
    c = FABConfig(eps, norm=norm, targets=targets)

    points, distances = jax.jit(lambda key: minimal(key, digits_network, DIGITS, NUMERALS, c))(
        jax.random.key(0)
    )
    theirs = SAVED[f"fab_{norm}" + ("_t" if targets else "")]
    np.testing.assert_allclose(distances, theirs, rtol=1e-3)
    assert np.mean(distances) == pytest.approx(np.mean(theirs), rel=1e-5)
    np.testing.assert_array_equal(distances <= eps, theirs <= eps)
    moved = (np.asarray(points, float) - DIGITS).reshape(200, 64)
    np.testing.assert_allclose([norm_of(d, norm) for d in moved], distances, rtol=1e-5, atol=1e-6)
    logits = np.asarray(digits_network(points), float)
    true = logits[np.arange(200), NUMERALS]
    assert (logits.max(1) >= true - 1e-6).all()
    assert (np.delete(logits.max(1) - true, distances.argmin()) > 0).mean() > 0.98


# Properties


def test_more_targets_and_restarts_find_nearer_points_and_a_curve():
    key = jax.random.key(0)
    with jax.debug_key_reuse(False):
        distances = [
            np.asarray(jax.jit(lambda k, c=c: minimal(k, network, IMAGES, LABELS, c).distance)(key))
            for c in (
                FABConfig(0.2, 20, 1, "l2", 1),
                FABConfig(0.2, 20, 1, "l2", 9),
                FABConfig(0.2, 20, 4, "l2", 9),
            )
        ]
    few, all_, many = distances
    assert (all_ <= few).all()
    assert (all_ < few).any()
    assert (many <= all_).all()
    assert (many < all_).any()


@pytest.fixture(scope="module")
def lanes(mlp):
    """Three lanes that differ in eps, key and parameters, of each norm, alone and together."""
    net = mlp(8, 4)
    x = jax.random.uniform(jax.random.key(9), (6, 3, 3, 1))
    params = jax.vmap(lambda seed: net.init(jax.random.key(seed), x)[0])(jnp.arange(3))
    y = jnp.argmax(net.apply(jax.tree.map(lambda p: p[2], params), (), x)[0], axis=1)

    def run(c, key, p, x=x):
        return fab(c)(key, lambda z: net.apply(p, (), z)[0], x, y)

    return run, params, x, y


@pytest.mark.parametrize("norm", NORMS)
def test_lanes_are_loops_in_ball_and_box_and_eps_zero_is_identity(lanes, norm):
    run, params, x, _ = lanes
    configs = [FABConfig(e * {"linf": 1, "l2": 3, "l1": 9}[norm], 8, 2, norm, 2) for e in (0, 0.05, 0.5)]
    together = jax.jit(jax.vmap(run))(stack(configs), jax.vmap(jax.random.key)(jnp.arange(3)), params)
    alone = jax.jit(run)
    np.testing.assert_array_equal(together[0], x)
    assert (together >= 0).all()
    assert (together <= 1).all()
    for i, c in enumerate(configs):
        one = alone(c, jax.random.key(i), jax.tree.map(lambda p, i=i: p[i], params))
        np.testing.assert_allclose(together[i], one, atol=1e-4)
        assert max(norm_of(d, norm) for d in np.asarray(together[i] - x)) <= c.eps + 1e-6
    assert (together[2] != x).any(axis=(1, 2, 3)).mean() > 0.5


def test_eager_dtypes_broken_networks_and_gradients(lanes):
    run, params, x, _ = lanes
    c, p = FABConfig(0.4, 1, targets=1), jax.tree.map(lambda p: p[2], params)
    jitted = jax.jit(run)
    with jax.debug_key_reuse(False):
        key = jax.random.key(0)
        np.testing.assert_allclose(run(c, key, p), jitted(c, key, p), atol=1e-5)
        for value in (0.0, np.nan):
            broken = jax.tree.map(lambda a, v=value: jnp.full_like(a, v), p)
            np.testing.assert_array_equal(jitted(c, key, broken), x)  # wrong from the start
        small = jitted(c, key, jax.tree.map(lambda a: a.astype(jnp.bfloat16), p), x.astype(jnp.bfloat16))
        assert small.dtype == jnp.bfloat16
        assert np.abs(np.asarray(small, float) - np.asarray(x.astype(jnp.bfloat16), float)).max() <= 0.4
        slope = jax.jit(jax.grad(lambda p, x: run(c, key, p, x).sum(), argnums=(0, 1)))(p, x)
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(slope[0]))


def test_an_example_is_attacked_as_if_it_were_alone():
    c = dataclasses.replace(CASES["l2", 2], eps=0.2, restarts=1)
    run = jax.jit(lambda x, y: fab(c)(jax.random.key(0), network, x, y))
    whole = run(IMAGES, LABELS)
    for n in range(3, 5):
        np.testing.assert_allclose(run(IMAGES[n : n + 1], LABELS[n : n + 1])[0], whole[n], atol=1e-5)


def test_values_out_of_range_give_nan_under_jit_for_that_example_alone():
    run = jax.jit(lambda x, y: fab(FABConfig(0.3, 3))(jax.random.key(0), network, x, y))
    whole = run(IMAGES, LABELS)
    part = run(IMAGES.at[2, 0, 0].set(1.5), LABELS.at[4].set(9))
    assert np.isnan(part[np.array([2, 4])]).all()
    rest = np.array([0, 1, 3, 5, 6])
    np.testing.assert_array_equal(part[rest], whole[rest])
    assert not is_correct(network(whole), LABELS).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "l0"}, "norm 'l0' is not known"),
        ({"eps": 8.0}, "eps must lie between 0 and 1 for the Linf norm"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"targets": -1}, "targets must be at least 0"),
        ({"alpha_max": 1.5}, "alpha_max must lie between 0 and 1"),
        ({"eta": 0.0}, "eta must be a finite number above 0"),
        ({"backward": -0.1}, "backward must lie between 0 and 1"),
    ],
)
def test_bad_configs(change, message):
    with pytest.raises(ValueError, match=message):
        FABConfig(**change)
