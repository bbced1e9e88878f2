"""Texts as bags of n-grams: an embedding of each n-gram of tokens, their mean, and an MLP."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from lrn import check
from lrn.nets.bridge import from_flax
from lrn.nets.layers import check_network, dropout, he_normal, lecun_normal
from lrn.types import Array, Net


class NgramBag(nn.Module):
    """The mean embedding of the n-grams of a text, and dense layers."""

    features: int
    tokens: int
    width: int
    hidden: Sequence[int]
    ngrams: int
    buckets: int
    dropout: float

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map token ids [batch, length], 0 where there is no token, to [batch, features]."""
        if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(f"texts must be token ids [batch, length], got {x.dtype} of shape {x.shape}.")
        x = x.astype(jnp.int32)
        known = (x > 0) & (x < self.tokens)
        table = nn.Embed(self.tokens, self.width, name="tokens")
        total = jnp.sum(jnp.where(known[:, :, None], table(jnp.where(known, x, 0)), 0), axis=1)
        count = jnp.sum(known, axis=1)
        if self.ngrams > 1:
            table = nn.Embed(self.buckets, self.width, name="ngrams")
            for n in range(2, self.ngrams + 1):
                ids, whole = ngram_buckets(x, known, n, self.buckets)
                total = total + jnp.sum(jnp.where(whole[:, :, None], table(ids), 0), axis=1)
                count = count + jnp.sum(whole, axis=1)
        y = total / jnp.sqrt(jnp.maximum(count, 1).astype(total.dtype))[:, None]
        for i, width in enumerate(self.hidden):
            y = nn.relu(nn.Dense(width, kernel_init=he_normal, name=f"dense_{i}")(y))
            y = dropout(self, y, self.dropout, train)
        return nn.Dense(self.features, kernel_init=lecun_normal, name="head")(y)


def ngram_buckets(x: Array, known: Array, n: int, buckets: int) -> tuple[Array, Array]:
    """The bucket of each n-gram, and whether all its tokens are known, both [batch, length - n + 1].

    The bucket is a hash of the tokens in their order, so rare n-grams may share a bucket (Weinberger et al.
    2009).
    """
    places = max(0, x.shape[1] - n + 1)
    code = jnp.full((x.shape[0], places), n, jnp.uint32)
    whole = jnp.ones((x.shape[0], places), bool)
    for i in range(n):
        code = (code ^ x[:, i : i + places].astype(jnp.uint32)) * jnp.uint32(16777619)  # FNV-1a by token
        whole &= known[:, i : i + places]
    return ((code ^ (code >> 15)) % buckets).astype(jnp.int32), whole


def ngram_bag(
    features: int,
    tokens: int,
    *,
    width: int = 64,
    hidden: Sequence[int] = (128,),
    ngrams: int = 1,
    buckets: int = 4096,
    dropout: float = 0.0,
) -> Net:
    """An encoder of texts, token ids [batch, length] with 0 where there is no token.

    Each n-gram of 1 to ``ngrams`` tokens has an embedding; their sum over the square root of their number
    passes an MLP. With single tokens the order of the tokens has no influence. Ids outside of the tokens are
    passed over.

    Args:
        features: the number of outputs.
        tokens: the number of token ids, with 0: ids are 0..tokens - 1.
        width: the width of the embeddings.
        hidden: the widths of the hidden layers.
        ngrams: the number of tokens in the longest n-gram, 1 or more.
        buckets: the number of embeddings of n-grams of two tokens or more, which share them by a hash.
        dropout: the probability that a hidden unit is dropped in training, in [0, 1); may be traced.

    Raises:
        ValueError: a width or a number is out of range; from the net: ``x`` is not integers [batch, length].
    """
    check_network(features, dropout, hidden=hidden)
    check.integer("tokens", tokens, 2)
    check.integer("width", width, 1)
    check.integer("ngrams", ngrams, 1)
    check.integer("buckets", buckets, 1)
    return from_flax(NgramBag(features, tokens, width, tuple(hidden), ngrams, buckets, dropout))
