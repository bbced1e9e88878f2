"""Statistics to normalize by: running ones, of observations and rewards, and those of one rollout."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from lrn.rl.env import as_float
from lrn.types import Array


class Moments(NamedTuple):
    """Mean and variance of what was seen, of any shape, and how many that was."""

    mean: Array
    var: Array
    seen: Array


def moments(shape: tuple[int, ...] = ()) -> Moments:
    """Of nothing yet: mean 0, variance 1, which leave what they normalize as it is."""
    return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def update(old: Moments, batch: Array) -> Moments:
    """Add a batch [..., *shape]: the parallel form of Chan, Golub and LeVeque (1979)."""
    batch = as_float(batch)
    axes = tuple(range(batch.ndim - old.mean.ndim))
    count = jnp.float32(batch.size / max(old.mean.size, 1))
    mean, var = batch.mean(axes), batch.var(axes)
    total = old.seen + count
    delta = mean - old.mean
    # Once everything is counted the weights sum to 1, so the statistics neither drift nor overflow.
    weight = count / total
    spread = (1 - weight) * jnp.where(old.seen > 0, old.var, 0.0) + weight * var
    return Moments(old.mean + delta * weight, spread + delta**2 * weight * (1 - weight), total)


def normalize(stats: Moments, x: Array, limit: float = 10.0) -> Array:
    """``(x - mean) / std`` for x [..., *shape], cut at ``limit`` standard deviations."""
    lead = (1,) * (x.ndim - stats.mean.ndim)
    mean, var = stats.mean.reshape(lead + stats.mean.shape), stats.var.reshape(lead + stats.var.shape)
    return jnp.clip((as_float(x) - mean) / jnp.sqrt(var + 1e-8), -limit, limit)


def deviation(stats: Moments) -> Array:
    """The standard deviation to divide by, a scalar's; 1 where what was seen differs by rounding alone.

    A scale that is not there must not be made up: divided by the root of a tiny constant, the reward of an
    environment that always pays the same would be ten thousand times what it is.
    """
    spread = jnp.sqrt(stats.var + 1e-8)
    return jnp.where(stats.var > (1e-5 * stats.mean) ** 2, spread, 1.0)


def standardize(x: Array, counted: Array | None = None) -> Array:
    """``x`` [...] less its mean, over its deviation; 0 throughout where its numbers differ by rounding alone.

    Without that exception what rounding left of the differences would be blown up to a deviation of 1.

    Args:
        x: any shape, at least two numbers of which count: one less its mean is 0, whatever it says.
        counted: 1.0 where ``x`` counts and 0.0 elsewhere, of the same shape; everywhere by default.
    """
    if counted is None:
        mean, spread = x.mean(), x.std()
    else:
        mean = average(x, counted)
        spread = jnp.sqrt(average((x - mean) ** 2, counted))
    return jnp.where(alike(x, counted), 0.0, (x - mean) / (spread + 1e-8))


def average(x: Array, counted: Array) -> Array:
    """Mean over the entries that count, of which there is at least one."""
    return (x * counted).sum() / counted.sum()


def alike(x: Array, counted: Array | None = None) -> Array:
    """Whether numbers differ by rounding alone: by no more than 16 units in the last place of the largest."""
    ends = jnp.stack([x, -x]).reshape(2, -1)
    if counted is not None:
        ends = jnp.where(counted.reshape(1, -1) > 0, ends, -jnp.inf)
    ends = ends.max(axis=1)  # the largest, and minus the smallest
    largest = jnp.abs(ends).max()
    return jnp.isfinite(largest) & (ends.sum() <= 16 * jnp.finfo(x.dtype).eps * largest)
