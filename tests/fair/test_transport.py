"""Barycenters of scores and transport of features: closed forms of Gaussians, quantiles, assignments."""

from typing import Any

import jax
import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.stats import ks_2samp, norm

from lrn.check import InputError
from lrn.fair.barycenter import fair_score, fit_barycenter, jittered, unfairness
from lrn.fair.entropic_transport import EntropicConfig, entropic_transported, fit_entropic
from lrn.fair.transport import (
    GaussianTransportConfig,
    bures_barycenter,
    bures_map,
    fit_gaussian,
    fit_marginals,
    transported,
)

SIZES = (300, 100)
MEANS, SDS = np.array([0.0, 2.0]), np.array([1.0, 0.5])
SHARE = np.array([0.75, 0.25])
GROUP = np.repeat([0, 1], SIZES)
# The exact quantiles of two normal distributions at the middle ranks.
SCORE = np.concatenate([m + s * norm.ppf((np.arange(n) + 0.5) / n) for n, m, s in zip(SIZES, MEANS, SDS)])
BARY = jax.jit(lambda s, g, w: fit_barycenter(s, g, 2, weights=w, levels=601))
APPLY = jax.jit(fair_score)
ONES = np.ones(400)


def kolmogorov(a, b) -> Any:
    return ks_2samp(a, b, method="asymp")


def test_the_barycenter_of_normal_scores_is_normal():
    with jax.enable_x64(True):
        fitted = BARY(SCORE, GROUP, ONES)
        full = np.asarray(APPLY(fitted, SCORE, GROUP, 1.0))
        half = np.asarray(APPLY(fitted, SCORE, GROUP, 0.5))
        same = np.asarray(APPLY(fitted, SCORE, GROUP, 0.0))
        price = float(unfairness(fitted))
        rest = float(unfairness(BARY(half, GROUP, ONES)))
    z = (SCORE - MEANS[GROUP]) / SDS[GROUP]
    wanted = SHARE @ MEANS + SHARE @ SDS * z
    inner = np.abs(z) < 2  # beyond it one group has no rows
    np.testing.assert_allclose(full[inner], wanted[inner], atol=0.01)
    np.testing.assert_allclose(half, (SCORE + full) / 2, atol=1e-12)
    np.testing.assert_allclose(same, SCORE, atol=1e-12)
    closed = SHARE @ ((MEANS - SHARE @ MEANS) ** 2 + (SDS - SHARE @ SDS) ** 2)
    assert price == pytest.approx(closed, rel=0.01)
    assert np.mean((full - SCORE) ** 2) == pytest.approx(price, rel=0.01)
    assert rest == pytest.approx(price / 4, rel=0.01)


def test_new_rows_have_equal_distributions_and_keep_their_ranks():
    rng = np.random.default_rng(0)
    draw = lambda n: [m + s * rng.exponential(size=n) for m, s in zip(MEANS, SDS)]  # noqa: E731
    fit, new = draw(200), draw(200)
    group = np.repeat([0, 1], 200)
    with jax.enable_x64(True):
        fitted = BARY(np.concatenate(fit), group, ONES)
        found = np.asarray(APPLY(fitted, np.concatenate(new), group, 1.0)).reshape(2, 200)
        own = np.asarray(APPLY(fitted, np.concatenate(fit), group, 1.0)).reshape(2, 200)
    assert kolmogorov(*new).pvalue < 1e-10
    assert kolmogorov(*found).pvalue > 0.1
    assert kolmogorov(*own).statistic <= 1 / 200 + 1e-9
    for g in range(2):
        np.testing.assert_array_equal(np.argsort(own[g]), np.argsort(fit[g]))


def test_weights_are_shares_and_ties_are_means_unless_jittered():
    with jax.enable_x64(True):
        kept = np.where((GROUP == 0) & (np.arange(400) % 3 > 0), 0.0, 1.0)  # 100 rows of each group
        fitted = BARY(SCORE, GROUP, kept)
        np.testing.assert_allclose(fitted.share, [0.5, 0.5], atol=1e-12)
        rows = kept > 0
        alone = BARY(SCORE[rows], GROUP[rows], np.ones(rows.sum()))
        np.testing.assert_allclose(fitted.repair.target, alone.repair.target, atol=1e-12)
        tied = np.where(GROUP == 0, np.arange(400) % 2, SCORE)
        fitted = BARY(tied, GROUP, ONES)
        full = np.asarray(APPLY(fitted, tied, GROUP, 1.0))
        moved = np.asarray(jittered(jax.random.key(0), tied, 1e-3))
        loose = np.asarray(APPLY(BARY(moved, GROUP, ONES), moved, GROUP, 1.0))
    assert len(np.unique(np.round(full[GROUP == 0], 6))) == 2
    assert np.abs(moved - tied).max() <= 1e-3
    assert kolmogorov(loose[GROUP == 0], loose[GROUP == 1]).statistic < 0.02


