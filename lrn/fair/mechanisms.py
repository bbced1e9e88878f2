"""Mechanisms of causal models: additive, ordinal, binary and categorical variables.

An additive mechanism is invertible, so its counterfactuals are exact. A discrete one is not. Its noise is
drawn from what is consistent with the observed value, and its counterfactuals depend on how the noise makes
the value, which no data can show:

- `ordinal` and `binary` compare one uniform noise with the cumulative chances. The coupling is monotone:
  where the chances move up, no individual moves down.
- `categorical` adds a Gumbel noise to each logit and takes the largest (Oberst & Sontag 2019). An individual
  changes category only if another one becomes more likely relative to its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.fair import arguments
from lrn.fair.scm import Mechanism, Values
from lrn.types import Array, Key


def normal_noise(key: Key, n: int) -> Array:
    """Standard normal noise [n]."""
    return jax.random.normal(key, (n,))


def additive(
    name: str,
    parents: tuple[str, ...],
    mean: Callable[[Values], Any],
    scale: ArrayLike = 1.0,
    noise: Callable[[Key, int], Array] = normal_noise,
) -> Mechanism:
    """``value = mean(parents) + scale * noise``.

    Args:
        name, parents: see `Mechanism`.
        mean: ``mean(parents)``, [n] or a number. scale: above 0; may be swept.
        noise: draws the noise, standard normal by default.

    Raises:
        InputError: the scale is not above 0.
    """
    check.positive("scale", scale)

    def function(parents: Values, noise: Array) -> Array:
        return _level(name, mean(parents), len(noise)) + scale * noise

    def inverse(parents: Values, value: Array) -> Array:
        return (value - _level(name, mean(parents), len(value))) / scale

    return Mechanism(name, parents, function, noise, inverse)


def ordinal(name: str, parents: tuple[str, ...], chances: Callable[[Values], Any]) -> Mechanism:
    """A value among 0, 1, ..., k - 1: the number of cumulative chances that a uniform noise reaches.

    Args:
        name, parents: see `Mechanism`.
        chances: ``chances(parents)``, 0 or more, [n, k], or [k] for all rows; scaled to the sum 1. A row with
            a chance that is negative or not finite gives NaN.
    """

    def steps(parents: Values, n: int) -> Array:
        """The cumulative chances [n, k + 1], from 0 to 1."""
        chance = _table(f"the chances of {name!r}", chances(parents), n)
        fine = jnp.all((chance >= 0) & jnp.isfinite(chance), axis=1, keepdims=True)
        upper = jnp.cumsum(chance, axis=1)
        upper = jnp.where(fine, upper / upper[:, -1:], jnp.nan)
        return jnp.concatenate([jnp.zeros_like(upper[:, :1]), upper], axis=1)

    def function(parents: Values, noise: Array) -> Array:
        inner = steps(parents, len(noise))[:, 1:-1]
        value = jnp.sum(noise[:, None] >= inner, axis=1).astype(inner.dtype)
        return jnp.where(jnp.isnan(inner).any(axis=1), jnp.nan, value)

    def draw(key: Key, parents: Values, value: Array) -> Array:
        bounds = steps(parents, len(value))
        whole = jnp.clip(jnp.nan_to_num(value), 0, bounds.shape[1] - 2).astype(jnp.int32)
        low, high = (jnp.take_along_axis(bounds, (whole + i)[:, None], axis=1)[:, 0] for i in (0, 1))
        share = jax.random.uniform(key, value.shape, bounds.dtype)
        noise = jnp.minimum(low + (high - low) * share, jnp.nextafter(high, low))
        return jnp.where(high > low, noise, jnp.nan)

    return Mechanism(name, parents, function, _uniform, None, draw)


def binary(name: str, parents: tuple[str, ...], chance: Callable[[Values], Any]) -> Mechanism:
    """A value 0 or 1, by `ordinal`: 1 where a uniform noise is at least ``1 - chance``.

    Args:
        name, parents: see `Mechanism`.
        chance: ``chance(parents)``, the chance of 1 in [0, 1], [n] or a number.
    """

    def chances(parents: Values) -> Array:
        p = arguments.numbers(f"the chance of {name!r}", chance(parents))
        return jnp.stack([1 - p, p], axis=-1)

    return ordinal(name, parents, chances)


def categorical(name: str, parents: tuple[str, ...], logits: Callable[[Values], Any], k: int) -> Mechanism:
    """A category 0, 1, ..., k - 1: that of the largest logit plus Gumbel noise.

    Args:
        name, parents: see `Mechanism`.
        logits: ``logits(parents)``, finite, [n, k], or [k] for all rows. Other values give NaN.
        k: the number of categories.

    Raises:
        InputError: k is no whole number of 2 or more.
    """
    check.integer("k", k, 2)

    def read(parents: Values, n: int) -> Array:
        return _table(f"the logits of {name!r}", logits(parents), n, k)

    def function(parents: Values, noise: Array) -> Array:
        level = read(parents, len(noise)) + noise
        value = jnp.argmax(level, axis=1).astype(level.dtype)
        return jnp.where(jnp.isfinite(level).all(axis=1), value, jnp.nan)

    def draw(key: Key, parents: Values, value: Array) -> Array:
        level = read(parents, len(value))
        own = value[:, None] == jnp.arange(k)[None]
        first, others = jax.random.split(key)
        # The largest level is Gumbel with the logits' log-sum-exp, whatever its category; the other levels
        # are Gumbel too, cut off above at the largest (Maddison et al. 2014).
        top = jax.nn.logsumexp(level, axis=1) + jax.random.gumbel(first, value.shape, level.dtype)
        free = level + jax.random.gumbel(others, level.shape, level.dtype)
        below = -jnp.logaddexp(-free, -top[:, None])
        noise = jnp.where(own, top[:, None], below) - level
        # Rounding must not give the maximum to another category.
        slack = 8 * jnp.finfo(level.dtype).eps * (1 + jnp.abs(level) + jnp.abs(top)[:, None])
        return jnp.where(own.any(axis=1, keepdims=True), noise + jnp.where(own, slack, -slack), jnp.nan)

    def noise(key: Key, n: int) -> Array:
        return jax.random.gumbel(key, (n, k))

    return Mechanism(name, parents, function, noise, None, draw)


def _level(name: str, mean: Any, n: int) -> Array:
    """The mean of an additive variable, [n] or a number."""
    mean = arguments.numbers(f"the mean of {name!r}", mean)
    if mean.shape not in ((), (n,)):
        raise check.InputError(
            f"the mean of {name!r} must be a number or have shape [{n}], got {mean.shape}; give one a row."
        )
    return mean


def _table(what: str, value: Any, n: int, k: int | None = None) -> Array:
    """Chances or logits, [n, k] or [k], as [n, k]; k is free for None."""
    value = arguments.numbers(what, value)
    if (
        value.ndim not in (1, 2)
        or value.shape[:-1] not in ((), (1,), (n,))
        or value.shape[-1] != (k or max(value.shape[-1], 1))
    ):
        wanted = "k" if k is None else k
        raise check.InputError(
            f"{what} must have shape [{n}, {wanted}] or [{wanted}], got {value.shape}; give one row a person."
        )
    return jnp.broadcast_to(jnp.atleast_2d(value), (n, value.shape[-1]))


def _uniform(key: Key, n: int) -> Array:
    return jax.random.uniform(key, (n,))
