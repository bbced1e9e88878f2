"""Two players of multipliers: projected ascent, and multiplicative swap-regret ascent.

A player turns violations of constraints into prices: a price of the loss, then one of each constraint. The
first player keeps multipliers of a bounded sum beside a loss of price 1, and follows the gradient (Arrow,
Hurwicz & Uzawa 1958). The second keeps a column-stochastic matrix, whose stationary distribution is the
prices (Cotter, Jiang & Sridharan 2019, algorithm 2). Only the second has a guarantee if the model descends
on proxies of the constraints.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array

ASCENTS = ("multiplicative", "projected")
_LEAST = -20.0  # of the logarithms of a column's entries, so that no price is lost for good in float32


class Player(NamedTuple):
    """A player of multipliers.

    start: the state before the first round. prices: ``prices(state) -> [1 + constraints]``, each 0 or more.
    ascend: ``ascend(state, excess [constraints]) -> state``; the excess is the violation minus the bound.
    """

    start: Array
    prices: Callable[[Array], Array]
    ascend: Callable[[Array, Array], Array]


def player(ascent: str, constraints: int, rate: ArrayLike, radius: ArrayLike) -> Player:
    """The player of a name.

    Args:
        ascent: "projected" or "multiplicative". constraints: the number of constraints.
        rate: the learning rate of the multipliers, above 0; may be swept.
        radius: the largest sum of the multipliers, above 0; "projected" only; may be swept.

    Raises:
        InputError: an argument is not known or out of its range.
    """
    check.choice("ascent", ascent, ASCENTS)
    check.integer("constraints", constraints, 1)
    check.positive("rate", rate)
    check.positive("radius", radius)
    if ascent == "multiplicative":
        size = constraints + 1
        uniform = jnp.full((size, size), -math.log(size), jnp.result_type(float))
        return Player(uniform, stationary, lambda state, excess: multiplied(state, excess, rate))
    return Player(
        jnp.zeros(constraints),
        lambda state: jnp.concatenate([jnp.ones(1, state.dtype), state]),
        lambda state, excess: within(state + rate * excess, radius).astype(state.dtype),
    )


def within(multipliers: Array, radius: ArrayLike) -> Array:
    """The nearest multipliers that are 0 or more with a sum of at most ``radius``, [constraints]."""
    positive = jnp.maximum(multipliers, 0)
    largest = jnp.asarray(radius, multipliers.dtype)
    return jnp.where(
        jnp.sum(positive) <= largest, positive, optax.projections.projection_simplex(multipliers, largest)
    )


def multiplied(log_matrix: Array, excess: Array, rate: ArrayLike) -> Array:
    """The logarithm of ``M * exp(rate * gain prices^T)``, each column divided by its sum.

    Args:
        log_matrix: the logarithm of the matrix M, [1 + constraints, 1 + constraints].
        excess: the violations minus their bounds, [constraints]; the gain is 0 for the loss, then these.
        rate: the learning rate.
    """
    gain = jnp.concatenate([jnp.zeros(1, log_matrix.dtype), excess.astype(log_matrix.dtype)])
    moved = log_matrix + rate * gain[:, None] * stationary(log_matrix)[None]
    floored = jnp.maximum(jax.nn.log_softmax(moved, axis=0), _LEAST)
    return jax.nn.log_softmax(floored, axis=0).astype(log_matrix.dtype)


def stationary(log_matrix: Array) -> Array:
    """The distribution that a column-stochastic matrix keeps, [size], for its logarithm [size, size]."""
    size = log_matrix.shape[0]
    # (M - I) p = 0 has one equation too many; the last one becomes sum p = 1. The diagonal is minus the
    # rest of its column, for 1 minus an entry near 1 would lose what small entries say.
    moves = jnp.where(jnp.eye(size, dtype=bool), 0, jnp.exp(log_matrix))
    system = (moves - jnp.diag(jnp.sum(moves, axis=0))).at[-1].set(1)
    right = jnp.zeros(size, log_matrix.dtype).at[-1].set(1)
    prices = jnp.maximum(jnp.linalg.solve(system, right), 0)
    return prices / jnp.sum(prices)


def exponential_prices(theta: Array, here: Array) -> Array:
    """``e^theta / (1 + sum e^theta)`` of the constraints that are here, and 0 elsewhere; without overflow.

    Args:
        theta: logarithms, of any shape. here: bools of the same shape.
    """
    top = jnp.maximum(jnp.max(jnp.where(here, theta, 0)), 0)
    power = jnp.where(here, jnp.exp(theta - top), 0)
    return power / (jnp.exp(-top) + jnp.sum(power))
