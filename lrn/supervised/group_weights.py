"""Weights of groups that rise with the groups' losses, by multiplicative weights (Sagawa et al. 2020)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn.types import Array


def equal(groups: int) -> Array:
    """The logarithms [groups] of equal weights."""
    return jnp.full(groups, -math.log(groups), jnp.result_type(float))


def raised(log_q: Array, gain: Array, rate: ArrayLike) -> Array:
    """The log weights after a step in which ``exp(rate * gain_g)`` multiplies the weight of group g.

    Args:
        log_q: the log weights [groups] before.
        gain: [groups], such as the groups' losses. Stop its gradient where a loss is to take the weights as
            constants.
        rate: the rate of the weights, above 0; may be traced.

    Returns:
        [groups], the logarithms of weights whose sum is 1.
    """
    return jax.nn.log_softmax(log_q + rate * gain.astype(log_q.dtype))
