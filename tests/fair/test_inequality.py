"""Generalized entropy against AIF360 and the decomposition of Speicher et al."""

import jax
import numpy as np
import pytest
from fair_rows import GROUP, REFERENCES, WEIGHT, D, Y

from lrn.check import InputError
from lrn.fair.inequality import benefits, between_group_entropy, generalized_entropy, theil

BENEFIT = D - Y + 1
TWO = np.minimum(GROUP, 1)


@jax.jit
def ours(benefit, alpha, weight, group):
    whole = generalized_entropy(benefit, alpha, weight)
    return whole, between_group_entropy(benefit, group, 2, alpha, weight), theil(benefit, weight)


def test_indices_equal_aif360():
    wanted, one = REFERENCES["aif360"], np.ones(len(Y))
    with jax.enable_x64(True):
        np.testing.assert_array_equal(benefits(Y, D), BENEFIT)
        at = {alpha: np.array(ours(BENEFIT, alpha, one, TWO)) for alpha in (0.5, 1.0, 2.0)}
    assert float(at[2.0][0]) == pytest.approx(wanted["generalized_entropy_index_2"], abs=1e-12)
    assert float(at[0.5][0]) == pytest.approx(wanted["generalized_entropy_index_.5"], abs=1e-12)
    assert float(at[1.0][0]) == pytest.approx(wanted["theil_index"], abs=1e-12)
    assert float(at[2.0][2]) == pytest.approx(wanted["theil_index"], abs=1e-12)
    between = wanted["between_group_generalized_entropy_index"]
    assert float(at[2.0][1]) == pytest.approx(between, abs=1e-12)
    # AIF360's coefficient of variation is sqrt(2 GE_2), as is that of NumPy.
    assert np.sqrt(2 * at[2.0][0]) == pytest.approx(wanted["coefficient_of_variation"], abs=1e-12)
    assert np.sqrt(2 * at[2.0][0]) == pytest.approx(BENEFIT.std() / BENEFIT.mean(), abs=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, 2.0])
def test_the_index_is_its_formula_and_splits_into_between_and_within(alpha):
    b = np.random.default_rng(0).uniform(0.5, 2, len(Y))

    def formula(b, w, total=None):
        u = b / np.average(b, weights=w)
        if alpha == 0:
            return -np.average(np.log(u), weights=w)
        if alpha == 1:
            return np.average(u * np.log(u), weights=w)
        return np.average(u**alpha - 1, weights=w) / (alpha * (alpha - 1))

    with jax.enable_x64(True):
        whole, between, _ = ours(b, alpha, WEIGHT, TWO)
    assert float(whole) == pytest.approx(formula(b, WEIGHT), abs=1e-12)
    mean, within = np.average(b, weights=WEIGHT), 0.0
    for g in range(2):
        rows = g == TWO
        share = WEIGHT[rows].sum() / WEIGHT.sum()
        ratio = np.average(b[rows], weights=WEIGHT[rows]) / mean
        within += share * ratio**alpha * formula(b[rows], WEIGHT[rows])
    assert float(between) == pytest.approx(float(whole) - within, abs=1e-12)


def test_limits_and_edges():
    one = np.ones(len(Y))
    near = ours(BENEFIT, 1.001, one, TWO)[0]
    assert near == pytest.approx(float(ours(BENEFIT, 1.0, one, TWO)[0]), abs=1e-3)
    assert ours(one, 2.0, one, TWO)[0] == 0
    assert ours(BENEFIT, 0.0, one, TWO)[0] == np.inf  # somebody has no benefit
    weight = np.where(BENEFIT == 0, 0.0, 1.0)
    assert np.isfinite(ours(BENEFIT, 0.0, weight, TWO)[0])
    assert np.isnan(ours(0 * one, 2.0, one, TWO)[0])
    assert np.isnan(ours(-one, 2.0, one, TWO)[0])
    assert np.isnan(ours(BENEFIT, 2.0, -one, TWO)[0])
    assert np.isnan(ours(BENEFIT, 2.0, one, TWO + 1)[1])
    # Sums over a group hide a wrong row beside right ones.
    first = np.arange(len(Y)) == 0
    assert np.isnan(ours(BENEFIT, 2.0, np.where(first, -0.5, one), TWO)[1])
    assert np.isnan(ours(np.where(first, -0.5, BENEFIT), 2.0, one, TWO)[1])
    with pytest.raises(InputError, match="benefit"):
        generalized_entropy(np.array([1.0, -1.0]))
    with pytest.raises(InputError, match="alpha"):
        generalized_entropy(np.ones(2), np.inf)
