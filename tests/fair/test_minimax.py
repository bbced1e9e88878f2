"""Minimax group fairness against a linear program over a finite class of models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from scipy.optimize import linprog
from sklearn.linear_model import LogisticRegression

from lrn.check import InputError
from lrn.fair.logistic import LogisticConfig, logistic
from lrn.fair.minimax import MinimaxConfig, expected_decision, minimax, minimax_on_host
from lrn.fair.model import from_sklearn
from tests.fair.references.peer_data import data

X, Y, GROUP = data(300, 4, 3, 4)
X, W = X.astype(np.float32), np.random.default_rng(1).integers(0, 3, 300).astype(np.float32)
# Six half-planes, of which a mixture is .05 better in its worst group than each alone.
PLANES = np.round(np.random.default_rng(34).normal(size=(6, 5)), 1).astype(np.float32)


def decide_by(plane, x):
    return (jnp.dot(x, plane[:-1]) + plane[-1] > 0).astype(x.dtype)


def finite(x, y, weights):
    """The best of the six classifiers: an exact best response."""
    decisions = jax.vmap(lambda plane: decide_by(plane, x))(PLANES)
    best = jnp.argmin(jnp.sum(weights[None] * jnp.abs(decisions - y[None]), axis=1))
    return Partial(decide_by, jnp.asarray(PLANES)[best])


def errors_of(decision, weights=W):
    wrong = np.abs(decision - Y)
    return np.array([np.average(wrong[g == GROUP], weights=weights[g == GROUP]) for g in range(3)])


CLASS = np.array([errors_of(np.asarray(X @ p[:-1] + p[-1] > 0, float)) for p in PLANES])


def program():
    """The least worst error of mixtures of the six."""
    count = len(PLANES)
    top = np.concatenate([CLASS.T, -np.ones((3, 1))], axis=1)
    whole = np.append(np.ones(count), 0)[None]
    return linprog(np.append(np.zeros(count), 1), top, np.zeros(3), whole, [1], method="highs").fun


@pytest.fixture(scope="module")
def played():
    def run(config, w):
        found = minimax(finite, X, Y, GROUP, 3, config, w)
        return found, expected_decision(found, X)

    return jax.jit(run)


@pytest.mark.parametrize("best", [False, True])
def test_the_worst_error_is_that_of_the_linear_program(played, best):
    wanted = program()
    assert CLASS.max(axis=1).min() > wanted + 0.01  # no classifier alone is as good as a mixture
    found, p = played(MinimaxConfig(rounds=400, rate=2.0, best=best), W)
    ours = errors_of(np.asarray(p, np.float64))
    np.testing.assert_allclose(found.errors, ours, atol=1e-5)
    assert float(found.worst) == pytest.approx(ours.max(), abs=1e-5)
    assert float(found.worst) == pytest.approx(wanted, abs=1e-4 if best else 0.015)
    assert found.worst > wanted - 1e-5
    assert found.gap > found.worst - wanted - 1e-5
    assert found.gap < 0.03
    assert float(found.q.sum()) == pytest.approx(1, abs=1e-4)


def test_weights_of_the_groups_and_rounds_by_hand(played):
    found, _ = played(MinimaxConfig(rounds=4, rate=1.5), W)
    weights = np.full(3, 1 / 3)
    mass = np.array([W[g == GROUP].sum() for g in range(3)])
    for t in range(4):
        np.testing.assert_allclose(found.group_weights[t], weights, atol=1e-5)
        rows = W * (weights / mass)[GROUP]
        chosen = np.argmin([np.sum(rows * np.abs((X @ p[:-1] + p[-1] > 0) - Y)) for p in PLANES])
        np.testing.assert_allclose(found.model_errors[t], CLASS[chosen], atol=1e-5)
        weights = weights * np.exp(1.5 / np.sqrt(t + 1) * CLASS[chosen])
        weights = weights / weights.sum()
    mixed = np.asarray(found.model_errors).mean(axis=0)
    bound = np.max(np.sum(np.asarray(found.group_weights) * np.asarray(found.model_errors), axis=1))
    assert float(found.gap) == pytest.approx(mixed.max() - bound, abs=1e-5)


@pytest.mark.slow
def test_logistic_models_under_vmap_and_on_the_host():
    fit = logistic(LogisticConfig(penalty=1.0))

    def one(rate, w):
        config = MinimaxConfig(rounds=8, rate=rate, measure="log_loss")
        found = minimax(fit, X, Y, GROUP, 3, config, w)
        return found._replace(models=None), expected_decision(found, X)

    rates = np.array([0.0001, 4.0], np.float32)
    (found, p) = jax.jit(jax.vmap(one, in_axes=(0, None)))(rates, W)
    assert found.worst[1] < found.worst[0] - 0.005
    host = from_sklearn(lambda: LogisticRegression(C=1.0, tol=1e-8, max_iter=500))
    config = MinimaxConfig(rounds=8, rate=4.0, measure="log_loss")
    again = minimax_on_host(host, X, Y, GROUP, 3, config, W)
    np.testing.assert_allclose(again.group_weights, found.group_weights[1], atol=1e-3)
    np.testing.assert_allclose(again.errors, found.errors[1], atol=1e-3)
    np.testing.assert_allclose(again.gap, found.gap[1], atol=1e-3)
    np.testing.assert_allclose(expected_decision(again, X), p[1], atol=0.13)
    # The log loss, by hand, of the first model: equal weights of the groups.
    mass = np.array([W[g == GROUP].sum() for g in range(3)])
    rows = W * (W.sum() / 3 / mass)[GROUP]
    chance = LogisticRegression(C=1.0, tol=1e-8).fit(X[W > 0], Y[W > 0], rows[W > 0]).predict_proba(X)[:, 1]
    losses = -np.log(np.where(Y == 1, chance, 1 - chance))
    wanted = [np.average(losses[g == GROUP], weights=W[g == GROUP]) for g in range(3)]
    np.testing.assert_allclose(found.model_errors[1, 0], wanted, atol=1e-3)


def test_a_group_without_rows_and_hidden_wrong_values(played):
    config = MinimaxConfig(rounds=4)
    found, _ = played(config, np.where(GROUP == 2, 0, W).astype(np.float32))
    assert np.isnan(found.errors[2])
    assert np.isfinite(found.errors[:2]).all()
    assert np.isfinite(found.worst)
    np.testing.assert_allclose(found.group_weights[0], [0.5, 0.5, 0], atol=1e-6)
    broken, p = played(config, -W)
    assert np.isnan(broken.worst)
    assert np.isnan(broken.errors).all()
    assert np.isnan(p).all()


def test_bad_input():
    with pytest.raises(InputError, match="rounds must be at least 1"):
        MinimaxConfig(rounds=0)
    with pytest.raises(InputError, match="rate must be a finite number above 0"):
        MinimaxConfig(rate=0.0)
    with pytest.raises(InputError, match="measure 'error' is not known"):
        MinimaxConfig(measure="error")
    with pytest.raises(InputError, match="group must lie between 0 and 1"):
        minimax(finite, X, Y, GROUP, 2, MinimaxConfig())
    with pytest.raises(InputError, match="weights are all 0"):
        minimax(finite, X, Y, GROUP, 3, MinimaxConfig(), 0 * W)
