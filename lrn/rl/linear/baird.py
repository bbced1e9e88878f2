"""Baird's counterexample (1995) in the form of Sutton and Barto (2018, example 11.1).

The MDP has seven states, eight features and zero rewards, so that all values are zero and the features can
represent them. Off-policy, semi-gradient TD diverges for every step size. `lrn.rl.mdp.baird` is the MDP.
"""

from __future__ import annotations

import jax
import numpy as np

from lrn.types import Array


def features() -> Array:
    """The features [7, 8]: values are ``2 w_i + w_8`` in the first six states, ``w_7 + 2 w_8`` in the 7th."""
    x = np.zeros((7, 8), np.float32)
    x[np.arange(6), np.arange(6)], x[:6, 7] = 2, 1
    x[6, 6], x[6, 7] = 1, 2
    return jax.device_put(x)


def initial_weights() -> Array:
    """The book's first weights [8]: ten for the seventh, one for all others."""
    return jax.device_put(np.array([1, 1, 1, 1, 1, 1, 10, 1], np.float32))


def target() -> Array:
    """The target policy [7, 2], which always takes the solid action, 1."""
    return jax.device_put(np.tile([0.0, 1.0], (7, 1)))


def behavior() -> Array:
    """The behavior policy [7, 2]: dashed with probability 6/7, solid with 1/7; visits are uniform."""
    return jax.device_put(np.tile([6 / 7, 1 / 7], (7, 1)))
