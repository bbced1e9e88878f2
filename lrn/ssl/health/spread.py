"""How far embeddings spread: standard deviations and uniformity."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn.ssl.alignment_uniformity import uniformity as of_rows
from lrn.ssl.health import _input
from lrn.ssl.similarity import unit
from lrn.types import Array

_TINY = 1e-24  # below it a variance counts as zero, and its square root has a finite gradient


def std(z: Array) -> Array:
    """The standard deviation over examples, averaged over dimensions, in the units of the embeddings.

    Args:
        z: embeddings [n, dim], n of 2 or more.

    Raises:
        InputError: the embeddings have a wrong form.
    """
    return _mean_std(_input.rows(z))


def scaled_std(z: Array) -> Array:
    """The standard deviation of the unit vectors, times sqrt(dim) (Chen and He 2021, SimSiam, figure 2).

    It is near 1 for vectors that are uniform on the sphere, and 0 where all embeddings have one direction.

    Args:
        z: embeddings [n, dim], n of 2 or more.

    Raises:
        InputError: the embeddings have a wrong form.
    """
    return math.sqrt(z.shape[-1]) * _mean_std(unit(_input.rows(z)))


def uniformity(z: Array, t: ArrayLike = 2.0) -> Array:
    """The log of the mean of exp(-t d^2) over pairs, d the distance of unit vectors (Wang and Isola 2020).

    It is 0 where all embeddings have one direction, and lower the more uniform they are, down to about
    -2 t + 2 t^2 / dim; it is never below -4 t. Memory is O(n^2).

    Args:
        z: embeddings [n, dim], n of 2 or more.
        t: the sharpness of the kernel, above 0; may be traced.

    Raises:
        InputError: the embeddings have a wrong form, or t is not positive.
    """
    return of_rows(_input.rows(z), t)


def _mean_std(z: Array) -> Array:
    variance = jnp.var(z, axis=0, ddof=1)
    none = variance <= _TINY
    return jnp.mean(jnp.where(none, 0.0, jnp.sqrt(jnp.where(none, 1.0, variance))))
