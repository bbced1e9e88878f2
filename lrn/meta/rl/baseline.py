"""A baseline fitted anew to each batch of episodes: linear, so that a task's few episodes are enough."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn.rl.env import as_float
from lrn.types import Array


def features(observation: Array) -> Array:
    """The observation, its square, and the time in three powers [time, n, 2 d + 3] (Duan et al. 2016).

    Args:
        observation: [time, n, ...], of d numbers each, cut to [-10, 10]; time counts from 0 in fractions of
            the whole.
    """
    time, n, *_ = observation.shape
    x = jnp.clip(as_float(observation).reshape(time, n, -1), -10.0, 10.0)
    t = jnp.broadcast_to((jnp.arange(time, dtype=x.dtype) / time)[:, None, None], (time, n, 1))
    return jnp.concatenate([x, x**2, t, t**2, t**3], axis=-1)


def fit_values(observation: Array, returns: Array, counted: Array, ridge: ArrayLike = 1e-3) -> Array:
    """The values [time, n] that ridge regression on `features` gives, fitted to the steps that count.

    They are fitted to the returns of the very episodes that they are then a baseline for (as Duan et al. do),
    which biases a gradient by an amount that falls as one over the number of episodes.

    Args:
        observation: [time, n, ...].
        returns: [time, n], the rewards to go.
        counted: [time, n], 1 for the steps to fit, 0 for the others, which get a value that means nothing.
        ridge: penalty relative to a feature's variance.
    """
    x, weight = features(observation), counted / counted.sum()

    def mean(values: Array) -> Array:
        return jnp.einsum("tn,tn...->...", weight, values, precision=_EXACT)

    # Centerd and scaled: the penalty is then fair to all features, and spares the constant; and the matrix is
    # well enough conditioned for float32 even where features repeat each other, as one-hot ones do.
    x = x - mean(x)[None, None]
    x = x / jnp.sqrt(mean(x**2) + 1e-12)[None, None]
    center = mean(returns)
    gram = jnp.einsum("tn,tni,tnj->ij", weight, x, x, precision=_EXACT) + ridge * jnp.eye(x.shape[-1])
    slope = jax.scipy.linalg.solve(gram, mean(x * (returns - center)[..., None]), assume_a="pos")
    return center + jnp.einsum("tni,i->tn", x, slope, precision=_EXACT)


_EXACT = jax.lax.Precision.HIGHEST  # products of 8 bits, a GPU's and TPU's default, can undo the penalty
