"""Canonical correlation analysis: what two linear views have in common (Hotelling 1936)."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import nan_where, product
from lrn.stats.roots import roots
from lrn.types import Array


class Canonical(NamedTuple):
    """Canonical directions: codes are ``(x - mean_x) @ of_x`` and ``(y - mean_y) @ of_y``, with variance 1.

    of_x: [p, k], of_y: [q, k]. mean_x: [p], mean_y: [q]. correlations: [k], falling.
    """

    of_x: Array
    of_y: Array
    mean_x: Array
    mean_y: Array
    correlations: Array

    def codes(self, x: Array) -> Array:
        """The codes [n, k] of the first view [n, p]."""
        return product(x - self.mean_x[None], self.of_x)

    def codes_y(self, y: Array) -> Array:
        """The codes [n, k] of the second view [n, q]."""
        return product(y - self.mean_y[None], self.of_y)


def canonical_correlations(x: Array, y: Array, ridge: ArrayLike = 0.0) -> Canonical:
    """The directions of the largest correlations, one after another.

    Of shared sources with different correlations between the views, linear mixing is undone up to sign, even
    where the sources are Gaussian: the second view is the side information. Sources with equal correlations
    stay mixed.

    Args:
        x: floats [n, p]. y: floats [n, q], row by row of the same example.
        ridge: is added to the variances of each view, as a share of their mean; 0 or more.

    Returns:
        The directions; NaN where a view has a linear combination without variance and the ridge is 0, or
        where a ridge that cannot be read is negative.

    Raises:
        InputError: the views are not floats [n, p] and [n, q] with more rows than dimensions, or the ridge
            is negative.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[0] != y.shape[0] or x.shape[0] <= max(x.shape[1], y.shape[1]):
        raise check.InputError(
            f"the views must be [n, p] and [n, q] with more rows than dimensions, got {x.shape} and "
            f"{y.shape}."
        )
    if not (jnp.issubdtype(x.dtype, jnp.floating) and jnp.issubdtype(y.dtype, jnp.floating)):
        raise check.InputError(f"the views must be floats, got {x.dtype} and {y.dtype}; convert them.")
    check.non_negative("ridge", ridge)
    ridge = jnp.asarray(ridge, x.dtype)
    ridge = nan_where(~(ridge >= 0), ridge)
    mean_x, mean_y = jnp.mean(x, axis=0), jnp.mean(y, axis=0)
    a, b = x - mean_x[None], y - mean_y[None]
    white_a, white_b = (_whitening(part, ridge) for part in (a, b))
    codes_a, codes_b = product(a, white_a), product(b, white_b)
    across = product(codes_a.T, codes_b) / x.shape[0]
    left, correlations, right = jnp.linalg.svd(across, full_matrices=False)
    return Canonical(product(white_a, left), product(white_b, right.T), mean_x, mean_y, correlations)


def _whitening(centered: Array, ridge: Array) -> Array:
    n, dim = centered.shape
    covariance = product(centered.T, centered) / n
    covariance = covariance + ridge * jnp.trace(covariance) / dim * jnp.eye(dim, dtype=centered.dtype)
    return roots(covariance)[1]
