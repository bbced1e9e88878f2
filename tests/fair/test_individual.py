"""Consistency and the Lipschitz condition against AIF360, scikit-learn and loops over pairs."""

import jax
import numpy as np
import pytest
from fair_rows import REFERENCES, SCORE, WEIGHT, D, X
from sklearn.neighbors import NearestNeighbors

from lrn.check import InputError
from lrn.fair.individual import consistency, lipschitz

N = len(D)
BOTH = jax.jit(lambda x, d, w: (consistency(x, d, 5, True, w), consistency(x, d, 5, False, w, chunk=40)))
PAIRS = jax.jit(lambda x, d, w, bound: lipschitz(x, d, bound, w, chunk=64))


def test_consistency_equals_aif360():
    with jax.enable_x64(True):
        assert float(BOTH(X, D, np.ones(N))[0]) == pytest.approx(
            REFERENCES["aif360"]["consistency"], abs=1e-12
        )


def test_consistency_without_self_and_with_weights():
    with jax.enable_x64(True):
        found = BOTH(X, SCORE, WEIGHT)
    neighbors = NearestNeighbors(n_neighbors=6).fit(X).kneighbors(X, return_distance=False)
    for ours, chosen in zip(found, (neighbors[:, :5], neighbors[:, 1:])):
        wanted = 1 - np.average(np.abs(SCORE - SCORE[chosen].mean(1)), weights=WEIGHT)
        assert float(ours) == pytest.approx(wanted, abs=1e-12)


def test_lipschitz_is_a_loop_over_pairs():
    with jax.enable_x64(True):
        found = PAIRS(X, SCORE, WEIGHT, 0.3)
    broken = excess = pairs = steepest = 0.0
    for i in range(N):
        for j in range(i):
            weight, far = WEIGHT[i] * WEIGHT[j], np.linalg.norm(X[i] - X[j])
            apart = abs(SCORE[i] - SCORE[j])
            pairs += weight
            broken += weight * (apart > 0.3 * far)
            excess += weight * max(apart - 0.3 * far, 0)
            steepest = max(steepest, apart / far)
    assert found == pytest.approx((broken / pairs, excess / pairs, steepest), abs=1e-12)


def test_a_score_that_is_lipschitz_has_no_violations_and_equal_rows_decide():
    x = X.copy()
    score = np.clip(0.5 + 0.1 * x[:, 0], 0, 1)
    fair = PAIRS(x, score, np.ones(N), 0.1)
    assert fair.violations == 0
    assert fair.constant == pytest.approx(0.1, rel=1e-4)
    x[1], score[1] = x[0], 1 - score[0]
    assert PAIRS(x, score, np.ones(N), 0.1).constant == np.inf
    score[1] = score[0]
    assert PAIRS(x, score, np.ones(N), 0.1).violations == 0


def test_wrong_values_are_refused_and_nan_under_jit():
    bad = X.copy()
    bad[3, 1] = np.nan
    assert np.isnan(BOTH(bad, D, np.ones(N))).all()
    assert np.isnan(PAIRS(X, 2 * D, np.ones(N), 0.1)).all()
    for call, message in [
        (lambda: consistency(bad, D), "x holds values"),
        (lambda: consistency(X[:4], D[:4], 5), "at most the 4"),
        (lambda: consistency(X[:5], D[:5], 5, include_self=False), "at most the 4"),
        (lambda: lipschitz(X, D[:-1]), "x must be floats"),
        (lambda: lipschitz(X[:1], D[:1]), "two"),
        (lambda: lipschitz(X, D, -1.0), "bound"),
    ]:
        with pytest.raises(InputError, match=message):
            call()
