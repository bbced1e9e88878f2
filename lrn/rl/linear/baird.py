"""Baird's counterexample (1995) in the form of Sutton and Barto (2018, example 11.1).

Seven states, eight features, zero rewards, so that zero is right and attainable; and semi-gradient TD
diverges off-policy, for any step size.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from lrn.types import Array


def features() -> Array:
    """[7 states, 8 features]: ``2 w_i + w_8`` in the first six states, ``w_7 + 2 w_8`` in the seventh."""
    x = np.zeros((7, 8), np.float32)
    x[np.arange(6), np.arange(6)], x[:6, 7] = 2, 1
    x[6, 6], x[6, 7] = 1, 2
    return jnp.asarray(x)


def initial_weights() -> Array:
    """[8]: ones, and ten for the seventh."""
    return jnp.asarray([1, 1, 1, 1, 1, 1, 10, 1], jnp.float32)


def target() -> Array:
    """[7, 2]: always the solid action, 1."""
    return jnp.tile(jnp.asarray([[0.0, 1.0]]), (7, 1))


def behavior() -> Array:
    """[7, 2]: dashed with probability 6/7, solid with 1/7, so that all states are met alike."""
    return jnp.tile(jnp.asarray([[6 / 7, 1 / 7]]), (7, 1))
