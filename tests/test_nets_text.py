"""Bags of n-grams: invariance to order without n-grams, empty texts, gradients, the views, bad input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrn.check import InputError
from lrn.nets.text import ngram_bag, ngram_buckets
from lrn.ssl.text_views import dropped_tokens

X = jnp.asarray([[3, 1, 2, 0], [1, 2, 3, 0], [0, 0, 0, 0]], jnp.int32)


@pytest.mark.parametrize("ngrams", [1, 2])
def test_order_has_an_influence_with_ngrams_alone(ngrams):
    net = ngram_bag(5, 4, width=8, hidden=(6,), ngrams=ngrams)
    params, state = net.init(jax.random.key(0), X)
    out = jax.jit(lambda params, x: net.apply(params, state, x)[0])
    y = out(params, X)
    assert y.shape == (3, 5)
    assert np.allclose(y[0], y[1], atol=1e-6) == (ngrams == 1)
    np.testing.assert_allclose(out(params, X.at[0, 3].set(9)), y, atol=1e-6)  # an id without a token
    gradient = jax.jit(jax.grad(lambda params: jnp.sum(jnp.square(out(params, X[2:])))))(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    if ngrams == 1:
        table = params["tokens"]["embedding"]
        hidden = (table[1] + table[2] + table[3]) / np.sqrt(3) @ params["dense_0"]["kernel"]
        expected = jnp.maximum(hidden, 0) @ params["head"]["kernel"]  # biases begin at 0
        np.testing.assert_allclose(y[0], expected, rtol=1e-4, atol=1e-6)


def test_buckets_are_those_of_the_same_ngrams():
    x = jnp.asarray([[1, 2, 1, 2], [2, 1, 2, 0]], jnp.int32)
    ids, whole = ngram_buckets(x, x > 0, 2, 1 << 20)
    assert ids[0, 0] == ids[0, 2] == ids[1, 1]
    assert ids[0, 1] == ids[1, 0] != ids[0, 0]
    np.testing.assert_array_equal(whole, [[True, True, True], [True, True, False]])
    assert ngram_buckets(x, x > 0, 5, 8)[0].shape == (2, 0)


def test_a_view_leaves_tokens_out():
    x = jnp.full((50, 40), 7, jnp.int32)
    view = jax.jit(lambda key, rate: dropped_tokens(rate)(key, x))
    kept = view(jax.random.key(0), 0.3)
    assert set(np.unique(kept)) == {0, 7}
    assert np.mean(np.asarray(kept) == 7) == pytest.approx(0.7, abs=0.04)
    np.testing.assert_array_equal(view(jax.random.key(0), 0.0), x)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: ngram_bag(5, 1), "tokens"),
        (lambda: ngram_bag(5, 4, ngrams=0), "ngrams"),
        (lambda: ngram_bag(5, 4).init(jax.random.key(0), jnp.ones((2, 3))), "token ids"),
        (lambda: dropped_tokens(1.5), "rate"),
        (lambda: dropped_tokens(0.5)(jax.random.key(0), jnp.ones((2, 3))), "token ids"),
    ],
)
def test_wrong_input_is_refused(call, why):
    with pytest.raises((InputError, ValueError), match=why):
        call()
