"""Retrieval against a loop over all orders of tied candidates, and its limits."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.ssl.retrieval import class_retrieval, expected_hits, retrieval


def by_orders(similarity, relevant, most):
    """The mean over all orders of the candidates, each sorted stably by similarity."""
    found, reciprocal, count = np.zeros(most), 0.0, 0
    for order in itertools.permutations(range(len(similarity))):
        ranked = sorted(order, key=lambda i: -similarity[i])
        first = next((place for place, i in enumerate(ranked) if relevant[i]), None)
        count += 1
        if first is not None:
            found += np.arange(most) >= first
            reciprocal += 1 / (first + 1)
    return found / count, reciprocal / count


HITS = jax.jit(jax.vmap(lambda s, chosen: expected_hits(s, chosen, 5), in_axes=(0, None)))


@pytest.mark.parametrize("relevant", [[0, 0, 1, 0, 0, 0], [0, 1, 1, 0, 0, 1], [1] * 6, [0] * 6])
def test_expectations_are_means_over_all_orders(relevant):
    similarities = np.array(
        [[0.1, 0.5, 0.3, 0.3, 0.3, 0.0], [0.2] * 6, [0.9, 0.4, 0.4, 0.4, 0.9, 0.1], [6, 5, 4, 3, 2, 1]],
        np.float32,
    )
    found, reciprocal = HITS(similarities, np.array(relevant, bool))
    for i, similarity in enumerate(similarities.tolist()):
        expected = by_orders(similarity, relevant, 5)
        np.testing.assert_allclose(found[i], expected[0], atol=1e-6)
        np.testing.assert_allclose(reciprocal[i], expected[1], atol=1e-6)


def plainly(a, b, y_a, y_b, ks):
    """Recall and mean reciprocal rank without ties, by sorting."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    right = y_b[np.argsort(-(a @ b.T), axis=1)] == y_a[:, None]
    ranks = right.argmax(1) + 1
    return [np.mean(ranks <= k) for k in ks], np.mean(1 / ranks)


def test_both_directions_of_instances_and_of_classes():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(37, 5)).astype(np.float32)
    b = (a + rng.normal(size=a.shape)).astype(np.float32)
    ks, index, y = (1, 3, 10), np.arange(37), np.arange(37) % 4
    for found, labels in ((retrieval(a, b, ks, chunk=10), index), (class_retrieval(a, b, y, y, ks), y)):
        for hits, (one, other) in zip(found, ((a, b), (b, a))):
            recall, reciprocal = plainly(one, other, labels, labels, ks)
            np.testing.assert_allclose(hits.recall, recall, atol=1e-6)
            np.testing.assert_allclose(hits.reciprocal_rank, reciprocal, atol=1e-6)


def test_a_constant_embedding_has_chance_level():
    rng = np.random.default_rng(1)
    row = rng.normal(size=(1, 7)).astype(np.float32)
    a, b = np.repeat(row, 53, 0), np.repeat(row * 3 + 1, 53, 0)
    hits = retrieval(a, b, (1, 5, 53)).forward
    np.testing.assert_allclose(hits.recall, [1 / 53, 5 / 53, 1], rtol=1e-5)
    np.testing.assert_array_equal(hits.recall, hits.chance)
    np.testing.assert_allclose(hits.reciprocal_rank, np.mean(1 / np.arange(1, 54)), rtol=1e-5)
    random = retrieval(rng.normal(size=(53, 7)), a, (5,))
    np.testing.assert_allclose(random.forward.recall, 5 / 53, rtol=1e-5)


def test_other_numbers_of_candidates_missing_classes_and_nan():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(6, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)
    found = class_retrieval(a, b, np.array([0, 0, 1, 1, 9, 9]), np.array([0, 1, 0, 1]), (4,))
    np.testing.assert_allclose(found.forward.recall, 4 / 6)  # two queries have a class of their own
    np.testing.assert_allclose(found.forward.chance, 4 / 6)
    recall, reciprocal = plainly(b, a, np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1, 9, 9]), (4,))
    np.testing.assert_allclose(found.backward.recall, recall)
    np.testing.assert_allclose(found.backward.reciprocal_rank, reciprocal, rtol=1e-6)
    broken = jax.jit(lambda a: retrieval(a, a, (1,)).forward)(a * np.float32(np.nan))
    assert np.isnan(broken.recall).all()
    assert np.isnan(broken.reciprocal_rank)


A = jnp.ones((5, 3))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: retrieval(A, A, (6,)), "k must be at most the 5 candidates, got 6"),
        (lambda: retrieval(A, A, ()), "at least one number"),
        (lambda: retrieval(A, A, (0,)), "every k must be at least 1"),
        (lambda: retrieval(A, A[:4]), "needs pairs of rows"),
        (lambda: retrieval(A, A[:, :2]), "must agree in dim"),
        (lambda: retrieval(A[:1], A[:1], (1,)), "n of 2 or more"),
        (lambda: retrieval(A * jnp.inf, A), "not finite"),
        (lambda: class_retrieval(A, A, jnp.ones(5), jnp.ones(5, int)), "y_a must be whole numbers"),
    ],
)
def test_bad_input_is_one_sentence(call, said):
    with pytest.raises(InputError, match=said):
        call()
