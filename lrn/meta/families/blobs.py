"""Gaussian classes in a space where few directions matter: few-shot classification with a known optimum.

A task is ``ways`` centers, drawn from a normal of deviation ``apart`` in the first ``signal`` dimensions and
zero in the others; an example is its center plus unit noise, in every dimension, times ``nuisance`` in the
others. All of it is turned by one rotation that the tasks share, which is what there is to meta-learn: who
knows the directions needs but the distances in them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.meta.episode import TaskFamily
from lrn.types import Array, Batch, Key, PyTree


def rotation(dim: int, seed: int = 0) -> np.ndarray:
    """The orthogonal matrix [dim, dim] that tasks of a seed share; row i is where dimension i goes."""
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
        ways: classes; shots, queries: examples of each in the support and the query set.
        dim, signal: dimensions, and how many of them tell the classes apart.
        apart: deviation of the centers. nuisance: of the noise in the other dimensions.
        seed: of the rotation that all tasks share.

    The code of a task is its centers in the signal dimensions, [ways * signal].

    Raises:
        ValueError: a count or deviation is out of range.
    """
    check.integer("ways", ways, low=2)
    for name, value in {"shots": shots, "queries": queries, "dim": dim, "signal": signal}.items():
        check.integer(name, value, low=1)
    if signal > dim:
        raise check.InputError(f"signal must be at most dim = {dim}, got {signal}; choose fewer.")
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
