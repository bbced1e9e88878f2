"""Linear regressions with Gaussian weights: every optimum is known in closed form.

``w ~ N(mean, spread^2 I)``, ``x ~ N(0, I)``, ``y = x w + noise * N(0, 1)``. The optimal adaptation to a
support set is ridge regression towards ``mean`` (`posterior_mean`). One inner step from an
initialization, and its meta-gradient, have closed forms too.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from lrn import check
from lrn.meta.episode import TaskFamily
from lrn.types import Array, Batch, Key, PyTree


def linear_gaussian(
    mean: Sequence[float] = (1.0, -1.0, 0.5),
    shots: int = 5,
    queries: int = 10,
    *,
    spread: float = 0.5,
    noise: float = 0.1,
) -> TaskFamily:
    """Regression of one number from ``len(mean)`` numbers.

    Args:
        mean: the mean of the tasks' weights.
        spread: the standard deviation of the weights between tasks; at 0 all tasks are equal.
        shots, queries: the number of points in the support and in the query set.
        noise: the standard deviation of the noise on y.

    The code of a task is its weights, [len(mean)].

    Raises:
        ValueError: a count or a deviation is out of range, or ``mean`` is empty.
    """
    check.integer("shots", shots, low=1)
    check.integer("queries", queries, low=1)
    check.non_negative("spread", spread)
    check.non_negative("noise", noise)
    if len(mean) == 0:
        raise check.InputError(
            "mean must hold at least one weight, got none; give one number for each dimension."
        )
    dim = len(mean)

    def sample(key: Key) -> PyTree:
        return jnp.asarray(mean, jnp.float32) + spread * jax.random.normal(key, (dim,))

    def batch(key: Key, task: PyTree) -> tuple[Batch, Batch]:
        x_key, noise_key = jax.random.split(key)
        x = jax.random.normal(x_key, (shots + queries, dim))
        y = x @ task[:, None] + noise * jax.random.normal(noise_key, (shots + queries, 1))
        return {"x": x[:shots], "y": y[:shots]}, {"x": x[shots:], "y": y[shots:]}

    return TaskFamily("linear Gaussian", sample, batch, 1, lambda task: task)


def posterior_mean(support: Batch, mean: Array, spread: float, noise: float) -> Array:
    """The posterior mean of a task's weights given its support set, [dim]: the optimal adaptation.

    ``(X'X / noise^2 + I / spread^2)^-1 (X'y / noise^2 + mean / spread^2)`` (Bishop 2006, eq. 3.50). Either
    deviation may be 0. With noise 0 the result is the limit for small noise: the weights nearest to ``mean``
    that fit the points. With spread 0 it is ``mean``.

    Args:
        support: ``{"x": [n, dim], "y": [n, 1]}``.
        mean: [dim], the mean of the tasks' weights.
        spread, noise: the standard deviations of the family.
    """
    x, y = support["x"], support["y"][:, 0]
    # A least-squares problem for w - mean, multiplied by both deviations. The points ask that
    # spread X (w - mean) = spread (y - X mean), the prior asks that noise (w - mean) = 0.
    rows = jnp.concatenate([spread * x, noise * jnp.eye(x.shape[1], dtype=x.dtype)])
    short = jnp.concatenate([spread * (y - x @ mean), jnp.zeros(x.shape[1], x.dtype)])
    return mean + jnp.linalg.pinv(rows) @ short
