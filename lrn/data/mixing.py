"""Mixing functions of sources with known inverses: linear, a leaky ReLU network, and Moebius maps.

Each is an `lrn.data.gaussians.Bijection` of rows [n, dim]: ``forward`` mixes sources, ``inverse`` recovers
them. Linear mixing of independent non-Gaussian sources can be undone from the mixtures alone (Comon 1994);
nonlinear mixing cannot without side information (Hyvarinen and Pajunen 1999). Moebius maps are conformal:
they turn and scale locally, which keeps many criteria blind to them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero
from lrn.data import gaussians
from lrn.data.gaussians import Bijection, compose
from lrn.types import Array, Key


def linear(key: Key, dim: int, spread: float = 2.0) -> Bijection:
    """A random invertible matrix with singular values log-uniform between 1 / spread and spread, and a shift.

    Raises:
        InputError: ``dim`` is below 1, or ``spread`` below 1.
    """
    return gaussians.affine(key, dim, spread)


def leaky(slope: ArrayLike) -> Bijection:
    """The leaky ReLU: x where x > 0, else slope x.

    Raises:
        InputError: the slope is not above 0.
    """
    check.positive("slope", slope)
    slope = above_zero(slope)
    return Bijection(lambda x: jnp.where(x > 0, x, slope * x), lambda x: jnp.where(x > 0, x, x / slope))


def leaky_mlp(key: Key, dim: int, layers: int = 3, slope: ArrayLike = 0.2, spread: float = 1.5) -> Bijection:
    """A random network with square layers, each an invertible matrix, and leaky ReLUs in between.

    The map is piecewise linear and continuous. With one layer it is linear. The usual generator of nonlinear
    ICA (Hyvarinen and Morioka 2016) is of this kind.

    Args:
        key: the key of the weights.
        dim: the number of sources and of observations.
        layers: the number of matrices.
        slope: of the leaky ReLUs, in (0, 1]; may be traced.
        spread: of each matrix, see `linear`; close to 1 the matrices are rotations.

    Raises:
        InputError: an argument is out of its range.
    """
    check.integer("layers", layers, 1)
    first, *rest = jax.random.split(key, layers)
    mixing = linear(first, dim, spread)
    for each in rest:
        mixing = compose(compose(mixing, leaky(slope)), linear(each, dim, spread))
    return mixing


def moebius(key: Key, dim: int, distance: ArrayLike = 6.0) -> Bijection:
    """A random Moebius map: an inversion at a sphere whose center lies away from the sources, and a
    rotation.

    With u = x - a, where a has the length ``distance``, the map is ``distance^2 u / |u|^2`` turned, which
    keeps angles and, near the origin, lengths. The map is nearly a rotation where the sources' norms are
    small beside the distance. It is singular at a, so sources must stay clear of the distance.

    Args:
        key: the key of the center's direction and of the rotation.
        dim: the dimension, at least 2.
        distance: of the center from the origin, above 0; may be traced.

    Raises:
        InputError: an argument is out of its range.
    """
    check.integer("dim", dim, 2)
    check.positive("distance", distance)
    distance = jnp.asarray(above_zero(distance), jnp.result_type(float))
    center_key, turn_key = jax.random.split(key)
    direction = jax.random.normal(center_key, (dim,))
    center = (distance * direction / jnp.linalg.norm(direction))[None]
    turn = jax.random.orthogonal(turn_key, dim)
    square = jnp.square(distance)

    def inverted(u: Array) -> Array:
        return square * u / jnp.sum(jnp.square(u), axis=1, keepdims=True)

    def forward(x: Array) -> Array:
        return jnp.matmul(inverted(x - center), turn, precision="highest")

    def inverse(x: Array) -> Array:
        return inverted(jnp.matmul(x, turn.T, precision="highest")) + center

    return Bijection(forward, inverse)
