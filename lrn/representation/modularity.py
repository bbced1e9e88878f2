"""Modularity: does each code know one factor only? (Ridgeway and Mozer 2018, F-statistic loss, section 3)."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import nan_where
from lrn.representation import factors as given
from lrn.representation.histogram import BINS, information
from lrn.types import Array


def modularity(codes: Any, factors: Any, bins: int = BINS, sizes: Any = None) -> Array:
    """The mean over codes of ``1 - sum_{f not top} I(code; f)^2 / (I(code; top)^2 (factors - 1))``, scalar.

    It is 1 where each code knows one factor, also where many codes know the same one. Codes that know little
    score high by chance, and codes that know nothing count as 0. The definition and the binning are those of
    disentanglement_lib.

    Args:
        codes: floats [n, dim].
        factors: whole numbers [n, factors], two factors or more.
        bins: the number of bins between a code's least and largest value.
        sizes: the number of values of each factor, needed where the factors are traced.

    Raises:
        InputError: codes, factors or bins are wrong.
    """
    check.integer("bins", bins, 2)
    rows, sizes = given.rows(codes, factors, sizes)
    given.several("modularity", len(sizes), "factors")
    return _of_rows(rows, sizes, bins)


@functools.partial(jax.jit, static_argnames=("sizes", "bins"))
def _of_rows(rows: given.Rows, sizes: given.Sizes, bins: int) -> Array:
    return nan_where(rows.bad, of_information(information(rows.codes, rows.factors, sizes, bins)))


def of_information(table: Array) -> Array:
    """The modularity of mutual information [dim, factors]."""
    square = jnp.square(table)
    top = jnp.max(square, axis=1)
    rest = (jnp.sum(square, axis=1) - top) / (jnp.where(top > 0, top, 1.0) * (table.shape[1] - 1))
    return jnp.mean(jnp.where(top > 0, 1 - rest, 0.0))
