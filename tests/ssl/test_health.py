"""Measures of health against NumPy in float64, a peer's values, planted collapses, and bad input."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn import nets, train
from lrn.check import InputError
from lrn.data.sampler import minibatch
from lrn.ssl.health.instances import alignment
from lrn.ssl.health.monitor import NAMES, measures, monitor
from lrn.ssl.health.rank import lidar, rank_me
from lrn.ssl.health.spread import scaled_std, std, uniformity
from lrn.ssl.simclr import SimCLRConfig, simclr
from lrn.ssl.views import draw
from lrn.stats.cka import cka

N, VIEWS, DIM = 20, 5, 6


def embeddings() -> np.ndarray:
    """Embeddings of views, float64 [20, 5, 6]: examples and views of different scales in each dimension."""
    rng = np.random.default_rng(0)
    within = rng.normal(size=(N, VIEWS, DIM)) * np.array([0.5, 0.3, 0.5, 0.2, 0.1, 0.1])
    return within + rng.normal(size=(N, 1, DIM)) * np.array([1, 1, 1, 0.5, 0.2, 0.1])


Z = embeddings()
MEASURES = jax.jit(measures)
GRADIENTS = jax.jit(jax.jacrev(measures))
CKA = jax.jit(cka)


def measured(z) -> dict[str, float]:
    return {name: float(value) for name, value in MEASURES(jnp.asarray(z, jnp.float32)).items()}


def unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def rank(spectrum: np.ndarray, eps: float) -> float:
    share = spectrum / spectrum.sum() + eps
    return float(np.exp(-(share * np.log(share)).sum()))


def reference(z: np.ndarray) -> dict[str, float]:
    """The measures by their definitions in float64, with loops over pairs."""
    first, n = z[:, 0], len(z)
    apart = [np.exp(-2 * np.sum((a - b) ** 2)) for a, b in itertools.combinations(unit(first), 2)]
    near = [np.sum((a - b) ** 2) for row in unit(z) for a, b in itertools.combinations(row, 2)]
    means = z.mean(1)
    within = sum(np.cov(row.T) for row in z) / n
    between = np.cov(means.T)
    eigenvalues = np.linalg.eigvals(np.linalg.solve(within + 1e-4 * np.eye(z.shape[2]), between))
    return {
        "std": first.std(0, ddof=1).mean(),
        "scaled_std": unit(first).std(0, ddof=1).mean() * np.sqrt(z.shape[2]),
        "rank_me": rank(np.sqrt(np.linalg.eigvalsh(first.T @ first)), 1e-7),
        "uniformity": float(np.log(np.mean(apart))),
        "lidar": rank(eigenvalues.real, 1e-8),
        "alignment": float(np.mean(near)),
        "variance_ratio": z.shape[1] * np.trace(between) / np.trace(within),
    }


def test_measures_equal_float64():
    for scale in (1, 300, 0.01):
        ours, theirs = measured(scale * Z), reference(scale * Z)
        assert set(ours) == set(NAMES) == set(theirs)
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=5e-5), (scale, name)
    half = MEASURES(jnp.asarray(Z, jnp.bfloat16))
    assert all(value.dtype == jnp.float32 for value in half.values())


def test_ranks_equal_those_of_stable_pretraining():
    # stable-pretraining at commit 9aa93f8b: the torch callbacks LiDAR and RankMe (eps 1e-5) in float64, torch
    # 2.13.0, on embeddings() with the views of each example side by side.
    ranks = jax.jit(lambda z: (lidar(z), rank_me(z.reshape(-1, DIM), eps=1e-5)))(Z.astype(np.float32))
    np.testing.assert_allclose(ranks, [3.9879091387, 4.7492716599], rtol=1e-5)


def test_cka_equals_the_kernel_form_and_knows_rotations():
    a, b = Z[:, 0], np.concatenate([np.tanh(Z[:, 0]), Z[:, 1]], axis=1)
    middle = np.eye(N) - 1 / N
    gram = [middle @ x @ x.T @ middle for x in (a, b)]
    expected = (gram[0] * gram[1]).sum() / np.sqrt((gram[0] ** 2).sum() * (gram[1] ** 2).sum())
    of = [jnp.asarray(x, jnp.float32) for x in (a, b)]
    assert float(CKA(*of)) == pytest.approx(expected, rel=1e-5)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(DIM, DIM)))[0]
    assert float(CKA(of[0], jnp.asarray(1e6 * a @ turn + 1e5, jnp.float32))) == pytest.approx(1, abs=1e-3)
    assert float(CKA(of[0], jnp.full((N, DIM), 0.1))) == 0
    for scale in (1e25, 1e-25):  # whose squares leave the floats
        assert float(CKA(of[0], scale * of[0])) == pytest.approx(1, abs=1e-5)


def test_which_detector_sees_which_collapse():
    rng = np.random.default_rng(2)
    healthy = rng.normal(size=(64, 1, 16)) + 0.3 * rng.normal(size=(64, 4, 16))
    noise = rng.normal(size=(64, 4, 16))
    line = rng.normal(size=(64, 1, 1)) * np.ones(16) + 1e-3 * noise
    base, shrunk, constant, flat, blind = map(
        measured, (healthy, 1e-3 * healthy, np.full((64, 4, 16), 0.3), line, noise)
    )
    for name in ("scaled_std", "rank_me", "uniformity", "alignment", "variance_ratio"):
        assert shrunk[name] == pytest.approx(base[name], rel=2e-3), name  # blind to a collapse of the norm
    assert shrunk["std"] == pytest.approx(1e-3 * base["std"], rel=1e-3)
    assert base["scaled_std"] == pytest.approx(1, abs=0.05)
    for name in ("std", "scaled_std", "uniformity", "alignment"):
        assert constant[name] == pytest.approx(0, abs=1e-5), name
    assert constant["variance_ratio"] < 1
    assert constant["rank_me"] == pytest.approx(1, abs=1e-3)
    assert constant["lidar"] == pytest.approx(1, abs=1e-3)
    assert base["rank_me"] > 14
    assert flat["rank_me"] < 1.1
    assert flat["std"] > 0.5  # blind to a collapse to one dimension
    assert blind["variance_ratio"] == pytest.approx(1, abs=0.25)  # views that share nothing
    assert blind["alignment"] == pytest.approx(2, abs=0.1)
    assert blind["std"] == pytest.approx(base["std"], abs=0.15)
    assert base["variance_ratio"] > 20


def test_non_finite_embeddings_give_nan_in_value_and_gradient():
    of_cka = jax.jit(jax.value_and_grad(cka))
    good = jnp.asarray(Z, jnp.float32)
    assert all(np.isfinite(g).all() for g in GRADIENTS(good).values())
    for wrong in (np.nan, np.inf):
        z = good.at[3, 0, 2].set(wrong)
        assert np.isnan(list(MEASURES(z).values())).all()
        for name, gradient in GRADIENTS(z).items():
            assert np.isnan(gradient).any(), name
        value, gradient = of_cka(z[:, 0], good[:, 0])
        assert np.isnan(value)
        assert np.isnan(gradient).all()


def test_gradients_are_finite_for_zero_embeddings():
    values, gradients = MEASURES(jnp.zeros(Z.shape)), GRADIENTS(jnp.zeros(Z.shape))
    for name in NAMES:
        assert np.isfinite(values[name]), name
        assert np.isfinite(gradients[name]).all(), name


def test_fit_watches_health_at_features_and_embeddings():
    encoder, head = nets.mlp(12, (16,)), nets.mlp(6, ())
    x = np.random.default_rng(3).normal(size=(64, 5)).astype(np.float32)

    def noisy(key, x):
        return x + 0.1 * jax.random.normal(key, x.shape)

    result = train.fit(
        lambda config: simclr(encoder, head, noisy, config),
        SimCLRConfig(),
        [0, 1],
        steps=4,
        data={"x": x},
        sampler=minibatch(16, columns=("x",)),
        evaluate=monitor(encoder, head, noisy, column="x", rows=32, views=3),
        eval_every=2,
        progress=False,
    )
    names = {f"{at}_{name}" for at in "hz" for name in NAMES} | {"cka_h_z", "cka_h_x"}
    assert names <= set(result.table.metrics)
    assert all(np.isfinite(result.table.final("default", name)).all() for name in names)

    # The same evaluation by hand: networks of the state, on the same views of the first rows.
    state, key = jax.tree.map(lambda leaf: leaf[0, 1], result.state), jax.random.key(5)
    watch = monitor(encoder, head, noisy, column="x", rows=32, views=3)

    @jax.jit
    def both(state, key):
        found = watch(None, None, key, state, {"x": x})
        drawn = draw(noisy, key, jnp.asarray(x[:32]), 3)
        h = jnp.stack([encoder.apply(state.training.params["encoder"], (), one)[0] for one in drawn], axis=1)
        z = head.apply(state.training.params["head"], (), h[:, 0])[0]
        by_hand = {"h_lidar": lidar(h), "z_std": std(z), "cka_h_z": cka(h[:, 0], z)}
        return found, {**by_hand, "cka_h_x": cka(h[:, 0], drawn[0])}

    found, by_hand = both(state, key)
    for name, value in by_hand.items():
        assert float(found[name]) == pytest.approx(float(value), rel=1e-3), name
    with pytest.raises(InputError, match="the data has no 'x'"):
        watch(None, None, key, state, {"y": x})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda z: rank_me(z[:1, 0]), "one example has no spread"),
        (std, "n of 2 or more"),
        (lambda z: lidar(z[:, :1]), "2 or more of both"),
        (lambda z: alignment(z[:1]), "2 or more of both"),
        (lambda z: measures(z[:, 0]), "stack the views"),
        (lambda z: uniformity(z[:, 0], t=0.0), "t must be"),
        (lambda z: lidar(z, delta=0.0), "delta"),
        (lambda z: cka(z[:, 0], z[:5, 0]), "the same examples"),
        (lambda z: scaled_std(z[:, 0].astype(int)), "must be floats"),
        (lambda z: monitor(nets.mlp(2), nets.mlp(2), lambda k, x: x, views=1), "views must be at least 2"),
    ],
)
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call(jnp.asarray(Z, jnp.float32))
