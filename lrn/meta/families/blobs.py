"""Gaussian classes in a space where few directions matter: few-shot classification with a known optimum.

A task is ``ways`` centers. In the first ``signal`` dimensions the centers are normal with standard deviation
``apart``; in the other dimensions they are zero. An example is the center of its class plus normal noise, of
standard deviation 1 in the first dimensions and ``nuisance`` in the others. One rotation, which all tasks
share, turns all examples. This rotation is the structure to meta-learn: a learner that knows the signal's
directions needs only the distances along them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.meta.episode import TaskFamily
from lrn.types import Array, Batch, Key, PyTree


def rotation(dim: int, seed: int = 0) -> np.ndarray:
    """The orthogonal matrix [dim, dim] of a seed; row i is the direction to which it turns dimension i."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0].T.astype(np.float32)


def blobs(
    ways: int = 5,
    shots: int = 1,
    queries: int = 5,
    *,
    dim: int = 8,
    signal: int = 2,
    apart: float = 3.0,
    nuisance: float = 2.0,
    seed: int = 0,
) -> TaskFamily:
    """Classification of points [dim] into ``ways`` classes.

    Args:
        ways: the number of classes.
        shots: the number of examples of each class in the support set.
        queries: the number of examples of each class in the query set.
        dim: the number of dimensions.
        signal: the number of dimensions in which the classes differ.
        apart: the standard deviation of the centers.
        nuisance: the standard deviation of the noise in the other dimensions.
        seed: the seed of the rotation that all tasks share.

    The code of a task is its centers in the signal dimensions, [ways * signal].

    Raises:
        ValueError: a count or a deviation is out of range.
    """
    check.integer("ways", ways, low=2)
    for name, value in {"shots": shots, "queries": queries, "dim": dim, "signal": signal}.items():
        check.integer(name, value, low=1)
    if signal > dim:
        raise check.InputError(f"signal must be at most dim = {dim}, got {signal}; choose a smaller signal.")
    check.positive("apart", apart)
    check.non_negative("nuisance", nuisance)
    turn = rotation(dim, seed)
    scale = jnp.where(jnp.arange(dim) < signal, 1.0, nuisance)

    def sample(key: Key) -> PyTree:
        return apart * jax.random.normal(key, (ways, signal))

    def batch(key: Key, task: PyTree) -> tuple[Batch, Batch]:
        count = shots + queries
        noise = scale[None, None] * jax.random.normal(key, (count, ways, dim))
        x = noise.at[:, :, :signal].add(task[None]).reshape(-1, dim) @ turn
        y = jnp.tile(jnp.arange(ways, dtype=jnp.int32), count)
        n = shots * ways
        return {"x": x[:n], "y": y[:n]}, {"x": x[n:], "y": y[n:]}

    def code(task: PyTree) -> Array:
        return task.reshape(-1)

    return TaskFamily("blobs", sample, batch, ways, code)