def features(seed=1):
    rng = np.random.default_rng(seed)
    group = np.repeat([0, 1, 2], (200, 120, 80))
    factors = rng.normal(size=(3, 3, 3)) + 1.5 * np.eye(3)[None]
    x = (
        np.einsum("nd,nde->ne", rng.normal(size=(400, 3)), factors[group])
        + 2 * rng.normal(size=(3, 3))[group]
    )
    return x, group


CONFIG = GaussianTransportConfig()
GAUSS = jax.jit(lambda x, g, w, c=CONFIG: fit_gaussian(x, g, 3, c, weights=w))
MOVE = jax.jit(transported)


def test_the_gaussian_repair_solves_the_barycenters_equation_and_makes_moments_equal():
    x, group = features()
    with jax.enable_x64(True):
        fitted = GAUSS(x, group, ONES)
        full = np.asarray(MOVE(fitted, x, group, 1.0))
        half = np.asarray(MOVE(fitted, x, group, 0.5))
        same = np.asarray(MOVE(fitted, x, group, 0.0))
    cov = [np.cov(x[group == g].T, bias=True) for g in range(3)]
    share = np.bincount(group) / 400
    root = sqrtm(np.asarray(fitted.covariance))
    wanted = sum(p * sqrtm(root @ c @ root) for p, c in zip(share, cov))
    np.testing.assert_allclose(fitted.covariance, wanted.real, atol=1e-8)
    np.testing.assert_allclose(fitted.center, x.mean(axis=0), atol=1e-12)
    for g in range(3):
        np.testing.assert_allclose(full[group == g].mean(axis=0), fitted.center, atol=1e-9)
        np.testing.assert_allclose(np.cov(full[group == g].T, bias=True), fitted.covariance, atol=1e-7)
        linear = np.asarray(fitted.linear[g])
        np.testing.assert_allclose(linear, linear.T, atol=1e-9)
        assert np.linalg.eigvalsh(linear).min() > 0
    np.testing.assert_allclose(half, (x + full) / 2, atol=1e-12)
    np.testing.assert_allclose(same, x, atol=1e-12)


def test_two_gaussians_have_mccanns_interpolation_and_commuting_ones_the_mean_root():
    rng = np.random.default_rng(2)
    a, b = (f @ f.T + np.eye(2) for f in rng.normal(size=(2, 2, 2)))
    with jax.enable_x64(True):
        both = jax.jit(lambda c, p: (bures_barycenter(c, p), bures_map(c[0], c[1])))
        middle, linear = (np.asarray(v) for v in both(np.stack([a, b]), SHARE))
        np.testing.assert_allclose(linear @ a @ linear, b, atol=1e-10)
        way = 0.75 * np.eye(2) + 0.25 * linear
        np.testing.assert_allclose(middle, way @ a @ way, atol=1e-9)
        middle, _ = both(np.stack([np.diag([1.0, 4.0]), np.diag([9.0, 1.0])]), SHARE)
    np.testing.assert_allclose(middle, np.diag([1.5**2, 1.75**2]), atol=1e-10)


def test_weights_of_the_gaussian_repair_are_copies_and_a_ridge_mends_collinear_features():
    x, group = features(3)
    weight = (np.arange(400) % 5 > 0).astype(float)
    rows = weight > 0
    with jax.enable_x64(True):
        one, two = GAUSS(x, group, weight), GAUSS(x[rows], group[rows], np.ones(rows.sum()))
        np.testing.assert_allclose(one.linear, two.linear, atol=1e-9)
        turned = GAUSS(x, (group + 1) % 3, weight)
        np.testing.assert_allclose(np.roll(turned.linear, -1, axis=0), one.linear, atol=1e-9)
        flat = x.copy()
        flat[:, 2] = flat[:, 0]
        assert np.isnan(GAUSS(flat, group, ONES).linear).all()
        ridged = GAUSS(flat, group, ONES, GaussianTransportConfig(ridge=1e-6))
        full = np.asarray(MOVE(ridged, flat, group, 1.0))
    for g in range(3):
        np.testing.assert_allclose(np.cov(full[group == g].T, bias=True), ridged.covariance, atol=1e-2)


