"""Metrics against closed forms, scikit-learn and loops; jit, vmap, and input that must be refused."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.metrics import roc_auc_score

from lrn.check import InputError
from lrn.representation import dci, logistic, sap
from lrn.representation import factors as given
from lrn.representation.beta_vae_score import beta_vae_score
from lrn.representation.dci_boosting import dci_boosting
from lrn.representation.dci_lasso import dci_lasso
from lrn.representation.dci_trees import dci_trees
from lrn.representation.explicitness import area
from lrn.representation.factor_vae_score import factor_vae_score
from lrn.representation.info_mec import info_mec
from lrn.representation.irs import irs
from lrn.representation.lasso import lasso
from lrn.representation.mcc import mcc, ranks
from lrn.representation.metrics import NAMES, metrics
from lrn.representation.mig import mig
from lrn.representation.modularity import modularity
from lrn.representation.udr import udr

KEY = jax.random.key(2)
SIZES = (4, 3, 5)
GRID = np.array(list(itertools.product(*(range(size) for size in SIZES))) * 4)  # each combination four times
RNG = np.random.default_rng(0)
ROWS = len(GRID)
NOISY = (GRID @ RNG.normal(size=(3, 5)) + 0.3 * RNG.normal(size=(ROWS, 5))).astype(np.float32)
PERFECT = (GRID[:, ::-1] * np.array([0.5, -2.0, 3.0]) + 7).astype(np.float32)


def test_perfect_codes_of_a_whole_grid():
    """The factors of a grid are independent, so that all values are known exactly."""
    assert float(mig(PERFECT, GRID)) == pytest.approx(1, abs=1e-6)
    assert float(modularity(PERFECT, GRID)) == pytest.approx(1, abs=1e-6)
    assert float(irs(PERFECT, GRID).score) == pytest.approx(1, abs=1e-5)
    found = mcc(PERFECT, GRID)
    assert float(found.mcc) == pytest.approx(1, abs=1e-6)
    assert found.code.tolist() == [2, 1, 0]
    values = GRID.astype(np.float32)
    linear = dci_lasso(PERFECT, values, PERFECT, values)
    for name in ("disentanglement", "completeness", "informativeness"):
        assert float(getattr(linear, name)) == pytest.approx(1, abs=1e-3), name
    # Two copies of each code know each factor equally well, and every code still knows one factor.
    twice = np.concatenate([PERFECT, -PERFECT], axis=1)
    assert float(mig(twice, GRID)) == pytest.approx(0, abs=1e-6)
    assert float(modularity(twice, GRID)) == pytest.approx(1, abs=1e-6)


def test_matching_knows_permutations_scales_and_rotations():
    z = RNG.normal(size=(500, 3)).astype(np.float32)
    moved = np.stack([-3 * z[:, 2] + 1, 0.1 * z[:, 0], 5 * z[:, 1], RNG.normal(size=500)], 1).astype(
        np.float32
    )
    assert float(mcc(moved, z).mcc) == pytest.approx(1, abs=1e-5)
    bent = np.exp(2 * moved)
    assert float(mcc(bent, z, "spearman").mcc) == pytest.approx(1, abs=1e-5)
    assert float(mcc(bent, z).mcc) < 0.95
    # Turned by 45 degrees, two independent sources of equal variance correlate by sqrt(1/2) with each code.
    square = np.array(list(itertools.product(range(5), range(5))), np.float32)
    turned = square @ np.array([[1, 1], [-1, 1]], np.float32)
    np.testing.assert_allclose(mcc(turned, square).correlation, np.sqrt(0.5), atol=1e-6)
    ties = np.round(z, 1)
    np.testing.assert_array_equal(ranks(jnp.asarray(ties)), stats.rankdata(ties, axis=0))


def test_dci_of_known_importances():
    table = jnp.asarray([[3.0, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 2]])
    # Code 1 is split between two of three factors, and carries 2/7 of the importance.
    assert float(dci.disentanglement(table)) == pytest.approx(1 - 2 / 7 * np.log(2) / np.log(3), abs=1e-6)
    # Factor 2 is split 1 to 2 between codes, and carries 3/7.
    split = -np.log(1 / 3) / 3 - 2 * np.log(2 / 3) / 3
    assert float(dci.completeness(table)) == pytest.approx(1 - (3 * split / np.log(4)) / 7, abs=1e-6)
    assert float(dci.disentanglement(jnp.zeros((2, 3)))) == pytest.approx(0, abs=1e-6)
    assert np.isnan(dci.completeness(-table))


def test_trees_equal_scikit_learn_where_bins_lose_nothing():
    """Codes of few values have the same candidate splits with and without bins."""
    x = RNG.integers(0, 6, (200, 4)).astype(np.float32)
    factors = np.stack([(x[:, 0] + x[:, 1] > 5) + (x[:, 2] > 3), (x[:, 3] > 2) ^ (x[:, 1] > 4)], 1).astype(
        int
    )
    factors[::7, 0] = 0
    found = dci_trees(x[:150], factors[:150], x[150:], factors[150:], rounds=5)
    for j in range(2):
        model = GradientBoostingClassifier(n_estimators=5, random_state=0).fit(x[:150], factors[:150, j])
        np.testing.assert_allclose(found.importance[:, j], model.feature_importances_, atol=0.02)
    theirs = dci_boosting(x[:150], factors[:150], x[150:], factors[150:], trees=5)
    for name in ("disentanglement", "completeness"):
        assert float(getattr(found, name)) == pytest.approx(float(getattr(theirs, name)), abs=0.02), name
    assert float(found.informativeness) == pytest.approx(float(theirs.informativeness), abs=0.03)


def test_machines_are_minima():
    """The gradient of scikit-learn's objective is 0 at the found weights, by a loop over problems."""
    train, test, sizes = given.train_and_test(NOISY[::2], GRID[::2], NOISY[1::2], GRID[1::2])
    table = np.asarray(sap.accuracies(train, test, sizes, 0.01))
    for i, j in itertools.product(range(2), range(3)):
        x, y = NOISY[::2, i].astype(float), GRID[::2, j]
        scores = []
        for c in range(SIZES[j]):
            t, w, g = np.where(y == c, 1.0, -1.0), np.zeros(2), np.ones(2)
            weight = np.where(y == c, 0.01 * len(y) / (SIZES[j] * (y == c).sum()), 0.01)
            z = np.stack([x, np.ones_like(x)], 1)
            for _ in range(200):
                inside = t * (z @ w) < 1
                g = w - 2 * z.T @ (weight * inside * t * (1 - t * (z @ w)))
                hessian = np.eye(2) + 2 * (z * (weight * inside)[:, None]).T @ z
                w = w - 0.5 * np.linalg.solve(hessian, g)
            assert np.abs(g).max() < 1e-9
            scores.append(np.stack([NOISY[1::2, i], np.ones(len(NOISY[1::2]))], 1) @ w)
        right = np.mean(np.argmax(scores, axis=0) == GRID[1::2, j])
        assert table[i, j] == pytest.approx(right, abs=1e-6), (i, j)


