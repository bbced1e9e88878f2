"""Normalization of observations and rewards by running statistics, and of weights within a rollout."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from lrn.rl.env import as_float
from lrn.types import Array


class Moments(NamedTuple):
    """Running mean and variance of arrays.

    mean: mean, [*shape].
    var: variance, [*shape].
    seen: scalar, the number of arrays seen.
    """

    mean: Array
    var: Array
    seen: Array


def moments(shape: tuple[int, ...] = ()) -> Moments:
    """The moments of arrays [*shape] before any data: mean 0 and variance 1, which change nothing."""
    return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def update(old: Moments, batch: Array) -> Moments:
    """Add a batch [..., *shape] to the moments, by the parallel formula of Chan, Golub and LeVeque (1979)."""
    batch = as_float(batch)
    axes = tuple(range(batch.ndim - old.mean.ndim))
    count = jnp.float32(batch.size / max(old.mean.size, 1))
    mean, var = batch.mean(axes), batch.var(axes)
    total = old.seen + count
    delta = mean - old.mean
    # The two weights sum to 1 even when the count stops growing in float32, so the moments never drift.
    weight = count / total
    spread = (1 - weight) * jnp.where(old.seen > 0, old.var, 0.0) + weight * var
    return Moments(old.mean + delta * weight, spread + delta**2 * weight * (1 - weight), total)


def normalize(stats: Moments, x: Array, limit: float = 10.0) -> Array:
    """``(x - mean) / std`` for x [..., *shape], clipped to ``limit`` standard deviations either way."""
    lead = (1,) * (x.ndim - stats.mean.ndim)
    mean, var = stats.mean.reshape(lead + stats.mean.shape), stats.var.reshape(lead + stats.var.shape)
    return jnp.clip((as_float(x) - mean) / jnp.sqrt(var + 1e-8), -limit, limit)


def deviation(stats: Moments) -> Array:
    """The standard deviation to divide by, for scalar moments; 1 if the numbers seen differ only by rounding.

    The exception matters for an environment that always pays the same reward: its deviation is the root of
    the constant 1e-8, and dividing by that would multiply the reward by ten thousand.
    """
    spread = jnp.sqrt(stats.var + 1e-8)
    return jnp.where(stats.var > (1e-5 * stats.mean) ** 2, spread, 1.0)


def standardize(x: Array, counted: Array | None = None) -> Array:
    """``(x - mean) / deviation`` [...]; zeros if all numbers of ``x`` differ only by rounding.

    Without the exception rounding errors would be scaled up to a deviation of 1.

    Args:
        x: numbers of any shape. At least two must count, since one number less its own mean is always 0.
        counted: 1.0 where ``x`` counts and 0.0 elsewhere, of the same shape; None counts all.
    """
    if counted is None:
        mean, spread = x.mean(), x.std()
    else:
        mean = average(x, counted)
        spread = jnp.sqrt(average((x - mean) ** 2, counted))
    return jnp.where(alike(x, counted), 0.0, (x - mean) / (spread + 1e-8))


def average(x: Array, counted: Array) -> Array:
    """The mean of ``x`` over the entries where ``counted`` is 1.0, a scalar; at least one must count."""
    return (x * counted).sum() / counted.sum()


def alike(x: Array, counted: Array | None = None) -> Array:
    """Whether numbers differ only by rounding, a scalar bool.

    Rounding is a difference of at most 16 units in the last place of the largest number.

    Args:
        x: numbers of any shape.
        counted: 1.0 where ``x`` counts and 0.0 elsewhere, of the same shape; None counts all.
    """
    ends = jnp.stack([x, -x]).reshape(2, -1)
    if counted is not None:
        ends = jnp.where(counted.reshape(1, -1) > 0, ends, -jnp.inf)
    ends = ends.max(axis=1)  # the largest, and minus the smallest
    largest = jnp.abs(ends).max()
    return jnp.isfinite(largest) & (ends.sum() <= 16 * jnp.finfo(x.dtype).eps * largest)
