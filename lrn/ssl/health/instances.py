"""What compares the views of an example: alignment, and the variance between and within examples."""

from __future__ import annotations

import jax.numpy as jnp

from lrn.ssl.health import _input
from lrn.ssl.similarity import unit
from lrn.types import Array

_ROUNDING = 1e-12  # a variance below this share of the mean square is rounding


def alignment(z: Array) -> Array:
    """The mean squared distance of unit vectors of two views (Wang and Isola 2020, with alpha 2).

    It is 0 where all views of an example have one direction, 2 for independent directions, and at most 4.

    Args:
        z: embeddings [n, views, dim], with 2 examples and 2 views or more; all pairs of views count.

    Raises:
        InputError: the embeddings have a wrong form.
    """
    # Half the mean squared distance over pairs is the unbiased variance, summed over dimensions.
    return 2 * jnp.mean(jnp.sum(jnp.var(unit(_input.views(z)), axis=1, ddof=1), axis=-1))


def variance_ratio(z: Array) -> Array:
    """The variance between examples over that within examples: F of the one-way analysis of variance.

    It is ``views * variance of the examples' means / mean variance of the views of an example``, each summed
    over dimensions and unbiased. It is 1 in expectation where embeddings tell nothing of the example, grows
    without a limit as views of an example agree, and does not change with the scale of z. It is below 1 where
    all embeddings are one constant, whose variances are rounding.

    Args:
        z: embeddings [n, views, dim], with 2 examples and 2 views or more.

    Raises:
        InputError: the embeddings have a wrong form.
    """
    z = _input.views(z)
    between = jnp.sum(jnp.var(jnp.mean(z, axis=1), axis=0, ddof=1))
    within = jnp.mean(jnp.sum(jnp.var(z, axis=1, ddof=1), axis=-1))
    square = jnp.mean(jnp.sum(jnp.square(z), axis=-1))
    noise = within + _ROUNDING * square
    none = noise <= 0  # false for NaN
    return jnp.where(none, 0.0, z.shape[1] * between / jnp.where(none, 1.0, noise))
