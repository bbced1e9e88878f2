"""A linear baseline, fitted to each batch of episodes; the few episodes of a task suffice for it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn.rl.env import as_float
from lrn.types import Array


def features(observation: Array) -> Array:
    """The features of the baseline, [time, n, 2 d + 3] (Duan et al. 2016).

    The features are the observation, clipped to [-10, 10], its square, and three powers of the time. The
    time is a fraction of the episodes' length, from 0.

    Args:
        observation: [time, n, ...], of d numbers each.
    """
    time, n, *_ = observation.shape
    x = jnp.clip(as_float(observation).reshape(time, n, -1), -10.0, 10.0)
    t = jnp.broadcast_to((jnp.arange(time, dtype=x.dtype) / time)[:, None, None], (time, n, 1))
    return jnp.concatenate([x, x**2, t, t**2, t**3], axis=-1)


def fit_values(observation: Array, returns: Array, counted: Array, ridge: ArrayLike = 1e-3) -> Array:
    """Values [time, n] by ridge regression of the returns on `features`, fitted to the steps that count.

    The values are fitted to the returns of the same episodes for which they are the baseline, as in Duan et
    al. This biases the policy gradient by an amount that is inversely proportional to the number of episodes.

    Args:
        observation: [time, n, ...].
        returns: [time, n], the discounted sums of rewards from each step on.
        counted: [time, n], 1 for the steps to fit, 0 for all others; the values of the others mean nothing.
        ridge: the penalty, relative to a feature's variance.
    """
    x, weight = features(observation), counted / counted.sum()

    def mean(values: Array) -> Array:
        return jnp.einsum("tn,tn...->...", weight, values, precision=_EXACT)

    # Features are centered and scaled. The penalty is then the same for all features, and leaves out the
    # constant. The matrix stays well conditioned in float32 even if features are dependent, as one-hot
    # ones are.
    x = x - mean(x)[None, None]
    x = x / jnp.sqrt(mean(x**2) + 1e-12)[None, None]
    center = mean(returns)
    gram = jnp.einsum("tn,tni,tnj->ij", weight, x, x, precision=_EXACT) + ridge * jnp.eye(x.shape[-1])
    slope = jax.scipy.linalg.solve(gram, mean(x * (returns - center)[..., None]), assume_a="pos")
    return center + jnp.einsum("tni,i->tn", x, slope, precision=_EXACT)


# By default GPUs and TPUs round factors to as few as 8 bits; this error can exceed the penalty.
_EXACT = jax.lax.Precision.HIGHEST
