"""Least squares and level 3 against numpy, and their invariance under the additive model."""

import jax
import numpy as np
import pytest

from lrn.check import InputError
from lrn.fair.counterfactual_regression import additive_prediction, fit_additive, least_squares, linear

RNG = np.random.default_rng(0)
N = 80
A = RNG.integers(0, 2, (N, 2)).astype(float)
X = RNG.normal(size=(N, 3)) + A @ RNG.normal(size=(2, 3))
Y = X @ np.array([1.0, -2.0, 0.5]) + A[:, 0] + RNG.normal(size=N)
WEIGHTS = RNG.integers(0, 3, N).astype(float)
SQUARES = jax.jit(lambda x, y, w: (model := least_squares(x, y, w), linear(model, x)))
THIRD = jax.jit(
    lambda x, a, y, w, other, b: (
        additive_prediction(fit := fit_additive(x, a, y, w), x, a),
        additive_prediction(fit, other, b),
        fit.shift.slope,
    )
)


def numpy_squares(x, y, w):
    x1 = np.column_stack([x, np.ones(len(x))])
    root = np.sqrt(w)
    return np.linalg.lstsq(x1 * root[:, None], y * root, rcond=None)[0]


def test_least_squares_is_numpys():
    wanted = numpy_squares(X, Y, WEIGHTS)
    with jax.enable_x64(True):
        model, fitted = SQUARES(X, Y, WEIGHTS)
        np.testing.assert_allclose([*model.coef, model.intercept], wanted, atol=1e-10)
        np.testing.assert_allclose(fitted, X @ wanted[:3] + wanted[3], atol=1e-10)
        order = RNG.permutation(N)
        np.testing.assert_allclose(
            SQUARES(X[order], Y[order], WEIGHTS[order])[0].coef, wanted[:3], atol=1e-10
        )
    # Features of very different scales, and a constant one, in single precision.
    scaled = X * np.array([1e4, 1e-3, 1]) + np.array([1e4, 0, 0])
    scaled[:, 2] = 7
    model, fitted = SQUARES(scaled, Y, WEIGHTS)
    wanted = numpy_squares(scaled[:, :2], Y, WEIGHTS)
    np.testing.assert_allclose(fitted, scaled[:, :2] @ wanted[:2] + wanted[2], atol=2e-3)
    assert float(model.coef[2]) == 0
    assert np.isnan(jax.tree.leaves(SQUARES(X, Y, -WEIGHTS)[0])[0]).all()


def test_level_three_is_a_regression_on_residuals_and_is_the_same_in_both_worlds():
    changed = A.copy()
    changed[:, 0] = 1 - A[:, 0]
    root = np.sqrt(WEIGHTS)[:, None]
    a1 = np.column_stack([A, np.ones(N)])
    slope = np.linalg.lstsq(a1 * root, X * root, rcond=None)[0]
    residual = X - a1 @ slope
    wanted = numpy_squares(residual, Y, WEIGHTS)
    other = X + (changed - A) @ slope[:2]
    with jax.enable_x64(True):
        here, there, found = THIRD(X, A, Y, WEIGHTS, other, changed)
    np.testing.assert_allclose(found, slope[:2], atol=1e-10)
    np.testing.assert_allclose(here, residual @ wanted[:3] + wanted[3], atol=1e-10)
    np.testing.assert_allclose(there, here, atol=1e-10)
    unaware = X @ numpy_squares(X, Y, WEIGHTS)[:3]
    assert np.abs(other @ numpy_squares(X, Y, WEIGHTS)[:3] - unaware).min() > 1e-3


def test_bad_input():
    model = jax.device_get(SQUARES(X, Y, WEIGHTS)[0])
    with pytest.raises(InputError, match="fitted to 3 features, got 2"):
        linear(model, X[:, :2])
    with pytest.raises(InputError, match="y must be numbers, one for each of the 80"):
        least_squares(X, Y[:5])
    with pytest.raises(InputError, match="y must be finite"):
        least_squares(X, Y * np.nan)