def test_solvers_equal_scikit_learn():
    x = NOISY - NOISY.mean(0)
    y = (x @ RNG.normal(size=(5, 2)) + RNG.normal(size=(ROWS, 2))).astype(np.float32)
    y = y - y.mean(0)
    ours = jax.jit(lasso)(x.T @ x / ROWS, x.T @ y / ROWS, 0.1)
    np.testing.assert_allclose(
        ours, Lasso(0.1, tol=1e-6).fit(x.astype(float), y.astype(float)).coef_.T, atol=2e-3
    )
    x = x / x.std(0)

    @jax.jit
    def probabilities(label):
        fitted = logistic.fit(x, label, 5, 1.0, tolerance=1e-6)
        return jax.nn.softmax(logistic.logits(fitted, x))

    for label, size in ((GRID[:, 2], 5), (GRID[:, 1] > 0, 2)):
        p = probabilities(label.astype(np.int32))
        theirs = LogisticRegression(tol=1e-8, max_iter=1000).fit(x, label).predict_proba(x)
        np.testing.assert_allclose(p[:, :size], theirs, atol=2e-3)
        score = np.round(np.asarray(p[:, :size]), 1)  # with many ties
        member = np.eye(size)[label.astype(int)]
        expected = roc_auc_score(member, score)
        found = jax.jit(area)(np.pad(score, ((0, 0), (0, 5 - size))), label.astype(np.int32))
        assert float(found) == pytest.approx(float(expected), abs=1e-5)


def test_information_of_continuous_codes_has_its_closed_form():
    """A code that is uniform on one of k intervals has log(k) nats on the interval; overlap takes a share."""
    n = 3000
    y = RNG.integers(0, 4, (n, 2))
    code = y[:, 0] + RNG.uniform(size=n) * 1.5  # a third of each interval overlaps with the next
    found = info_mec(np.stack([code, RNG.uniform(size=n)], 1).astype(np.float32), y)
    # Density 1/6 where one value reaches, 1/3 where two do, over [0, 4.5].
    single, double = 4.5 - 1.5, 1.5
    entropy = single / 6 * np.log(6) + double / 3 * np.log(3)
    expected = entropy - np.log(1.5)
    information = np.asarray(found.information) * np.log(4)
    assert information[0, 0] == pytest.approx(expected, abs=0.03)
    assert information[0, 1] < 0.03
    assert information[1].max() < 0.03


