"""Sources [n, dim] for independent component analysis, whose dimensions are independent unless stated.

All but those of `intervened` have mean 0 and variance 1 in each dimension, over the whole distribution. Each
is of a kind that some method needs: non-Gaussian (linear ICA), autocorrelated (permutation-contrastive
learning), nonstationary (time-contrastive learning, iVAE), seen in pairs, or moved by interventions. Gaussian
sources without time or side information are the negative control: no method can tell them from their
rotations.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import nan_where
from lrn.types import Array, Key

KINDS = ("gaussian", "laplace", "uniform")


def independent(key: Key, n: int, dim: int, kind: str = "laplace") -> Array:
    """Independent rows of one kind of `KINDS`, [n, dim].

    Raises:
        InputError: a size is below 1, or the kind is not known.
    """
    check.integer("n", n, 1)
    check.integer("dim", dim, 1)
    check.choice("kind", kind, KINDS)
    if kind == "gaussian":
        return jax.random.normal(key, (n, dim))
    if kind == "laplace":
        return jax.random.laplace(key, (n, dim)) / math.sqrt(2)
    return jax.random.uniform(key, (n, dim), minval=-math.sqrt(3), maxval=math.sqrt(3))


def autoregressive(key: Key, time: int, dim: int, memory: ArrayLike = 0.7, kind: str = "laplace") -> Array:
    """Series s(t) = memory s(t - 1) + sqrt(1 - memory^2) noise(t), [time, dim].

    Args:
        key: the key of the noise.
        time, dim: the number of steps and of sources.
        memory: the correlation of neighbors in (-1, 1), one number or [dim]; may be traced.
        kind: of the noise; the first step is the noise itself.

    Raises:
        InputError: a size is below 1, the memory is out of its range, or the kind is not known.
    """
    check.between("memory", memory, -1 + 1e-6, 1 - 1e-6)
    memory = jnp.asarray(memory, jnp.result_type(float))
    memory = nan_where(~(jnp.abs(memory) < 1), memory)
    noise = independent(key, time, dim, kind)
    scale = jnp.sqrt(1 - jnp.square(memory))

    def move(before: Array, drawn: Array) -> tuple[Array, Array]:
        now = memory * before + scale * drawn
        return now, now

    _, rest = jax.lax.scan(move, noise[0], noise[1:])
    return jnp.concatenate([noise[:1], rest])


class Segments(NamedTuple):
    """Nonstationary sources: s [n, dim], the segment int32 [n], and the scales [segments, dim]."""

    s: Array
    segment: Array
    scale: Array


def nonstationary(
    key: Key, segments: int, length: int, dim: int, spread: float = 2.0, kind: str = "laplace"
) -> Segments:
    """Sources whose scales change between segments (Hyvarinen and Morioka 2016).

    Args:
        key: the key of the scales and of the rows.
        segments, length: the number of segments, at least 2, and of rows in each.
        dim: the number of sources.
        spread: the logarithms of the scales are uniform between -log spread and log spread, before the scales
            of each source are normalized to a mean square of 1 over the segments; at least 1.
        kind: of the rows, one of `KINDS`. Gaussian rows are identifiable too, by their scales.

    Raises:
        InputError: an argument is out of its range.
    """
    check.integer("segments", segments, 2)
    check.integer("length", length, 1)
    check.between("spread", spread, 1, math.inf)
    scale_key, row_key = jax.random.split(key)
    scale = spread ** jax.random.uniform(scale_key, (segments, dim), minval=-1.0, maxval=1.0)
    scale = scale / jnp.sqrt(jnp.mean(jnp.square(scale), axis=0))[None]
    segment = jnp.repeat(jnp.arange(segments, dtype=jnp.int32), length)
    return Segments(independent(row_key, segments * length, dim, kind) * scale[segment], segment, scale)


def sparse_pairs(key: Key, s: Array, changed: int = 1, kind: str = "laplace") -> tuple[Array, Array]:
    """Partners of rows [n, dim] in which ``changed`` random sources are drawn anew, and which: bool [n, dim].

    Weak supervision by pairs (Locatello et al. 2020): the pair is known, what changed is not.

    Raises:
        InputError: ``changed`` is not between 1 and dim.
    """
    n, dim = s.shape
    check.integer("changed", changed, 1)
    check.between("changed", changed, 1, dim)
    order_key, new_key = jax.random.split(key)
    order = jnp.argsort(jax.random.uniform(order_key, (n, dim)), axis=1)
    which = order < changed  # a permutation of range(dim) in each row, so so many are below
    return jnp.where(which, independent(new_key, n, dim, kind), s), which


def correlated(key: Key, n: int, dim: int, rho: ArrayLike, kind: str = "gaussian") -> Array:
    """Rows in which every two sources have the correlation ``rho`` in [0, 1): not independent.

    Each source is the weighted sum of a common part and of a part of its own, both of one kind of `KINDS`.

    Raises:
        InputError: a size is below 1, rho is out of its range, or the kind is not known.
    """
    check.between("rho", rho, 0, 1 - 1e-6)
    rho = jnp.asarray(rho, jnp.result_type(float))
    rho = nan_where(~((rho >= 0) & (rho < 1)), rho)
    own_key, common_key = jax.random.split(key)
    common = independent(common_key, n, 1, kind)
    return jnp.sqrt(rho) * common + jnp.sqrt(1 - rho) * independent(own_key, n, dim, kind)


class Causes(NamedTuple):
    """A linear causal model of sources: s_j = sum_i weight_ij s_i + noise_j, i before j.

    weight: [dim, dim], zero on and below the diagonal: the sources are in causal order.
    """

    weight: Array


def causes(key: Key, dim: int, strength: ArrayLike = 1.0, density: ArrayLike = 1.0) -> Causes:
    """A random causal model: each earlier source is a cause with a probability; weights are +- strength.

    Raises:
        InputError: an argument is out of its range.
    """
    check.integer("dim", dim, 1)
    check.non_negative("strength", strength)
    check.between("density", density, 0, 1)
    sign_key, edge_key = jax.random.split(key)
    sign = jax.random.rademacher(sign_key, (dim, dim), jnp.result_type(float))
    edge = jax.random.bernoulli(edge_key, density, (dim, dim))
    return Causes(jnp.triu(jnp.where(edge, strength * sign, 0), 1))


def intervened(key: Key, of: Causes, target: Array, shift: ArrayLike = 2.0, scale: ArrayLike = 1.0) -> Array:
    """Rows of a causal model with Gaussian noise, each under its intervention, [n, dim].

    Args:
        key: the key of the noise.
        of: the model.
        target: int [n]: 0 for no intervention, i for a perfect intervention on source i - 1, which loses its
            causes and is drawn from a normal distribution.
        shift, scale: mean and standard deviation of a source under intervention; may be traced.

    Raises:
        InputError: the targets are no vector of integers.
    """
    if target.ndim != 1 or not jnp.issubdtype(target.dtype, jnp.integer):
        raise check.InputError(f"target must be integers [n], got {target.dtype} {target.shape}.")
    dim = of.weight.shape[0]
    noise = jax.random.normal(key, (target.shape[0], dim))

    # The columns in causal order; a loop over sources, which are few.
    columns: list[Array] = []
    for j in range(dim):
        caused = noise[:, j] + sum((of.weight[i, j] * columns[i] for i in range(j)), jnp.zeros(()))
        columns.append(jnp.where(target == j + 1, shift + scale * noise[:, j], caused))
    return jnp.where(((target >= 0) & (target <= dim))[:, None], jnp.stack(columns, axis=1), jnp.nan)