def test_marginals_are_mean_quantiles():
    x, group = features(4)
    with jax.enable_x64(True):
        fitted = jax.jit(lambda x: fit_marginals(x, group, 3, levels=41))(x)
    quantiles = np.array(
        [np.quantile(x[group == g], np.linspace(0, 1, 41), axis=0, method="hazen").T for g in range(3)]
    )
    np.testing.assert_allclose(fitted.quantiles, quantiles, atol=1e-9)
    np.testing.assert_allclose(
        fitted.target, np.einsum("g,gdl->dl", np.bincount(group) / 400, quantiles), atol=1e-9
    )


ENTROPIC = jax.jit(lambda x, g, c: fit_entropic(x, g, 2, c))
ENTROPIC_MOVE = jax.jit(entropic_transported)


def test_a_small_epsilon_gives_the_exact_assignment():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(20, 2)), rng.normal(size=(20, 2)) * [0.5, 2] + [3, 1]
    x, group = np.concatenate([a, b]), np.repeat([0, 1], 20)
    cost = ((a[:, None] - b[None]) ** 2).sum(-1)
    pair = linear_sum_assignment(cost)[1]
    with jax.enable_x64(True):
        fitted = ENTROPIC(x, group, EntropicConfig(epsilon=2e-3, iterations=1200))
        full = np.asarray(ENTROPIC_MOVE(fitted, x, group, 1.0))
        half = np.asarray(ENTROPIC_MOVE(fitted, x, group, 0.5))
        wide = ENTROPIC(x, group, EntropicConfig(epsilon=100.0, iterations=1200))
        center = np.asarray(ENTROPIC_MOVE(wide, x, group, 1.0))
    assert np.asarray(fitted.error).max() < 0.05
    np.testing.assert_allclose(full[:20], (a + b[pair]) / 2, atol=0.15)
    np.testing.assert_allclose(full[20:][pair], full[:20], atol=0.3)
    assert np.abs(full[:20] - (a + b[pair]) / 2).mean() < 0.03
    np.testing.assert_allclose(half, (x + full) / 2, atol=1e-12)
    np.testing.assert_allclose(center[:20], (a + b.mean(axis=0)) / 2, atol=0.05)


def test_bad_input():
    x, group = features()
    for call, message in [
        (lambda: fit_barycenter(SCORE[:, None], GROUP, 2), "score must have shape"),
        (lambda: fit_barycenter(SCORE, GROUP, 3), "group 2 has no rows"),
        (lambda: fair_score(BARY(SCORE, GROUP, ONES), SCORE, GROUP, 1.5), "alpha"),
        (lambda: jittered(jax.random.key(0), SCORE, 0.0), "size"),
        (lambda: fit_gaussian(x, group, 4), "group 3 has no rows"),
        (lambda: fit_entropic(x, group, 4), "group 3 has no rows"),
        (lambda: transported(GAUSS(x, group, ONES), x[:, :2], group), "fitted to 3 features"),
        (lambda: GaussianTransportConfig(ridge=-1.0), "ridge"),
        (lambda: EntropicConfig(epsilon=0.0), "epsilon"),
    ]:
        with pytest.raises(InputError, match=message):
            call()


def test_wrong_values_give_nan_under_jit():
    x, group = features()
    with jax.enable_x64(True):
        for g, w in [(group + 1, ONES), (group, -ONES), (np.minimum(group, 1), ONES)]:
            assert np.isnan(GAUSS(x, g, w).linear).all()
        assert np.isnan(BARY(SCORE, GROUP, -ONES).repair.target).all()
        assert np.isnan(BARY(SCORE, GROUP + 1, ONES).repair.target).all()
        mixed = np.where(np.arange(400) % 7 == 0, -1.0, 1.0)
        assert np.isnan(BARY(SCORE, GROUP, mixed).repair.target).all()
        unknown = np.where(np.arange(400) == 3, 3, group)
        found = np.asarray(MOVE(GAUSS(x, group, ONES), x, unknown, 1.0))
        assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == [3]
        unknown = np.where(np.arange(400) == 3, 2, GROUP)
        found = np.asarray(APPLY(BARY(SCORE, GROUP, ONES), SCORE, unknown, 1.0))
        assert np.flatnonzero(np.isnan(found)).tolist() == [3]
