"""Logistic regression against scikit-learn, finite differences and copies of rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from sklearn.linear_model import LogisticRegression

from lrn.check import InputError
from lrn.fair import logistic as logistic_file
from lrn.fair.logistic import Linear, LogisticConfig, fit_logistic, logistic, probability
from tests.fair.references.peer_data import data

X, Y, _ = data(300, 4, 2, 5)
RNG = np.random.default_rng(2)
W = RNG.exponential(size=300)
W[:20] = 0


def fitted(x, y, w, penalty):
    return fit_logistic(x, y, w, LogisticConfig(penalty=penalty, tolerance=1e-9))


def sklearn(y, w, penalty):
    model = LogisticRegression(C=1 / penalty, tol=1e-12, max_iter=1000, solver="newton-cholesky")
    model.fit(X, y, sample_weight=w)
    return np.append(model.coef_[0], model.intercept_)


def flat(model):
    return np.append(np.asarray(model.coef), np.asarray(model.intercept))


def test_equals_scikit_learn_for_weights_labels_and_penalties_under_vmap():
    penalties = np.array([1e-3, 1.0, 50.0])
    labels = np.stack([Y, 1 - Y, (X[:, 0] + W > 1).astype(int)]).astype(float)
    weights = np.stack([W, np.ones(300), W[::-1]])
    with jax.enable_x64(True):
        sweep = jax.jit(jax.vmap(fitted, in_axes=(None, 0, 0, 0)))
        found = sweep(X, labels, weights, penalties)
    for i in range(3):
        wanted = sklearn(labels[i], weights[i], penalties[i])
        np.testing.assert_allclose(np.append(found.coef[i], found.intercept[i]), wanted, atol=1e-6)
        assert abs(wanted).max() > 0.01


def test_float32_gives_the_same_scores():
    run = jax.jit(lambda x: logistic(LogisticConfig(penalty=0.1))(x, Y, W)(x))
    model = LogisticRegression(C=10, tol=1e-10, max_iter=1000).fit(X, Y, sample_weight=W)
    np.testing.assert_allclose(run(X.astype(np.float32)), model.predict_proba(X)[:, 1], atol=1e-5)


def test_weights_are_copies_and_gradients_are_those_of_finite_differences():
    copies = RNG.integers(0, 3, 300)
    with jax.enable_x64(True):
        run = jax.jit(fitted)
        twice = np.repeat(X, copies, axis=0), np.repeat(Y, copies).astype(float)
        again = sklearn(Y, copies.astype(float), 0.5)
        weighted = flat(run(X, Y.astype(float), copies.astype(float), 0.5))
        np.testing.assert_allclose(weighted, flat(fitted(*twice, None, 0.5)), atol=1e-7)
        np.testing.assert_allclose(weighted, again, atol=1e-6)

        def total(w, penalty):
            model = fitted(X, Y, w, penalty)
            return jnp.sum(model.coef * jnp.arange(1.0, 5)) + model.intercept

        by_weight, by_penalty = jax.jit(jax.grad(total, argnums=(0, 1)))(W + 0.1, 0.7)
        value = jax.jit(total)
        move = np.zeros(300)
        move[40] = 1e-4
        slope = (value(W + 0.1 + move, 0.7) - value(W + 0.1 - move, 0.7)) / 2e-4
        assert float(by_weight[40]) == pytest.approx(float(slope), rel=1e-4)
        slope = (value(W + 0.1, 0.7001) - value(W + 0.1, 0.6999)) / 2e-4
        assert float(by_penalty) == pytest.approx(float(slope), rel=1e-4)


def test_separable_and_one_class_data_end():
    run = jax.jit(lambda y: logistic()(X.astype(np.float32), y)(X.astype(np.float32)))
    assert (run(np.zeros(300, np.float32)) < 0.01).all()
    assert (run(np.ones(300, np.float32)) > 0.99).all()
    split = (X[:, 0] > 0.3).astype(np.float32)
    assert ((run(split) > 0.5) == (split == 1)).mean() > 0.97


def test_slopes_within_rounding_do_not_change_the_size_of_a_step():
    """At the minimum slopes are rounding errors in float32; a search for a flat place would go anywhere."""
    with jax.enable_x64(True):
        best = flat(jax.jit(fitted)(X, Y.astype(float), np.ones(300), 1.0)).astype(np.float32)
    best, x = jnp.asarray(best), jnp.asarray(np.append(X, np.ones((300, 1)), axis=1), jnp.float32)
    y, w, ridge = jnp.asarray(Y, jnp.float32), jnp.ones(300), jnp.array([1.0, 1, 1, 1, 0])

    @jax.jit
    @jax.vmap
    def sizes(step):
        z = x @ best
        gradient = (jax.nn.sigmoid(z) - y) @ x + ridge * best
        state = logistic_file._State(best, z, gradient, jnp.eye(5), step, jnp.zeros((), jnp.int32))
        rounding = jnp.finfo(jnp.float32).eps * jnp.sum((jnp.abs(x).T @ w + ridge) * jnp.abs(step))
        search = [
            logistic_file._line_search(y, w, ridge, state, -x @ step, r) for r in (0 * rounding, rounding)
        ]
        return jnp.stack(search)

    careless, found = np.asarray(sizes((1e-8 * RNG.normal(size=(20, 5))).astype(np.float32))).T
    np.testing.assert_array_equal(found, 1)
    assert careless.max() > 4 or careless.min() < 0.25


def test_a_start_changes_the_steps_and_not_the_minimum():
    x = X.astype(np.float32)

    @jax.jit
    def both(start, tolerance):
        fit = logistic(LogisticConfig(tolerance=tolerance))
        cold = fit(x, Y, W)
        return cold, fit(x, Y, W, start=Partial(probability, Linear(*start)))

    for start in ((np.zeros(4, np.float32), np.float32(0)), (np.full(4, 3, np.float32), np.float32(-2))):
        cold, warm = both(start, 1e-6)
        np.testing.assert_allclose(flat(warm.args[0]), flat(cold.args[0]), atol=2e-5)
    # A fit that may stop anywhere stays where it starts.
    _, warm = both(start, 1e3)
    np.testing.assert_array_equal(flat(warm.args[0]), [3, 3, 3, 3, -2])


def test_hidden_wrong_values_give_nan_and_shown_ones_a_sentence():
    run = jax.jit(lambda w: fit_logistic(X, Y, w))
    assert np.isnan(run(np.full(300, -1.0)).coef).all()
    with pytest.raises(InputError, match="weights must be finite"):
        fit_logistic(X, Y, np.full(300, -1.0))
    with pytest.raises(InputError, match="all 0"):
        fit_logistic(X, Y, np.zeros(300))
    with pytest.raises(InputError, match="not finite"):
        fit_logistic(np.full((3, 2), np.nan), np.ones(3))
    with pytest.raises(InputError, match="shape"):
        fit_logistic(X, Y[:5])
    with pytest.raises(InputError, match="between 0 and 1"):
        fit_logistic(X, 2 * Y)
    with pytest.raises(InputError, match="penalty"):
        LogisticConfig(penalty=0.0)