SMALL = dict(rounds=3, draws=300)


def test_all_metrics_of_one_and_of_several_models():
    key = jax.random.key(0)
    test = NOISY[1::2], GRID[1::2]
    constant = np.ones_like(NOISY[::2])
    models = np.stack([NOISY[::2], -2 * NOISY[::2][:, ::-1] + 1, constant])
    tests = np.stack([test[0], -2 * test[0][:, ::-1] + 1, constant])
    several = metrics(key, models, GRID[::2], test=(tests, test[1]), **SMALL)
    assert set(several) == set(NAMES)
    for name in NAMES:
        assert np.isfinite(several[name][:2]).all(), name
        assert np.isnan(several[name][2]), name
    # Order, sign and scale of codes are no matter but to scores whose classifiers are not invariant.
    for name in ("mig", "irs", "modularity", "dci_disentanglement", "mcc", "info_modularity"):
        assert float(several[name][1]) == pytest.approx(float(several[name][0]), abs=0.02), name
    alone = {
        "mig": mig(NOISY[::2], GRID[::2]),
        "sap": sap.sap(NOISY[::2], GRID[::2], *test).score,
        "irs": irs(NOISY[::2], GRID[::2]).score,
        "mcc_spearman": mcc(NOISY[::2], GRID[::2], "spearman").mcc,
    }
    for name, value in alone.items():
        assert float(several[name][0]) == pytest.approx(float(value), abs=2e-5), name


def test_under_jit_and_vmap_and_nan_where_values_cannot_be_seen():
    @jax.jit
    def traced(codes, factors, settings=(0.1,) * 4):
        def of(x, value):
            return {
                "mig": mig(x, factors, sizes=SIZES),
                "irs": irs(x, factors, quantile=value, sizes=SIZES).score,
                "mcc": mcc(x, factors).mcc,
                "sap": sap.sap(x, factors, x, factors, penalty=value, sizes=SIZES).score,
                "sap_continuous": sap.sap_continuous(x, factors).score,
                "lasso": dci_lasso(x, factors, x, factors, penalty=value).disentanglement,
            }

        return jax.vmap(of)(codes, jnp.asarray(settings))

    wrong = NOISY.copy()
    wrong[3, 2] = np.inf
    found = traced(jnp.stack([NOISY, PERFECT[:, [0, 1, 2, 0, 1]], wrong, np.full_like(NOISY, 3)]), GRID)
    for name, value in found.items():
        assert np.isfinite(value[:2]).all(), name
        assert np.isnan(value[2:]).all(), name
    assert float(found["mig"][0]) == pytest.approx(float(mig(NOISY, GRID)), abs=1e-6)
    same = jnp.asarray(NOISY)[None].repeat(4, 0)
    for name, value in traced(1e20 * same, GRID).items():
        assert np.isnan(value).all(), name
    outside = GRID.copy()
    outside[0, 1] = 3
    assert np.isnan(traced(same, outside)["mig"]).all()
    fixed = GRID.copy()
    fixed[:, 1] = 1
    for name, value in traced(same, fixed).items():
        assert np.isnan(value).all(), name
    # A setting out of its range, of the metrics that have one.
    swept = traced(same, GRID, (0.1, -0.1, np.nan, 0.2))
    for name in ("irs", "sap", "lasso"):
        assert np.isnan(swept[name]).tolist() == [False, True, True, False], name


def test_settings_out_of_range_give_nan_where_they_cannot_be_seen():
    few = GRID[:, :2]  # two factors, which are compiled one by one
    rows = NOISY, few, NOISY, few

    @jax.jit
    @jax.vmap
    def traced(value):
        return {
            "trees": dci_trees(*rows, rounds=1, rate=value)[:3],
            "udr": udr(np.stack([NOISY, NOISY**3]), penalty=value, sweeps=5).score,
            "factor_vae": factor_vae_score(KEY, NOISY, few, votes=200, judged=50, least_std=value),
        }

    for part in jax.tree.leaves(traced(jnp.asarray([0.1, -0.1, np.nan]))):
        assert np.isfinite(part[0]).all()
        assert np.isnan(part[1:]).all()


def test_a_factor_may_have_one_value_in_test_rows_only():
    fixed = GRID.copy()
    fixed[:, 1] = 1

    def bad(y, y_test):
        return given.train_and_test(NOISY, y, NOISY, y_test, SIZES)[1].bad

    assert not bad(GRID, fixed)
    assert not jax.jit(lambda y: bad(GRID, y))(fixed)
    with pytest.raises(InputError, match="factor 1 of the factors has one value"):
        jax.jit(lambda y: bad(fixed, y))(GRID)


