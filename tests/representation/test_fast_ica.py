"""FastICA and canonical correlations against scikit-learn, scipy and known sources."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import eigh
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import FastICA as Peer

from lrn.check import InputError
from lrn.data import mixing, sources
from lrn.representation.canonical import canonical_correlations
from lrn.representation.fast_ica import CONTRASTS, NORMAL, best_start, fast_ica, negentropy

DIM = 3
ica = jax.jit(fast_ica, static_argnames=("components", "contrast", "tolerance", "most"))


components = jax.jit(lambda found, x: found.sources(x))


def matched(a, b):
    """The mean absolute correlation of the best matching of columns."""
    table = np.abs(np.corrcoef(np.asarray(a).T, np.asarray(b).T)[: a.shape[1], a.shape[1] :])
    rows, columns = linear_sum_assignment(-table)
    return table[rows, columns].mean()


@jax.jit
def mixtures(key):
    s_key, mix_key = jax.random.split(key)
    s = sources.independent(s_key, 2000, DIM)
    return s, mixing.linear(mix_key, DIM).forward(s)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_the_unmixing_is_that_of_scikit_learn(contrast):
    s, x = mixtures(jax.random.key(0))
    start = np.random.default_rng(0).normal(size=(DIM, DIM))
    peer = Peer(fun=contrast, w_init=start, whiten="unit-variance", tol=1e-8, max_iter=500)
    with jax.enable_x64(True):
        # Scikit-learn's whitening differs by signs and order, hence the start of a rotation does too; the
        # fixed points are equal.
        found = ica(None, jnp.asarray(x, float), start=start, contrast=contrast, tolerance=1e-10, most=500)
        mine = np.asarray(found.sources(jnp.asarray(x, float)))
    theirs: Any = peer.fit_transform(np.asarray(x, float))
    table = np.abs(np.corrcoef(mine.T, theirs.T)[:DIM, DIM:])
    order = table.argmax(1)
    assert sorted(order) == list(range(DIM))
    np.testing.assert_allclose(table[np.arange(DIM), order], 1, atol=1e-7)
    np.testing.assert_allclose(mine.std(0), 1, rtol=1e-6)
    signs = np.sign((np.asarray(found.unmixing) * peer.components_[order]).sum(1))
    np.testing.assert_allclose(found.unmixing, signs[:, None] * peer.components_[order], atol=1e-4)
    assert matched(mine, s) > 0.99


def test_gaussian_sources_are_the_negative_control():
    """The components differ with the start, and match the sources no better than a random rotation does."""
    laplace, mixed = mixtures(jax.random.key(0))
    s = np.random.default_rng(1).normal(size=(2000, DIM)).astype(np.float32)
    x = s @ np.linalg.lstsq(laplace, mixed)[0]  # by the same mixture
    one, other = (components(ica(jax.random.key(seed), x), x) for seed in (3, 4))
    assert matched(components(ica(jax.random.key(3), mixed), mixed), laplace) > 0.99
    assert matched(one, s) < 0.97
    assert matched(one, other) < 0.99


def test_fewer_components_lanes_and_the_way_back():
    x = np.asarray(mixtures(jax.random.key(5))[1])
    keys = jax.random.split(jax.random.key(6))
    many = jax.jit(jax.vmap(lambda key, x: fast_ica(key, x)))(keys, np.stack([x, 2 * x]))
    alone = ica(keys[1], 2 * x)
    np.testing.assert_allclose(many.unmixing[1], alone.unmixing, atol=1e-3)
    back = jax.jit(lambda found, x: found.observations(found.sources(x)))(alone, 2 * x)
    np.testing.assert_allclose(back, 2 * x, atol=1e-3)
    two = ica(keys[0], x, components=2)
    assert two.unmixing.shape == (2, DIM)
    np.testing.assert_allclose(np.cov(components(two, x).T), np.eye(2), atol=0.02)
    assert np.isnan(ica(keys[0], np.c_[np.ones(len(x), np.float32), x[:, 1:]]).unmixing).all()


def test_the_best_of_several_starts():
    """A start that ends elsewhere is not chosen: exponential sources, whose components must be positive."""
    s = np.abs(mixtures(jax.random.key(0))[0])
    score = jax.jit(lambda found: jnp.sum(negentropy(found.sources(s))))
    found = jax.jit(best_start)(jax.random.key(2), s)
    assert matched(components(found, s), s) > 0.99
    alone = jax.device_get(jax.jit(jax.vmap(fast_ica, (0, None)))(jax.random.split(jax.random.key(2), 8), s))
    scores = [float(score(jax.tree.map(lambda v, i=i: v[i], alone))) for i in range(8)]
    assert score(found) == pytest.approx(max(scores), rel=1e-3)
    normal = np.random.default_rng(3).normal(size=200_000)
    assert float(np.log(np.cosh(normal)).mean()) == pytest.approx(NORMAL, abs=3e-3)


def test_canonical_correlations_are_eigenvalues():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    y = (x[:, :3] @ rng.normal(size=(3, 3)) + rng.normal(size=(300, 3))).astype(np.float32)
    found = jax.jit(canonical_correlations)(x, y)
    cov = np.cov(np.c_[x, y].T.astype(float), bias=True)
    xx, yy, xy = cov[:4, :4], cov[4:, 4:], cov[:4, 4:]
    values = eigh(xy @ np.linalg.solve(yy, xy.T), xx, eigvals_only=True)[::-1][:3]
    np.testing.assert_allclose(found.correlations, np.sqrt(values), rtol=1e-4)
    a, b = jax.device_get(jax.jit(lambda of, x, y: (of.codes(x), of.codes_y(y)))(found, x, y))
    np.testing.assert_allclose(np.cov(a.T, bias=True), np.eye(3), atol=1e-4)
    np.testing.assert_allclose(a.T @ b / 300, np.diag(found.correlations), atol=1e-4)


def test_a_view_without_variance_in_a_direction_gives_nan_and_a_ridge_helps():
    rng = np.random.default_rng(3)
    x, y = (rng.normal(size=(300, k)).astype(np.float32) for k in (3, 2))
    x = np.c_[x, x[:, :1] + x[:, 1:2]]
    correlate = jax.jit(canonical_correlations)
    for scale in (1.0, 1000.0):
        assert np.isnan(correlate(scale * x, y).correlations).all()
    assert np.isnan(correlate(np.c_[x[:, :3], x[:, :1]], y).correlations).all()
    ridged = correlate(x, y, 1e-3).correlations
    np.testing.assert_allclose(ridged, correlate(x[:, :3], y).correlations, atol=5e-3)


def test_two_views_recover_gaussian_sources():
    """Gaussian sources with different correlations between the views, which no method finds from one view."""
    rng, rho = np.random.default_rng(7), np.array([0.95, 0.7, 0.3])
    s, noise = rng.normal(size=(2, 4000, DIM))
    other = rho * s + np.sqrt(1 - rho**2) * noise
    x, y = (z @ rng.normal(size=(DIM, DIM)) for z in (s, other))
    found, codes = jax.jit(lambda x, y: (of := canonical_correlations(x, y), of.codes(x)))(
        x.astype(np.float32), y.astype(np.float32)
    )
    np.testing.assert_allclose(found.correlations, rho, atol=0.05)
    assert matched(codes, s) > 0.98


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: fast_ica(jax.random.key(0), jnp.ones((2, 2))), "more rows than dimensions"),
        (lambda: fast_ica(None, jnp.ones((9, 2))), "a key or the first directions"),
        (lambda: fast_ica(jax.random.key(0), jnp.ones((9, 2)), 3), "components"),
        (lambda: fast_ica(jax.random.key(0), jnp.ones((9, 2)), contrast="sin"), "contrast"),
        (lambda: fast_ica(None, jnp.ones((9, 2)), start=jnp.ones((3, 3))), "start"),
        (lambda: canonical_correlations(jnp.ones((9, 2)), jnp.ones((8, 2))), "views"),
        (lambda: canonical_correlations(jnp.ones((9, 2)), jnp.ones((9, 2)), -1.0), "ridge"),
        (
            lambda: canonical_correlations(jnp.ones((9, 2), int), jnp.ones((9, 2)), 0.5),
            "views must be floats",
        ),
    ],
)
def test_wrong_input_is_refused_by_ica(call, said):
    with pytest.raises(InputError, match=said):
        call()
