"""Probes against scikit-learn's classifiers, and by hand where scikit-learn leaves the answer open."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from lrn import data
from lrn.check import InputError
from lrn.supervised.probes import LIGHTLY, SOLO_LEARN, knn_votes, linear_probe

MENU = (1e-2, 1.0, 1e-3, 1e-1)


@pytest.fixture(scope="module")
def digits():
    table = data.load("digits", "train")
    x = np.asarray(table["image"], np.float64).reshape(len(table["label"]), -1)
    x = x[:, x.std(axis=0) > 0] + 3.0  # an offset, which standardization removes
    return x, np.asarray(table["label"])


def of_sklearn(x, y, c) -> Any:
    return LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(x, y)


def objective(logits, weight, y, l2):
    """The mean cross-entropy plus the penalty, in float64."""
    return -plain.log_softmax(logits)[np.arange(len(y)), y].mean() + 0.5 * l2 * np.square(weight).sum()


@pytest.mark.parametrize("classes", [2, 10])
def test_linear_probe_is_logistic_regression(digits, classes):
    x, y = digits
    x, y = x[y < classes], y[y < classes]
    n = 160
    train, validation = (x[:n], y[:n]), (x[n : n + 120], y[n : n + 120])
    probe = linear_probe(*train, *validation, classes, l2=MENU)
    scaler: Any = StandardScaler().fit(train[0])
    twice = 2 if classes == 2 else 1  # scikit-learn has one weight vector for two classes
    ordered = sorted(MENU, reverse=True)
    z, z_validation = scaler.transform(train[0]), scaler.transform(validation[0])
    models = [of_sklearn(z, train[1], twice / (l2 * n)) for l2 in ordered]
    scores = [m.score(z_validation, validation[1]) for m in models]
    np.testing.assert_allclose(probe.l2, ordered, rtol=1e-6)
    np.testing.assert_allclose(probe.accuracy, scores, atol=1e-6)
    assert int(probe.chosen) == int(np.argmax(scores))
    assert np.all(probe.gradient_norm <= 1e-6)
    np.testing.assert_allclose(probe.mean, scaler.mean_, rtol=1e-5)
    np.testing.assert_allclose(probe.std, scaler.scale_, rtol=1e-4)
    l2, model = ordered[int(probe.chosen)], models[int(probe.chosen)]
    weight, bias = model.coef_.T, model.intercept_
    if classes == 2:
        weight, bias = (np.concatenate([-v, v], axis=-1) / 2 for v in (weight, bias))
    np.testing.assert_allclose(probe.weight, weight, atol=1e-2)
    p = jax.nn.softmax(probe.logits(validation[0].astype(np.float32)))
    np.testing.assert_allclose(p, model.predict_proba(z_validation), atol=2e-3)
    # The objective is flat in the bias, so the test compares objectives, which agree up to rounding.
    ours = objective(z @ plain.numbers(probe.weight) + plain.numbers(probe.bias), probe.weight, train[1], l2)
    assert ours == pytest.approx(objective(z @ weight + bias, weight, train[1], l2), rel=1e-5)


def blobs(n=60, dim=4, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return (rng.normal(size=(classes, dim))[y] * 3 + rng.normal(size=(n, dim))).astype(np.float32), y


def test_validation_data_neither_standardizes_nor_fits():
    """Other validation data does not change any fit, and a constant feature does no harm."""
    x, y = blobs()
    x[:, 2] = 7.0
    one = linear_probe(x, y, x, y, 3, l2=(0.1, 0.01))
    other = linear_probe(x, y, 5 * x[::-1] + 2, y, 3, l2=(0.1, 0.01))
    for name in ("mean", "std", "gradient_norm"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert not np.array_equal(one.accuracy, other.accuracy)
    assert one.std[2] == 1
    np.testing.assert_allclose(one.weight[2], 0, atol=1e-6)
    assert np.isfinite(one.logits(x)).all()


def test_of_equal_accuracies_the_largest_penalty_is_taken():
    _, y = blobs()
    x = np.eye(4, dtype=np.float32)[y]
    probe = linear_probe(x, y, x, y, 3, l2=(0.01, 0.1))
    np.testing.assert_array_equal(probe.accuracy, 1.0)
    assert probe.l2[probe.chosen] == np.float32(0.1)
    assert bool(probe.at_edge)


def test_linear_probe_under_jit():
    x, y = blobs()
    eager = linear_probe(x, y, x, y, 3, l2=(0.1, 0.01))
    traced = jax.jit(lambda x, y: linear_probe(x, y, x, y, 3, l2=(0.1, 0.01)))(x, y)
    np.testing.assert_allclose(traced.weight, eager.weight, atol=1e-4)


@pytest.mark.parametrize(("weights", "k"), [("exponential", 20), ("majority", 200), ("majority", 1)])
@pytest.mark.parametrize("chunk", [64, 10_000])
def test_knn_is_that_of_scikit_learn(digits, weights, k, chunk):
    x, y = digits
    x = x - x.mean(axis=0)  # so that similarities differ
    votes = knn_votes(x[:700], y[:700], x[700:900], 10, k=k, weights=weights, chunk=chunk)
    by_distance: Any = (lambda d: np.exp((1 - d) / 0.07)) if weights == "exponential" else "uniform"
    model = KNeighborsClassifier(k, weights=by_distance, algorithm="brute", metric="cosine")
    expected = model.fit(x[:700], y[:700]).predict_proba(x[700:900])
    np.testing.assert_allclose(votes, expected, atol=1e-3 if weights == "exponential" else 1e-6)
    np.testing.assert_array_equal(votes.argmax(1), expected.argmax(1))
    if weights == "majority":  # equal counts give exactly equal similarities
        counts = np.rint(np.asarray(votes) * k)
        same = (counts[:, :, None] == counts[:, None]) == (votes[:, :, None] == votes[:, None])
        assert same.all()


@pytest.mark.parametrize(("setting", "k", "temperature"), [(LIGHTLY, 200, 0.1), (SOLO_LEARN, 20, 0.07)])
def test_published_settings_of_knn_are_those_of_scikit_learn(digits, setting, k, temperature):
    x, y = digits
    x = x - x.mean(axis=0)
    weigh: Any = lambda d: np.exp((1 - d) / temperature)  # noqa: E731
    model = KNeighborsClassifier(k, weights=weigh, algorithm="brute", metric="cosine")
    expected = model.fit(x[:700], y[:700]).predict_proba(x[700:800])
    np.testing.assert_allclose(knn_votes(x[:700], y[:700], x[700:800], 10, **setting), expected, atol=1e-3)


def test_ties_of_knn():
    bank = np.eye(3, dtype=np.float32)[[0, 0, 1, 0]] * np.array([[1.0], [2.0], [1.0], [8.0]], np.float32)
    query = np.array([[3.0, 0.0, 0.0], [0.0, 0.0, 5.0], [0.0, 0.0, 0.0]], np.float32)
    labels = np.array([2, 1, 0, 0])
    # Of three equally similar examples the first two are neighbors; each class has one vote, and 1 < 2.
    votes = knn_votes(bank, labels, query[:1], 3, k=2, weights="majority")
    np.testing.assert_allclose(votes, [[0, 0.5, 0.5]])
    assert int(votes.argmax(1)[0]) == 1
    np.testing.assert_allclose(knn_votes(bank, labels, query[:1], 3, k=1), [[0, 0, 1]])
    # All similarities to the zero vector are zero: the first three examples win, with equal weights.
    third = np.full((2, 3), 1 / 3)
    np.testing.assert_allclose(knn_votes(bank, labels, query[1:], 3, k=3), third, rtol=1e-6)


def test_the_scale_of_features_does_not_matter_nor_does_a_small_temperature():
    x, y = blobs()
    expected = knn_votes(x[:40], y[:40], x[40:], 3, k=5)
    for scale in (1e-20, 1e25):
        np.testing.assert_allclose(
            knn_votes(x[:40] * np.float32(scale), y[:40], x[40:], 3, k=5), expected, atol=1e-4
        )
    cold = knn_votes(x[:40], y[:40], x[40:], 3, k=5, temperature=1e-7)
    np.testing.assert_allclose(cold, knn_votes(x[:40], y[:40], x[40:], 3, k=1), atol=1e-6)


def test_knn_under_jit_and_vmap():
    x, y = blobs()
    run = lambda t, q: knn_votes(x[:40], y[:40], q, 3, k=5, temperature=t, chunk=8)  # noqa: E731
    temperatures = jnp.array([0.05, 0.5])
    together = jax.jit(jax.vmap(run, in_axes=(0, None)))(temperatures, x[40:])
    for i, t in enumerate(temperatures):
        np.testing.assert_allclose(together[i], run(float(t), x[40:]), atol=1e-5)


@pytest.mark.parametrize("weights", ["exponential", "majority"])
def test_wrong_values_under_jit_make_the_votes_of_knn_nan(weights):
    x, y = blobs()
    votes = jax.jit(lambda x, y, q, t: knn_votes(x, y, q, 3, k=5, weights=weights, temperature=t))
    right = votes(x[:40], y[:40], x[40:], 0.1)
    np.testing.assert_allclose(right.sum(1), 1, atol=1e-5)
    for label in (-1, 3):
        assert np.isnan(votes(x[:40], jnp.full(40, label), x[40:], 0.1)).all()
    broken = votes(x[:40], y[:40], jnp.asarray(x[40:]).at[1].set(jnp.nan), 0.1)
    assert np.isnan(broken).all(1).tolist() == [i == 1 for i in range(len(broken))]
    assert np.isnan(votes(jnp.asarray(x[:40]).at[3].set(jnp.nan), y[:40], x[40:], 0.1)).all()
    if weights == "exponential":
        for temperature in (0.0, -0.1):
            assert np.isnan(votes(x[:40], y[:40], x[40:], temperature)).all()


X, Y = blobs()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": X[:, None]}, r"x_train must be floats \[n, dim\]"),
        ({"x_train": X.astype(int)}, r"x_train must be floats \[n, dim\]"),
        ({"x_train": X[:0], "y_train": Y[:0]}, r"x_train must be floats \[n, dim\], not empty"),
        ({"x_train": np.where(X > 1, np.nan, X)}, "x_train holds values that are not finite"),
        ({"x_validation": X[:, :2]}, "x_validation must have 4 features"),
        ({"y_train": Y[:5]}, r"y_train must be integer labels of shape \[60\]"),
        ({"y_train": Y + 0.5}, "y_train must be integer labels"),
        ({"y_validation": Y + 1}, "y_validation must lie between 0 and 2, got 1 to 3"),
        ({"classes": 1}, "classes must be at least 2"),
        ({"l2": ()}, "l2 must hold at least one penalty"),
        ({"l2": (0.1, 0.0)}, "every penalty of l2 must be a finite number above 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"tolerance": 0.0}, "tolerance must be a finite number above 0"),
    ],
)
def test_bad_input_of_the_linear_probe(change, message):
    given = {"x_train": X, "y_train": Y, "x_validation": X, "y_validation": Y, "classes": 3, **change}
    with pytest.raises(InputError, match=message):
        linear_probe(**given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X[:, :3]}, "x must have 4 features"),
        ({"x": np.full((2, 4), np.inf, np.float32)}, "x holds values that are not finite"),
        ({"y_train": Y - 1}, "y_train must lie between 0 and 2, got -1 to 1"),
        ({"k": 61}, "k must be at most the 60 training examples, got 61"),
        ({"k": 0}, "k must be at least 1"),
        ({"weights": "uniform"}, "weights 'uniform' is not known"),
        ({"temperature": 0.0}, "temperature must be a finite number above 0"),
        ({"chunk": 0}, "chunk must be at least 1"),
    ],
)
def test_bad_input_of_knn(change, message):
    given = {"x_train": X, "y_train": Y, "x": X, "classes": 3, **change}
    with pytest.raises(InputError, match=message):
        knn_votes(**given)
