"""Running statistics, to normalise observations and rewards whose scale is not known beforehand."""

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
    """Of nothing yet: mean 0, variance 1, which leave what they normalise as it is."""
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


def normalise(stats: Moments, x: Array, limit: float = 10.0) -> Array:
    """``(x - mean) / std`` for x [..., *shape], cut at ``limit`` standard deviations."""
    lead = (1,) * (x.ndim - stats.mean.ndim)
    mean, var = stats.mean.reshape(lead + stats.mean.shape), stats.var.reshape(lead + stats.var.shape)
    return jnp.clip((as_float(x) - mean) / jnp.sqrt(var + 1e-8), -limit, limit)
