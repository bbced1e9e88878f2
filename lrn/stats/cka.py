"""Linear centered kernel alignment (Kornblith et al., "Similarity of representations revisited", 2019)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.stats import features
from lrn.types import Array

_TINY = 1e-12


def cka(a: Array, b: Array) -> Array:
    """The similarity of two representations of the same examples, in [0, 1].

    It is ``|A^T B|^2 / (|A^T A| |B^T B|)`` of centered representations in Frobenius norms. It does not change
    under rotations and scalings of either. It is biased upward where there are fewer examples than
    dimensions: independent representations then come near 1. A constant representation gives 0.

    Args:
        a: [n, dim], n of 2 or more. b: [n, other dim].

    Raises:
        InputError: a representation has a wrong form, or they differ in the number of examples.
    """
    a, b = features.rows(a, "the first representation"), features.rows(b, "the second representation")
    if a.shape[0] != b.shape[0]:
        raise check.InputError(
            f"both representations must be of the same examples, got {a.shape[0]} and {b.shape[0]}."
        )
    a, b = _scaled(a), _scaled(b)
    cross, *norms = (_square(x, y) for x, y in ((a, b), (a, a), (b, b)))
    return cross / jnp.sqrt(jnp.maximum(norms[0] * norms[1], _TINY))


def _square(a: Array, b: Array) -> Array:
    """The squared Frobenius norm of ``a^T b``."""
    return jnp.sum(jnp.square(jnp.matmul(a.T, b, precision="highest")))


def _scaled(x: Array) -> Array:
    """Centered, with a squared norm of 1: the fourth powers of other scales could leave the floats."""
    # A power of 2 is an exact scale, after which the squares stay among the floats.
    exponent = jnp.frexp(jax.lax.stop_gradient(jnp.max(jnp.abs(x))))[1]
    x = x * jnp.ldexp(jnp.ones((), x.dtype), -exponent)
    square = jnp.mean(jnp.square(x))
    x = x - jnp.mean(x, axis=0)[None]
    total = jnp.sum(jnp.square(x))
    none = total <= _TINY * x.size * square  # a variance that is the rounding of a constant
    return jnp.where(none, 0.0, x * jax.lax.rsqrt(jnp.where(none, 1.0, total)))
