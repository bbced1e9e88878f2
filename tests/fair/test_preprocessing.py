"""Reweighing, the disparate impact remover and the correlation remover against their definitions."""

from pathlib import Path

import jax
import numpy as np
import pytest

from lrn.check import InputError
from lrn.fair.decorrelate import decorrelated, fit_decorrelation
from lrn.fair.repair import fit_repair, repaired
from lrn.fair.reweighing import reweighed
from tests.fair.references.peer_data import data, named

RNG = np.random.default_rng(0)


def test_reweighing_by_hand_and_independence():
    y, group = np.array([1, 1, 1, 0, 1, 0, 0, 0]), np.repeat([0, 1], 4)
    run = jax.jit(lambda y, group, w: reweighed(y, group, 2, w))
    # P(1) = P(group) = 1/2; P(1, group 0) = 3/8: the factors are 2/3 and 2.
    wanted = [2 / 3, 2 / 3, 2 / 3, 2, 2, 2 / 3, 2 / 3, 2 / 3]
    np.testing.assert_allclose(run(y, group, np.ones(8, np.float32)), wanted, rtol=1e-6)
    _, y, group = data(300, 4, 3, 1)
    weights = RNG.exponential(size=300)
    found = np.asarray(jax.jit(lambda w: reweighed(y, group, 3, w))(weights), np.float64)
    assert found.sum() == pytest.approx(weights.sum(), rel=1e-5)
    share = [np.average(y[group == g], weights=found[group == g]) for g in range(3)]
    np.testing.assert_allclose(share, np.average(y, weights=weights), rtol=1e-5)
    with pytest.raises(InputError, match="group 1 has no row with label 1"):
        reweighed(np.array([0, 1, 0]), np.array([0, 0, 1]), 2)
    assert np.isnan(run(np.array([0, 1] * 4), np.array([0, 0, 0, 0, 1, 0, 1, 0]), np.ones(8))).all()


def test_a_repair_makes_groups_alike_and_keeps_ranks():
    group = np.repeat([0, 1, 2], 200)
    x = RNG.normal(size=(600, 2)) * (1 + group)[:, None] + 3 * group[:, None]
    run = jax.jit(lambda x, amount: repaired(fit_repair(x, group, 3, levels=401), x, group, amount))
    full = np.asarray(run(x, 1.0))
    for column in range(2):
        parts = [np.sort(full[group == g, column]) for g in range(3)]
        np.testing.assert_allclose(parts[0], parts[2], atol=1e-4)
        # With equal sizes the target is the median of the sorted values.
        wanted = np.median([np.sort(x[group == g, column]) for g in range(3)], axis=0)
        np.testing.assert_allclose(parts[1], wanted, atol=1e-4)
        for g in range(3):
            np.testing.assert_array_equal(
                np.argsort(full[group == g, column]), np.argsort(x[group == g, column])
            )
    np.testing.assert_allclose(run(x, 0.0), x, atol=1e-5)
    np.testing.assert_allclose(run(x, 0.5), (x + full) / 2, atol=1e-5)


def test_quantiles_of_a_repair_are_hazens_and_weights_are_copies():
    x, group = RNG.normal(size=(60, 1)), np.arange(60) % 2
    fit = jax.jit(lambda x, group, w: fit_repair(x, group, 2, weights=w, levels=21))
    found = fit(x, group, np.ones(60, np.float32))
    ranks = np.linspace(0, 1, 21)
    for g in range(2):
        wanted = np.quantile(x[group == g, 0], ranks, method="hazen")
        np.testing.assert_allclose(found.quantiles[g, 0], wanted, atol=1e-5)
    np.testing.assert_allclose(found.target, np.asarray(found.quantiles).mean(axis=0), atol=1e-6)
    chosen = (np.arange(60) < 40).astype(np.float32)
    some = fit(x, group, chosen)
    np.testing.assert_allclose(
        some.quantiles, fit_repair(x[:40], group[:40], 2, levels=21).quantiles, atol=1e-6
    )


def test_ties_move_to_the_mean_target_of_their_ranks():
    # Group 0 has 0 and 1 half each, group 1 has uniform values: the target is their mean.
    x = np.concatenate([np.repeat([0.0, 1.0], 100), (np.arange(200) + 0.5) / 200])[:, None]
    group = np.repeat([0, 1], 200)
    full = np.asarray(repaired(fit_repair(x, group, 2), x, group))
    np.testing.assert_allclose(full[:100], 0.125, atol=2e-3)
    np.testing.assert_allclose(full[100:200], 0.875, atol=2e-3)


@pytest.mark.parametrize("name", ["two", "three"])
def test_the_correlation_remover_is_fairlearns(name):
    x, _, group, groups = named(name)
    sensitive = np.eye(groups)[group][:, 1:]
    with np.load(Path(__file__).parent / "references" / "fairlearn.npz") as file:
        wanted = file[f"cr/{name}"]
    with jax.enable_x64(True):
        run = jax.jit(lambda x, s, w, a: decorrelated(fit_decorrelation(x, s, w), x, s, a))
        found = np.asarray(run(x, sensitive, np.ones(1500), 0.7))
        np.testing.assert_allclose(found[:20], wanted, atol=1e-9)
        weights = RNG.integers(0, 3, 1500).astype(float)
        full = np.asarray(run(x, sensitive, weights, 1.0))
        one_hot = np.asarray(run(x, np.eye(groups)[group], weights, 1.0))
    covariance = np.cov(full.T, sensitive.T, fweights=weights.astype(int))[: x.shape[1], x.shape[1] :]
    np.testing.assert_allclose(covariance, 0, atol=1e-10)
    np.testing.assert_allclose(one_hot, full, atol=1e-8)


def test_bad_input():
    with pytest.raises(InputError, match="give one row of each"):
        fit_decorrelation(np.ones((3, 2)), np.ones((4, 1)))
    with pytest.raises(InputError, match="give the same columns"):
        decorrelated(fit_decorrelation(np.eye(3), np.ones((3, 1))), np.eye(3)[:, :2], np.ones((3, 1)))
    with pytest.raises(InputError, match="amount"):
        decorrelated(fit_decorrelation(np.eye(3), np.ones((3, 1))), np.eye(3), np.ones((3, 1)), 2.0)
    with pytest.raises(InputError, match="group 2 has no rows"):
        fit_repair(np.eye(3), np.array([0, 1, 1]), 3)
    with pytest.raises(InputError, match="fitted to 3 features"):
        repaired(fit_repair(np.eye(3), np.array([0, 1, 1]), 2), np.ones((2, 2)), np.array([0, 1]))


def test_an_unknown_group_is_not_repaired_as_another_under_jit():
    x, group = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32), np.arange(12) % 2
    fitted = fit_repair(x, group, 2, levels=25)
    for unknown in (-1, 2):
        found = jax.jit(lambda g: repaired(fitted, x, g))(np.where(np.arange(12) == 5, unknown, group))
        assert np.flatnonzero(np.isnan(np.asarray(found)).any(1)).tolist() == [5]


def test_a_negative_weight_gives_no_repair_under_jit():
    x, group = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32), np.arange(12) % 2
    fit = jax.jit(lambda w: fit_repair(x, group, 2, weights=w, levels=25))
    weights = np.ones(12, np.float32)
    assert np.isfinite(fit(weights).quantiles).all()
    weights[3] = -1
    assert np.isnan(fit(weights).quantiles).all()
