"""The mutual information gap (Chen et al. 2018, "Isolating sources of disentanglement in VAEs")."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import nan_where
from lrn.representation import factors as given
from lrn.representation.histogram import BINS, entropy, information
from lrn.types import Array


def mig(codes: Any, factors: Any, bins: int = BINS, sizes: Any = None) -> Array:
    """The mean over factors of ``(I(top code; factor) - I(second code; factor)) / H(factor)``, scalar.

    It is 0 where two codes know each factor equally well, as after a rotation, and below 1 even for perfect
    codes of a factor that has more values than there are bins. Codes are cut into ``bins`` bins of one
    width, as in disentanglement_lib.

    Args:
        codes: floats [n, dim] with dim of 2 or more.
        factors: whole numbers [n, factors].
        bins: the number of bins between a code's least and largest value.
        sizes: the number of values of each factor, needed where the factors are traced.

    Raises:
        InputError: codes, factors or bins are wrong.
    """
    check.integer("bins", bins, 2)
    rows, sizes = given.rows(codes, factors, sizes)
    given.several("the mutual information gap", rows.codes.shape[1], "codes")
    return _of_rows(rows, sizes, bins)


@functools.partial(jax.jit, static_argnames=("sizes", "bins"))
def _of_rows(rows: given.Rows, sizes: given.Sizes, bins: int) -> Array:
    table = information(rows.codes, rows.factors, sizes, bins)
    return nan_where(rows.bad, gap(table, entropy(rows.factors, sizes)))


def gap(table: Array, entropies: Array) -> Array:
    """The gap of mutual information [dim, factors] and of the factors' entropies [factors]."""
    top = jax.lax.top_k(table.T, 2)[0]
    return jnp.mean((top[:, 0] - top[:, 1]) / entropies)
