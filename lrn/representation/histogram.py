"""Mutual information of binned codes and factors, the base of MIG and modularity."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import nan_where
from lrn.representation import factors as given
from lrn.types import Array

BINS = 20  # of disentanglement_lib


def mutual_information(codes: Any, factors: Any, bins: int = BINS, sizes: Any = None) -> Array:
    """The mutual information [dim, factors] of each code, cut into bins of one width, and each factor.

    Values are in nats; they are the plug-in estimate, which is biased upward by about
    ``(bins - 1) (size - 1) / (2 n)``.

    Args:
        codes: floats [n, dim].
        factors: whole numbers [n, factors].
        bins: the number of bins between a code's least and largest value.
        sizes: the number of values of each factor, needed where the factors are traced.

    Raises:
        InputError: codes, factors or bins are wrong.
    """
    check.integer("bins", bins, 2)
    rows, sizes = given.rows(codes, factors, sizes)
    return _of_rows(rows, sizes, bins)


@functools.partial(jax.jit, static_argnames=("sizes", "bins"))
def _of_rows(rows: given.Rows, sizes: given.Sizes, bins: int) -> Array:
    return nan_where(rows.bad, information(rows.codes, rows.factors, sizes, bins))


def information(codes: Array, index: Array, sizes: given.Sizes, bins: int = BINS) -> Array:
    """`mutual_information` of checked codes [n, dim] and indices [n, factors]."""
    n, dim = codes.shape
    binned = bin_index(codes, bins).T
    of_codes = (binned[:, None] == jnp.arange(bins)[None, :, None]).astype(jnp.float32).reshape(-1, n)
    of_factors = one_hot(index, sizes)
    # Counts below 2^24 are exact in float32; products of zeros and ones are exact at any precision.
    table = jax.lax.dot_general(of_codes, of_factors, (((1,), (1,)), ((), ())), precision="highest")
    table = table.reshape(dim, bins, -1)
    return jnp.stack([_information(block, n) for block in given.blocks(table, sizes, axis=2)], axis=1)


def entropy(index: Array, sizes: given.Sizes) -> Array:
    """The entropy [factors] in nats of each factor's values among the rows."""
    return jnp.stack([_entropy(given.counts(index[:, j], size)) for j, size in enumerate(sizes)])


def bin_index(x: Array, bins: int) -> Array:
    """The bin in [0, bins) of each entry of x [n, dim], of ``np.histogram``'s edges for each column."""
    low, high = jnp.min(x, axis=0), jnp.max(x, axis=0)
    step = (high - low) / bins
    edges = jnp.arange(1, bins, dtype=x.dtype)[:, None] * step[None] + low[None]
    return jnp.sum(x[:, None] >= edges[None], axis=1, dtype=jnp.int32)


def one_hot(index: Array, sizes: given.Sizes) -> Array:
    """Zeros and ones float32 [sum of sizes, n]: for each factor a row for each of its values."""
    found = [index[:, j][None] == jnp.arange(size)[:, None] for j, size in enumerate(sizes)]
    return jnp.concatenate(found).astype(jnp.float32)


def _information(table: Array, n: int) -> Array:
    """The mutual information [dim] of tables of counts [dim, bins, size]."""
    independent = jnp.sum(table, axis=2, keepdims=True) * jnp.sum(table, axis=1, keepdims=True)
    ratio = jnp.where(table > 0, table * n / jnp.where(table > 0, independent, 1), 1.0)
    return jnp.maximum(jnp.sum(table * jnp.log(ratio), axis=(1, 2)) / n, 0.0)


def _entropy(table: Array) -> Array:
    share = table / jnp.sum(table)
    return -jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1)), 0.0))
