"""Codings of observations as a few active binary features out of many: one-hot, grids, tiles and SimHash.

Visit counts need a coding to tell which observations are the same place. Tables and linear value functions
need one for their entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from lrn import check
from lrn.rl.env import as_float
from lrn.types import Array, Key, PyTree


class Coding(NamedTuple):
    """Binary features of observations, of which a fixed number is active. One active feature makes a table.

    size: number of features.
    active: number of active features of each observation.
    init: ``init(key, observation [n, ...]) -> params``, the random parameters of the coding; () for none.
    encode: ``encode(params, observation [n, ...]) -> indices of the active features, int32 [n, active]``.
    """

    size: int
    active: int
    init: Callable[[Key, Array], PyTree]
    encode: Callable[[PyTree, Array], Array]


def one_hot(n: int) -> Coding:
    """The coding of observations that are one-hot over n entries, in any shape (such as DeepSea's grid).

    An observation of zeros only (such as DeepSea's terminal one) is coded by the last feature, n.

    Raises:
        ValueError: n is below 1; in ``encode``, the observation has another number of entries.
    """
    check.integer("n", n, low=1)

    def encode(params: PyTree, observation: Array) -> Array:
        flat = observation.reshape(observation.shape[0], -1)
        if flat.shape[1] != n:
            raise check.InputError(
                f"one_hot({n}) was given observations of {flat.shape[1]} entries; "
                f"use one_hot({flat.shape[1]})."
            )
        nothing = ~(flat > 0).any(1)
        return jnp.where(nothing, n, jnp.argmax(flat, 1)).astype(jnp.int32)[:, None]

    return Coding(n + 1, 1, lambda key, observation: (), encode)


def grid(low: Sequence[float], high: Sequence[float], bins: Sequence[int]) -> Coding:
    """A grid of boxes of equal size; observations [n, dim] outside of the range belong to the nearest box.

    Args:
        low: lower end of the range in each dimension, [dim].
        high: upper end of the range in each dimension, [dim].
        bins: number of boxes along each dimension, [dim].

    Raises:
        InputError: the three differ in length, a number of bins is below 1, or a range is empty, infinite,
            or so wide or narrow that float32 cannot tell its boxes apart.
    """
    return tiles(low, high, bins, tilings=1)


def tiles(low: Sequence[float], high: Sequence[float], bins: Sequence[int], tilings: int = 8) -> Coding:
    """Tile coding: several grids, each shifted by another part of a tile (Sutton & Barto 2018, 9.5.4).

    Tiling t is shifted by ``(2 i + 1) t / tilings`` of a tile, modulo one tile, along dimension i (Miller &
    Glanz 1996), so that the shifts do not lie on one diagonal. One tiling is a plain grid.

    Args:
        low: lower end of the range in each dimension, [dim].
        high: upper end of the range in each dimension, [dim].
        bins: number of tiles along each dimension, [dim].
        tilings: number of grids, which is the number of active features.

    Raises:
        InputError: low, high and bins differ in length, a count is below 1, or a range is empty, infinite, or
            so wide or narrow that float32 cannot tell its tiles apart.
    """
    check.integer("tilings", tilings, low=1)
    dim = len(bins)
    if not len(low) == len(high) == dim or dim == 0:
        raise check.InputError(
            f"low, high and bins need one entry for each dimension, got {len(low)}, {len(high)} and {dim}."
        )
    for n in bins:
        check.integer("every entry of bins", n, low=1)
    for i, (a, b, n) in enumerate(zip(low, high, bins)):
        _check_range(i, float(a), float(b), n)
    lower, width = np.asarray(low), (np.asarray(high) - np.asarray(low)) / np.asarray(bins)
    shift = (np.arange(tilings)[:, None] * (2 * np.arange(dim) + 1)) % tilings / tilings  # in tiles
    sides = np.asarray(bins) + (tilings > 1)  # a shifted grid extends beyond the range by a part of a tile
    tiling_size = math.prod(int(side) for side in sides)
    if tiling_size * tilings >= 2**31:
        raise check.InputError(
            f"bins {[int(n) for n in bins]} make {tiling_size * tilings:,} features, more than an int32 can "
            "number; choose fewer."
        )
    strides = np.array([math.prod(sides[i + 1 :]) for i in range(dim)])

    def encode(params: PyTree, observation: Array) -> Array:
        if observation.ndim != 2 or observation.shape[1] != dim:
            raise check.InputError(
                f"a grid of {dim} dimensions was given observations of shape {list(observation.shape)}; "
                "give [n, dim]."
            )
        place = (observation - jnp.asarray(lower, jnp.float32)[None]) / jnp.asarray(width, jnp.float32)[None]
        place = jnp.clip(place, 0.0, jnp.asarray(bins, jnp.float32)[None] * (1 - 1e-6))
        cell = jnp.floor(place[:, None] + jnp.asarray(shift, jnp.float32)[None]).astype(jnp.int32)
        cell = jnp.minimum(cell, jnp.asarray(sides - 1, jnp.int32)[None, None])
        inside = (cell * jnp.asarray(strides, jnp.int32)[None, None]).sum(-1)
        return inside + tiling_size * jnp.arange(tilings, dtype=jnp.int32)[None]

    return Coding(tiling_size * tilings, tilings, lambda key, observation: (), encode)


_FAR = 1e30  # larger than any observation; Gymnasium writes bounds of +-3.4e38 for "no bound"


def _check_range(i: int, low: float, high: float, bins: int) -> None:
    if not (abs(low) < _FAR and abs(high) < _FAR):
        raise check.InputError(
            f"dimension {i} ranges from {low} to {high}, where all observations would share a cell; give the "
            "range that observations spread over."
        )
    if not low < high:
        raise check.InputError(
            f"low must be below high, got {low} and {high} in dimension {i}; "
            "swap them, or leave the dimension out."
        )
    if (high - low) / bins < np.spacing(np.float32(max(abs(low), abs(high)))):
        raise check.InputError(
            f"{bins} bins from {low} to {high} in dimension {i} are narrower than float32 can tell numbers "
            "apart; choose fewer, or shift the observations towards 0."
        )


def simhash(bits: int, center: ArrayLike = 0.0, scale: ArrayLike = 1.0) -> Coding:
    """SimHash: the signs of random projections of ``(observation - center) / scale``, read as one number.

    Observations at a small angle to each other share a hash (Charikar 2002). Counting visits to hashes is
    #Exploration (Tang et al. 2017). Choose center and scale such that the angle tells observations apart.

    Args:
        bits: length of the hash, 1 to 24; there are 2^bits features.
        center: a number, or one number for each entry of the flattened observation.
        scale: a number above 0, or one for each entry of the flattened observation.

    Raises:
        InputError: bits is out of range, the center is not finite, or the scale is not finite and above 0.
    """
    check.integer("bits", bits, low=1)
    if bits > 24:
        raise check.InputError(
            f"bits must be 24 at most, got {bits}: the table would have 2^{bits} entries; choose fewer bits."
        )

    for name, given, least in (("center", center, -math.inf), ("scale", scale, 0.0)):
        if isinstance(given, Tracer):
            continue
        values = np.asarray(given, np.float64)
        if not (np.isfinite(values) & (values > least)).all():
            raise check.InputError(
                f"{name} of simhash must be finite{' and above 0' if name == 'scale' else ''}, got {given}; "
                "choose such a number, since otherwise all observations share a hash."
            )

    def prepared(observation: Array) -> Array:
        flat = as_float(observation).reshape(observation.shape[0], -1)
        shift, unit = (jnp.broadcast_to(jnp.asarray(x, flat.dtype), flat.shape) for x in (center, scale))
        return (flat - shift) / unit

    def init(key: Key, observation: Array) -> Array:
        return jax.random.normal(key, (prepared(observation).shape[1], bits))

    def encode(params: Array, observation: Array) -> Array:
        signs = (prepared(observation) @ params > 0).astype(jnp.int32)
        return (signs * 2 ** jnp.arange(bits, dtype=jnp.int32)[None]).sum(-1, keepdims=True)

    return Coding(2**bits, 1, init, encode)
