"""IBP and CROWN: plain NumPy, closed forms, samples and vertices of the ball, and planted errors."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets
from lrn.config import stack
from lrn.robust import crown as crown_module
from lrn.robust.crown import CROWNConfig, Lines, crown, hidden_bounds, linear_margins, make_ball
from lrn.robust.ibp import IBPConfig, ball_in_box, certified, ibp, interval_bounds, interval_margins
from lrn.robust.read_layers import read_layers

RNG = np.random.default_rng(4)
SIZES = (3, 5, 4, 3)
WEIGHTS = [(RNG.normal(size=(a, b)), 0.3 * RNG.normal(size=b)) for a, b in itertools.pairwise(SIZES)]
X: Any = RNG.uniform(size=(12, 3)).astype(np.float32)
X[0] = [0.02, 0.97, 0.5]  # near two faces of the box
Y: Any = RNG.integers(0, 3, 12)
EPS = 0.15


def logits_of(x, weights=None, xp=np):
    weights = WEIGHTS if weights is None else weights
    for i, (w, b) in enumerate(weights):
        x = x @ xp.asarray(w, x.dtype) + xp.asarray(b, x.dtype)[None]
        x = xp.maximum(x, 0) if i < len(weights) - 1 else x
    return x


def network(x):
    return logits_of(x, xp=jnp)


def margins_at(points, weights=None):
    """z_y - z_j for points [samples, batch, in]: [samples, batch, classes]."""
    z = logits_of(points.astype(np.float64).reshape(-1, 3), weights).reshape(*points.shape[:2], -1)
    return np.take_along_axis(z, np.broadcast_to(Y[None, :, None], (*z.shape[:2], 1)), 2) - z


def points_of(norm, eps=EPS, samples=4000):
    """Points of the ball in the box [samples, batch, 3], with all vertices of the box for linf."""
    rng = np.random.default_rng(0)
    if norm == "linf":
        corners = np.array(list(itertools.product((-1, 1), repeat=3)))[:, None]
        delta = np.concatenate([rng.uniform(-1, 1, (samples, 12, 3)), np.broadcast_to(corners, (8, 12, 3))])
    else:
        order = 2 if norm == "l2" else 1
        delta = rng.normal(size=(samples, 12, 3)) * rng.uniform(size=(samples, 12, 3)) ** 3
        delta /= np.linalg.norm(delta, ord=order, axis=2, keepdims=True)
    return np.clip(X + eps * delta, 0, 1)


def reference(low, high, order, radius, x, method, slope, label):
    """The bounds of one example, a neuron and a class at a time."""

    def minimum(w, constant):
        box = constant + sum(min(a * lo, a * hi) for a, lo, hi in zip(w, low, high))
        if order == np.inf:
            return box
        dual = np.abs(w).max() if order == 1 else np.sqrt((w**2).sum())
        return max(box, constant + w @ x - radius * dual)

    def interval(w, constant, box):
        return constant + sum(min(a * lo, a * hi) for a, (lo, hi) in zip(w, box))

    def back(w, constant, depth, bounds):
        for k in reversed(range(depth)):
            v = np.zeros(len(w))
            for j, (lo, hi) in enumerate(bounds[k]):
                if lo >= 0:
                    v[j] = w[j]
                elif hi > 0 and w[j] < 0:
                    v[j] = w[j] * hi / (hi - lo)
                    constant -= w[j] * hi / (hi - lo) * lo
                elif hi > 0 and slope == "adaptive" and hi > -lo:
                    v[j] = w[j]
            constant += v @ WEIGHTS[k][1]
            w = WEIGHTS[k][0] @ v
        return minimum(w, constant)

    bounds, box = [], list(zip(low, high))
    for k, (w, b) in enumerate(WEIGHTS[:-1]):
        here = []
        for column, offset in zip(w.T, b):
            lo, hi = interval(column, offset, box), -interval(-column, -offset, box)
            if method == "crown" or (k == 0 and order != np.inf):
                lo, hi = max(lo, back(column, offset, k, bounds)), min(hi, -back(-column, -offset, k, bounds))
            here.append((lo, hi))
        bounds.append(here)
        box = [(max(lo, 0), max(hi, 0)) for lo, hi in here]
    w, b = WEIGHTS[-1]
    out = []
    for j in range(3):
        row, constant = w[:, label] - w[:, j], b[label] - b[j]
        out.append(max(back(row, constant, len(bounds), bounds), interval(row, constant, box)))
    return out


CASES = list(itertools.product(("linf", "l2", "l1"), ("crown", "ibp"), ("adaptive", "zero")))


@pytest.fixture(scope="module")
def margins():
    """The bounds of every config, in one program."""

    @jax.jit
    def run(x, y):
        return [crown(CROWNConfig(EPS, *case))(network, x, y) for case in CASES] + [
            ibp(IBPConfig(EPS))(network, x, y)
        ]

    return dict(zip([*CASES, "ibp"], map(np.asarray, run(X, Y))))


@pytest.mark.parametrize("case", CASES)
def test_crown_is_its_reference(margins, case):
    norm, method, slope = case
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    x = X.astype(np.float64)
    low, high = np.maximum(x - EPS, 0), np.minimum(x + EPS, 1)
    wanted = [reference(low[i], high[i], order, EPS, x[i], method, slope, int(Y[i])) for i in range(len(X))]
    np.testing.assert_allclose(margins[case], wanted, atol=2e-5)


@pytest.mark.parametrize("case", [*CASES, "ibp"])
def test_no_point_of_the_ball_is_below_the_bounds(margins, case):
    worst = margins_at(points_of("linf" if case == "ibp" else case[0])).min(axis=0)
    assert (margins[case] <= worst + 1e-5).all()
    assert (worst - margins[case]).min(axis=1, where=np.arange(3) != Y[:, None], initial=9).min() < 0.05


def test_the_order_of_the_bounds(margins):
    """Intermediate bounds by CROWN are tighter than by IBP, and a smaller ball has better bounds."""
    assert (margins["linf", "crown", "zero"] >= margins["linf", "ibp", "zero"] - 1e-6).all()
    assert (margins["linf", "ibp", "adaptive"] >= margins["ibp"] - 1e-6).all()
    for method in ("crown", "ibp"):
        bounds = [margins[norm, method, "adaptive"] for norm in ("linf", "l2", "l1")]
        assert np.mean(bounds[1] - bounds[0]) > 0.01
        assert np.mean(bounds[2] - bounds[1]) > 0.003
    assert np.mean(margins["linf", "crown", "adaptive"] - margins["ibp"]) > 0.05


def test_interval_bounds_are_exact_for_one_neuron_and_sound_for_all():
    @jax.jit
    def run(x):
        low, high = ball_in_box(x, EPS)
        layers = read_layers(network, x)
        return interval_bounds(layers, low, high), interval_margins(layers, low, high, jnp.asarray(Y))

    bounds, elided = run(X)
    h = points_of("linf").astype(np.float64)
    for i, (w, b) in enumerate(WEIGHTS):
        v = h @ w + b
        low, high = (np.asarray(side) for side in bounds[i])
        assert (v.min(0) >= low - 1e-5).all()
        assert (v.max(0) <= high + 1e-5).all()
        if i == 0:  # a vertex of the box attains each bound of the first layer
            np.testing.assert_allclose(v.min(0), low, atol=1e-5)
            np.testing.assert_allclose(v.max(0), high, atol=1e-5)
        h = np.maximum(v, 0)
    low, high = (np.asarray(side) for side in bounds[-1])
    loose = low[np.arange(12), Y][:, None] - high  # without elision
    others = np.arange(3) != Y[:, None]
    assert (elided >= loose - 1e-6)[others].all()
    assert np.mean((elided - loose)[others]) > 0.1


def test_one_hidden_layer_with_slope_zero_is_never_worse_than_ibp():
    rng = np.random.default_rng(1)
    weights = [(rng.normal(size=(3, 30)), rng.normal(size=30)), (rng.normal(size=(30, 3)), np.zeros(3))]

    @jax.jit
    def run(x, y):
        config = CROWNConfig(EPS, slope="zero")
        layers, ball = read_layers(lambda z: logits_of(z, weights, jnp), x), make_ball(x, EPS)
        bounds = hidden_bounds(layers, ball, config)
        linear = linear_margins(layers, bounds, ball, y, "linf", "zero")
        return linear, interval_margins(layers, ball.low, ball.high, y)

    linear, intervals = run(X, Y)
    assert (linear >= intervals - 1e-4).all()
    assert np.mean(linear - intervals) > 1


def test_a_linear_network_is_exact():
    w, b = WEIGHTS[0][0][:, :3], WEIGHTS[0][1][:3]
    x = X.astype(np.float64)
    rows = w.T[Y][:, None] - w.T[None]
    clean = b[Y][:, None] - b[None] + np.einsum("bjd,bd->bj", rows, x)
    inside = 0.02  # all balls of this radius but the first lie in the box
    wanted = {
        "linf": clean - inside * np.abs(rows).sum(2),
        "l2": clean - inside * np.sqrt((rows**2).sum(2)),
        "l1": clean - inside * np.abs(rows).max(2),
    }

    @jax.jit
    def run(x, y):
        def logits(z):
            return z @ jnp.asarray(w, jnp.float32) + jnp.asarray(b, jnp.float32)[None]

        found = {norm: crown(CROWNConfig(inside, norm))(logits, x, y) for norm in wanted}
        return found, ibp(IBPConfig(inside))(logits, x, y)

    found, intervals = run(X, Y)
    free = (np.abs(X - 0.5) < 0.5 - inside).all(axis=1)
    assert free.sum() > 5
    for norm in wanted:
        np.testing.assert_allclose(found[norm][free], wanted[norm][free], atol=1e-5)
    np.testing.assert_allclose(intervals, found["linf"], atol=1e-5)


def flipped(activation, low, high, slope):
    """A planted error: the wrong sign of the intercept."""
    lines = TRUE_RELAX(activation, low, high, slope)
    return lines._replace(intercept=-lines.intercept)


def swapped(activation, low, high, slope):
    """A planted error: the slopes of the two lines are exchanged."""
    lines = TRUE_RELAX(activation, low, high, slope)
    return Lines(lines.upper, lines.lower, lines.intercept)


TRUE_RELAX = crown_module.relax


@pytest.mark.parametrize("planted", [flipped, swapped])
def test_a_planted_error_shows_on_samples(monkeypatch, planted):
    monkeypatch.setattr(crown_module, "relax", planted)
    found = jax.jit(lambda x, y: crown(CROWNConfig(EPS))(network, x, y))(X, Y)
    assert (found > margins_at(points_of("linf")).min(axis=0) + 0.01).any()


@pytest.mark.parametrize("intermediate", ["crown", "ibp"])
def test_convolution_and_max_pooling_are_sound(intermediate):
    net = nets.cnn(3, (2, 2), (3,), conv="lax")
    x: Any = np.random.default_rng(2).uniform(size=(2, 6, 6, 1)).astype(np.float32)
    y: Any = np.array([0, 2])

    @jax.jit
    def run(key):
        params, state = net.init(key, x)
        params = jax.tree.map(lambda p: p + 0.1, params)  # biases are 0 at first

        def logits(z):
            return net.apply(params, state, z)[0]

        signs = jnp.sign(jax.random.normal(jax.random.fold_in(key, 1), (300, *x.shape)))
        lengths = jax.random.bernoulli(jax.random.fold_in(key, 2), 0.8, (300, *x.shape))
        points = jnp.clip(x[None] + 0.05 * signs * lengths, 0, 1)
        z = logits(points.reshape(-1, *x.shape[1:])).reshape(300, 2, 3)
        sampled = (z[:, jnp.arange(2), y][..., None] - z).min(axis=0)
        return crown(CROWNConfig(0.05, intermediate=intermediate))(logits, x, y), sampled

    found, sampled = run(jax.random.key(0))
    others = np.arange(3) != y[:, None]
    assert (found <= sampled + 1e-5).all()
    assert (sampled - found)[others].min() < 0.3
    assert np.abs(np.asarray(found)[others]).min() > 0


def test_eps_by_example_and_swept():
    radii = np.linspace(0, 0.2, 12).astype(np.float32)
    run = jax.jit(lambda config, x, y: crown(config)(network, x, y))
    together = np.asarray(run(CROWNConfig(radii), X, Y))  # pyright: ignore[reportArgumentType]
    swept = jax.jit(jax.vmap(lambda config: crown(config)(network, X, Y)))(
        stack([CROWNConfig(float(radii[i])) for i in (3, 7)])
    )
    np.testing.assert_allclose(together[[3, 7]], np.asarray(swept)[[0, 1], [3, 7]], atol=1e-5)
    np.testing.assert_allclose(together[0], margins_at(X[None])[0, 0], atol=1e-5)  # eps 0


def test_certified_refuses_ties_nan_and_labels_out_of_range():
    margins = np.array(
        [[0, 1, 2], [0, 0, 2], [0, np.nan, 2], [np.nan] * 3, [1, 2, 3], [5, -1, 3]], np.float32
    )
    found = certified(jnp.asarray(margins), jnp.array([0, 0, 0, 0, 7, 1]))
    np.testing.assert_array_equal(found, [True, False, False, False, False, True])


def test_bad_pixels_are_nan_under_jit_and_refused_outside():
    bad = X.copy()
    bad[1, 0] = 1.5
    run = jax.jit(lambda x, y: crown(CROWNConfig(EPS, intermediate="ibp"))(network, x, y))
    found = np.asarray(run(bad, Y))
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()
    with pytest.raises(ValueError, match=r"x must lie in \[0, 1\]"):
        ibp(IBPConfig(EPS))(network, bad, Y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "linfty"}, "norm 'linfty' is not known"),
        ({"eps": -0.1}, "eps must be"),
        ({"eps": 8.0}, "between 0 and 1 for the Linf norm"),
        ({"intermediate": "crwn"}, "did you mean crown"),
        ({"slope": "one"}, "slope 'one' is not known"),
    ],
)
def test_bad_configs(settings, message):
    with pytest.raises(ValueError, match=message):
        CROWNConfig(**settings)
