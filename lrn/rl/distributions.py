"""Distributions over actions as pure functions: categorical, diagonal Gaussian, tanh-squashed Gaussian.

Samples are computed from noise that was drawn beforehand, so that a rollout can draw all of its noise in one
call (on CPU a key split and a draw at each step cost more than a small network):

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
    """Standard Gumbel noise of the given shape, which is that of the logits."""
    return jax.random.gumbel(key, shape)


def categorical_sample(logits: Array, noise: Array) -> Array:
    """Integer sample [...] from logits [..., n] and Gumbel noise of the same shape (the Gumbel-max trick)."""
    return jnp.argmax(logits + noise, axis=-1)


def categorical_log_prob(logits: Array, action: ArrayLike) -> Array:
    """Log-probability [...] of integer actions [...], each in [0, n), under logits [..., n].

    The result and its gradient are NaN for an action outside of [0, n).
    """
    return of_action(jax.nn.log_softmax(logits), action)


def of_action(x: Array, action: ArrayLike) -> Array:
    """Choose ``x[..., action]``: numbers [...] for integer actions [...] from ``x`` [..., n].

    Numbers of other actions may be infinite. The result and its gradient are NaN for an action outside of
    [0, n).
    """
    # A sum over all actions, in one kernel, and not a gather, whose gradient is a scatter: actions are few.
    # `where` selects, since a product with a one-hot would turn the -inf of a masked action into NaN.
    n, action = x.shape[-1], jnp.asarray(action)
    valid = ((action >= 0) & (action < n))[..., None]
    unselected = jnp.where(valid, 0, x) * jnp.where(valid, 1, jnp.nan)
    return jnp.where(jax.nn.one_hot(action, n, dtype=bool), x, unselected).sum(-1)


def categorical_entropy(logits: Array) -> Array:
    """Entropy [...] in nats of logits [..., n]; logits of -inf count as impossible actions."""
    log_p = jax.nn.log_softmax(logits)
    return -jnp.sum(_expected(log_p, log_p), axis=-1)


def categorical_kl(logits: Array, other_logits: Array) -> Array:
    """KL divergence KL(p || q) [...] in nats; p has ``logits`` [..., n], q has ``other_logits`` [..., n]."""
    log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(other_logits)
    # Where p is 0 the term is 0. The difference -inf - -inf is avoided, since it would make the gradient NaN.
    gap = jnp.where(jnp.isneginf(log_p), 0, log_p) - jnp.where(jnp.isneginf(log_p), 0, log_q)
    return jnp.sum(_expected(log_p, gap), axis=-1)


def categorical_mode(logits: Array) -> Array:
    """The likeliest action, int [...], of logits [..., n]."""
    return jnp.argmax(logits, axis=-1)


def _expected(log_p: Array, x: Array) -> Array:
    """``p * x`` [..., n], and 0 where p is 0 even if x is infinite there."""
    possible = ~jnp.isneginf(log_p)
    return jnp.exp(log_p) * jnp.where(possible, x, 0)


def normal_sample(mean: Array, log_std: ArrayLike, noise: Array) -> Array:
    """Sample [..., dim] from mean [..., dim] and standard normal noise of the same shape."""
    return mean + jnp.exp(_like(mean, log_std)) * noise


def normal_log_prob(mean: Array, log_std: ArrayLike, x: ArrayLike) -> Array:
    """Log-density [...] at ``x`` [..., dim], for mean and log standard deviation [..., dim]."""
    log_std = _like(mean, log_std)
    z = (jnp.asarray(x) - mean) * jnp.exp(-log_std)
    return jnp.sum(-0.5 * (z**2 + LOG_2PI) - log_std, axis=-1)


def normal_entropy(mean: Array, log_std: ArrayLike) -> Array:
    """Differential entropy [...] in nats; of the mean [..., dim] only the shape is used."""
    return jnp.sum(_like(mean, log_std) + 0.5 * (1 + LOG_2PI), axis=-1)


def normal_kl(mean: Array, log_std: ArrayLike, other_mean: Array, other_log_std: ArrayLike) -> Array:
    """KL divergence KL(p || q) [...] in nats, with p the first Gaussian and q the other, means [..., dim]."""
    log_std, log_std_q = _like(mean, log_std), _like(other_mean, other_log_std)
    gap = (mean - other_mean) * jnp.exp(-log_std_q)
    return jnp.sum(log_std_q - log_std + 0.5 * (jnp.exp(2 * (log_std - log_std_q)) + gap**2 - 1), axis=-1)


def tanh_normal_sample(mean: Array, log_std: ArrayLike, noise: Array) -> tuple[Array, Array]:
    """Sample [..., dim] in (-1, 1), and its log-density [...].

    The density is that of `tanh_normal_log_prob`, but computed from the value before tanh. Train with this
    function, because near the bounds rounding makes the inverse of tanh useless.

    Args:
        mean: mean before tanh, [..., dim].
        log_std: log standard deviation before tanh, broadcast to the mean.
        noise: standard normal noise, [..., dim].
    """
    before = normal_sample(mean, log_std, noise)
    log_prob = normal_log_prob(mean, log_std, before) - jnp.sum(_log_slope(before), axis=-1)
    return jnp.tanh(before), log_prob


def tanh_normal_log_prob(mean: Array, log_std: ArrayLike, action: Array) -> Array:
    """Log-density [...] at an action [..., dim] in (-1, 1).

    An action on a bound is moved just inside it. An action beyond a bound gives NaN.
    """
    edge = 1 - jnp.finfo(action.dtype).eps
    within = jnp.where(jnp.abs(action) > 1, jnp.nan, jnp.clip(action, -edge, edge))
    before = jnp.arctanh(within)
    return normal_log_prob(mean, log_std, before) - jnp.sum(_log_slope(before), axis=-1)


def tanh_normal_mode(mean: Array) -> Array:
    """tanh of the mean [..., dim]: the median, played as the greedy action in place of the density's mode."""
    return jnp.tanh(mean)


def _log_slope(u: Array) -> Array:
    """log(1 - tanh(u)^2), exact even where tanh(u)^2 rounds to 1 (Haarnoja et al. 2018, eq. 21 and code)."""
    return 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))


def _like(mean: Array, log_std: ArrayLike) -> Array:
    return jnp.broadcast_to(jnp.asarray(log_std), jnp.shape(mean))
