"""Distributions over actions as pure functions: categorical, diagonal Gaussian, tanh-squashed Gaussian.

Samples are made from noise drawn beforehand, so that a rollout can draw all of its noise in one call (on CPU
a key split and a draw per step cost more than a small network does):

    noise = categorical_noise(key, (time, batch, actions))  # or jax.random.normal for the Gaussians
    action = categorical_sample(logits, noise[t])

Gaussians are diagonal over the last axis; ``log_std`` broadcasts to ``mean`` as numpy would.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn.types import Array, Key

LOG_2PI = math.log(2 * math.pi)


def categorical_noise(key: Key, shape: tuple[int, ...]) -> Array:
    """Standard Gumbel noise, one for each logit."""
    return jax.random.gumbel(key, shape)


def categorical_sample(logits: Array, noise: Array) -> Array:
    """Integer sample [...] from logits [..., n] and Gumbel noise of the same shape (the Gumbel-max trick)."""
    return jnp.argmax(logits + noise, axis=-1)


def categorical_log_prob(logits: Array, action: ArrayLike) -> Array:
    """Log-probability [...] of integer actions [...], each in [0, n), under logits [..., n].

    NaN, and so is its gradient, for an action outside of that range.
    """
    return of_action(jax.nn.log_softmax(logits), action)


def of_action(x: Array, action: ArrayLike) -> Array:
    """The numbers [...] of integer actions [...] among ``x`` [..., n], of which others may be infinite.

    NaN, and so is its gradient, for an action outside of [0, n).
    """
    # A sum over all actions rather than a gather, whose gradient is a scatter: few actions, and one kernel.
    # Chosen by `where`, since a product with a one-hot would make NaN of a masked action's -inf.
    n, action = x.shape[-1], jnp.asarray(action)
    known = ((action >= 0) & (action < n))[..., None]
    other = jnp.where(known, 0, x) * jnp.where(known, 1, jnp.nan)
    return jnp.where(jax.nn.one_hot(action, n, dtype=bool), x, other).sum(-1)


def categorical_entropy(logits: Array) -> Array:
    """Entropy [...] in nats of logits [..., n]; logits of -inf count as impossible actions."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(_expected(log_p, log_p), axis=-1)


def categorical_kl(logits: Array, other_logits: Array) -> Array:
    """KL divergence [...] in nats from the first to the second, KL(p || q), of logits [..., n]."""
    log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(other_logits)
    # Where p is 0 the term is 0; -inf - -inf must not be formed on the way, for the gradient's sake.
    gap = jnp.where(jnp.isneginf(log_p), 0, log_p) - jnp.where(jnp.isneginf(log_p), 0, log_q)
    return jnp.sum(_expected(log_p, gap), axis=-1)


def categorical_mode(logits: Array) -> Array:
    """The likeliest action [...] of logits [..., n]."""
    return jnp.argmax(logits, axis=-1)


def _expected(log_p: Array, x: Array) -> Array:
    """``p * x``, 0 where p is 0 even if x is infinite there."""
    possible = ~jnp.isneginf(log_p)
    return jnp.exp(log_p) * jnp.where(possible, x, 0)


def normal_sample(mean: Array, log_std: ArrayLike, noise: Array) -> Array:
    """Sample [..., dim] from mean [..., dim] and standard normal noise of the same shape."""
    return mean + jnp.exp(_like(mean, log_std)) * noise


def normal_log_prob(mean: Array, log_std: ArrayLike, x: ArrayLike) -> Array:
    """Log-density [...] at ``x`` [..., dim]."""
    log_std = _like(mean, log_std)
    z = (jnp.asarray(x) - mean) * jnp.exp(-log_std)
    return jnp.sum(-0.5 * (z**2 + LOG_2PI) - log_std, axis=-1)


def normal_entropy(mean: Array, log_std: ArrayLike) -> Array:
    """Differential entropy [...] in nats; the mean [..., dim] gives only the shape."""
    return jnp.sum(_like(mean, log_std) + 0.5 * (1 + LOG_2PI), axis=-1)


def normal_kl(mean: Array, log_std: ArrayLike, other_mean: Array, other_log_std: ArrayLike) -> Array:
    """KL divergence [...] in nats from the first to the second."""
    log_std, other = _like(mean, log_std), _like(other_mean, other_log_std)
    gap = (mean - other_mean) * jnp.exp(-other)
    return jnp.sum(other - log_std + 0.5 * (jnp.exp(2 * (log_std - other)) + gap**2 - 1), axis=-1)


def tanh_normal_sample(mean: Array, log_std: ArrayLike, noise: Array) -> tuple[Array, Array]:
    """Sample [..., dim] in (-1, 1), and its log-density [...].

    The density is that of `tanh_normal_log_prob`, computed from the value before tanh: near the bounds the
    inverse of tanh is lost to rounding, so this is the form to train with.
    """
    before = normal_sample(mean, log_std, noise)
    log_prob = normal_log_prob(mean, log_std, before) - jnp.sum(_log_slope(before), axis=-1)
    return jnp.tanh(before), log_prob


def tanh_normal_log_prob(mean: Array, log_std: ArrayLike, action: Array) -> Array:
    """Log-density [...] at an action [..., dim] of (-1, 1); an action on a bound counts as just inside it."""
    edge = 1 - jnp.finfo(action.dtype).eps
    before = jnp.arctanh(jnp.clip(action, -edge, edge))
    return normal_log_prob(mean, log_std, before) - jnp.sum(_log_slope(before), axis=-1)


def tanh_normal_mode(mean: Array) -> Array:
    """tanh of the mean: the median, and the action to play greedily (the density's own mode is not used)."""
    return jnp.tanh(mean)


def _log_slope(u: Array) -> Array:
    """log(1 - tanh(u)^2), exact where the squared tanh rounds to 1 (Haarnoja et al. 2018's code, eq. 21)."""
    return 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))


def _like(mean: Array, log_std: ArrayLike) -> Array:
    return jnp.broadcast_to(jnp.asarray(log_std), jnp.shape(mean))
