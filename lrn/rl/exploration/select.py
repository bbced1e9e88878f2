"""Choosing among discrete actions: epsilon-greedy, Boltzmann, UCB. Values are [..., actions].

An action whose value is -inf is not allowed: it is never chosen, unless no action is allowed.

Ties are broken at random. An argmax that takes the first action would not explore at all on a table of zeros.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array, Key


def random_argmax(key: Key, values: Array) -> Array:
    """The index of the largest value, int32 [...]; ties are broken at random with equal chances.

    Args:
        key: a key.
        values: numbers [..., n].
    """
    lottery = jax.random.uniform(key, values.shape)
    return _best(values, lottery)


def epsilon_greedy(key: Key, q: Array, epsilon: ArrayLike) -> Array:
    """The greedy action, or with chance ``epsilon`` a uniform draw from the allowed actions, int32 [...].

    Args:
        key: a key.
        q: action values [..., actions].
        epsilon: chance of a random action, in [0, 1]; a scalar, or of a shape that broadcasts to [...].

    Raises:
        InputError: epsilon is out of range.
    """
    check.between("epsilon", epsilon, 0.0, 1.0)
    explore_key, lottery_key = jax.random.split(key)
    explore = jax.random.uniform(explore_key, q.shape[:-1]) < jnp.asarray(epsilon)
    # The largest number of the lottery draws a uniform action; among the best actions it breaks ties.
    lottery = jax.random.uniform(lottery_key, q.shape)
    drawn = jnp.argmax(jnp.where(jnp.isneginf(q), -1.0, lottery), -1).astype(jnp.int32)
    return jnp.where(explore, drawn, _best(q, lottery))


def epsilon_greedy_probabilities(q: Array, epsilon: ArrayLike) -> Array:
    """The probabilities with which `epsilon_greedy` takes each action, [..., actions].

    Args:
        q: action values [..., actions].
        epsilon: chance of a random action, in [0, 1]; a scalar, or of a shape that broadcasts to [...].

    Raises:
        InputError: epsilon is out of range.
    """
    check.between("epsilon", epsilon, 0.0, 1.0)
    best = (q == q.max(-1, keepdims=True)).astype(q.dtype)
    epsilon = jnp.broadcast_to(jnp.asarray(epsilon, q.dtype), q.shape[:-1])[..., None]
    allowed = ~jnp.isneginf(q) | jnp.isneginf(q).all(-1, keepdims=True)
    count = allowed.sum(-1, keepdims=True).astype(q.dtype)
    return (1 - epsilon) * best / best.sum(-1, keepdims=True) + epsilon * allowed / count


def boltzmann(key: Key, q: Array, temperature: ArrayLike) -> Array:
    """An action drawn with probability proportional to exp(q / temperature), int32 [...].

    Args:
        key: a key.
        q: action values [..., actions].
        temperature: above 0, in the unit of q; a scalar, or of a shape that broadcasts to [...].

    Raises:
        InputError: the temperature is not above 0.
    """
    return jax.random.categorical(key, _logits(q, temperature)).astype(jnp.int32)


def boltzmann_probabilities(q: Array, temperature: ArrayLike) -> Array:
    """The probabilities with which `boltzmann` takes each action, [..., actions].

    Args:
        q: action values [..., actions].
        temperature: above 0, in the unit of q; a scalar, or of a shape that broadcasts to [...].

    Raises:
        InputError: the temperature is not above 0.
    """
    return jax.nn.softmax(_logits(q, temperature))


def ucb(key: Key, q: Array, counts: Array, scale: ArrayLike) -> Array:
    """The action of the largest upper confidence bound ``q + scale * sqrt(ln N / n)``, int32 [...].

    n counts how often an action was taken, and N is the sum of n over actions. An action that was never taken
    comes first. With scale = sqrt(2) and rewards in [0, 1] this is UCB1 (Auer et al. 2002).

    Args:
        key: a key, to break ties.
        q: action values [..., actions].
        counts: how often each action was taken, [..., actions].
        scale: weight of the second term, in the unit of q, 0 or more.

    Raises:
        InputError: the scale is below 0 or not finite.
    """
    check.non_negative("scale", scale)
    n = counts.astype(q.dtype)
    width = jnp.sqrt(jnp.log(jnp.maximum(n.sum(-1, keepdims=True), 1.0)) / jnp.maximum(n, 1.0))
    untried = (counts == 0) & ~jnp.isneginf(q)
    return random_argmax(key, jnp.where(untried, jnp.inf, q + scale * width))


def _best(values: Array, lottery: Array) -> Array:
    tied = values == values.max(-1, keepdims=True)
    return jnp.argmax(jnp.where(tied, lottery, -1.0), -1).astype(jnp.int32)


def _logits(q: Array, temperature: ArrayLike) -> Array:
    check.positive("temperature", temperature)
    return q / jnp.broadcast_to(jnp.asarray(temperature, q.dtype), q.shape[:-1])[..., None]