def test_nested_lists_are_codes_and_factors():
    assert float(mig(NOISY.tolist(), GRID.tolist())) == float(mig(NOISY, GRID))
    assert float(mcc(NOISY.tolist(), GRID.tolist()).mcc) == float(mcc(NOISY, GRID).mcc)


def test_whole_numbers_of_any_kind_are_factors():
    labels = GRID * np.array([10, -3, 1]) + 5
    assert float(mig(NOISY, labels)) == pytest.approx(float(mig(NOISY, GRID)), abs=1e-6)
    assert float(mig(NOISY, labels.astype(np.uint8))) == pytest.approx(float(mig(NOISY, GRID)), abs=1e-6)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: mig(NOISY, np.c_[GRID, np.ones(ROWS, int)]), "factor 3 of the factors has one value, 1, in"),
        (lambda: mig(np.ones_like(NOISY), GRID), "codes are constant"),
        (lambda: mig(1e300 * NOISY.astype(float), GRID), "codes hold values that are not finite"),
        (lambda: mcc(1e20 * NOISY, GRID), "or beyond 1e.15, where squares leave floats"),
        (lambda: mig(1e9 + 0.1 * np.tanh(NOISY.astype(float)), GRID), "codes are constant.*, as float32"),
        (lambda: mig(NOISY, GRID / 2), "factors must be whole numbers here, got float.*; number"),
        (lambda: mig(NOISY, GRID[:-1]), "one row for each row of codes"),
        (lambda: mig(NOISY[:, :1], GRID), "needs 2 codes or more"),
        (lambda: mig(GRID, GRID), "codes must be floats"),
        (lambda: mig([[1.0, 2.0], [3.0]], [[0], [1]]), "codes must be an array, got lists of unequal"),
        (lambda: metrics(KEY, None, GRID), r"codes must be \[n, dim\]"),
        (lambda: mig(NOISY, GRID, bins=1), "bins must be at least 2"),
        (lambda: mig(NOISY, GRID, sizes=(4, 3)), "sizes must hold a whole number of 2 or more for each of"),
        (lambda: mig(NOISY, GRID, sizes=(4, 3.7, 5)), "sizes must hold a whole number of 2 or more"),
        (lambda: mig(NOISY, GRID, sizes=(4, 2, 5)), "factors must lie in"),
        (lambda: jax.jit(lambda y: mig(NOISY, y))(GRID), "under jit the values of factors cannot be counted"),
        (lambda: modularity(NOISY, GRID[:, :1]), "needs 2 factors or more"),
        (lambda: mcc(NOISY[:, :2], GRID), "each source needs a code of its own"),
        (lambda: mcc(NOISY, GRID, "kendall"), "kind 'kendall' is not known"),
        (lambda: sap.sap(NOISY, GRID, NOISY[:, :3], GRID), "one number of dimensions"),
        (lambda: sap.sap(NOISY, GRID, NOISY, GRID, penalty=0.0), "penalty must be"),
        (lambda: jax.jit(lambda x: dci_boosting(x, GRID, x, GRID))(NOISY), "use dci_trees under jit"),
        (lambda: dci_lasso(NOISY, np.full(GRID.shape, np.nan), NOISY, GRID), "not finite"),
        (lambda: dci_trees(NOISY, GRID, NOISY, GRID, rounds=0), "rounds must be at least 1"),
        (lambda: factor_vae_score(KEY, NOISY, GRID, batch=1), "batch must be at least 2"),
        (lambda: beta_vae_score(KEY, NOISY, GRID, points=0), "points must be at least 1"),
        (lambda: metrics(KEY, NOISY[0], GRID), r"codes must be \[n, dim\] or \[models, n, dim\]"),
        (lambda: metrics(KEY, NOISY, GRID, test=(NOISY[None], GRID)), "of one model or of several"),
        (lambda: metrics(KEY, NOISY, GRID, test=(NOISY[:, :3], GRID)), "the same dimensions, got shapes"),
        (lambda: metrics(KEY, NOISY[None], GRID, test=(NOISY[None].repeat(2, 0), GRID)), "the same models"),
        (lambda: metrics(KEY, NOISY, GRID, test=(np.inf * NOISY, GRID)), "test codes hold values that are"),
        (lambda: metrics(KEY, NOISY[:3], GRID[:3]), "needs 4 rows or more, got 3"),
        (lambda: metrics(KEY, 0 * NOISY, GRID), "codes are constant"),
        (lambda: udr(np.stack([NOISY, 1e20 * NOISY])), "codes hold values that are not finite, or beyond"),
        (lambda: udr(NOISY), r"must be floats \[models, n, dim\]"),
        (lambda: udr(NOISY[None].repeat(2, 0), np.ones((2, 4), bool)), "active codes must be bools"),
        (lambda: irs(NOISY, GRID, quantile=1.5), "quantile must lie between 0 and 1"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
