"""Gaussian classes along directions that tasks share or have for themselves, with a dial in between.

In a space of ``dim`` dimensions, ``signal`` directions tell the classes of a task apart, and all other
directions hold only noise. At ``unshared=0`` all tasks have the same directions, as `lrn.meta.families.blobs`
do; at 1 each task draws its own. The dial changes what tasks share and nothing else: at each of its positions
a task is equally hard for a predictor that is told the directions (`posterior`) and for one that learns from
scratch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lrn import check
from lrn.meta.episode import Episode, TaskFamily
from lrn.meta.families.blobs import rotation
from lrn.types import Array, Batch, Key, PyTree


def directions(
    ways: int = 5,
    shots: int = 1,
    queries: int = 5,
    *,
    dim: int = 16,
    signal: int = 2,
    apart: float = 3.0,
    nuisance: float = 2.0,
    unshared: float = 0.0,
    seed: int = 0,
) -> TaskFamily:
    """Classification of points [dim] into ``ways`` classes.

    A class is normal about its center with deviation 1 along the signal directions, and about zero with
    deviation ``nuisance`` across them.

    Args:
        ways: the number of classes.
        shots: the number of examples of each class in the support set.
        queries: the number of examples of each class in the query set.
        dim: the number of dimensions.
        signal: the number of directions that tell the classes apart.
        apart: the standard deviation of the centers.
        nuisance: the standard deviation of the noise across the signal directions.
        unshared: the fraction, in [0, 1], of a direction's variance that is the task's own, before the
            directions are made orthonormal; may be traced.
        seed: the seed of the directions that tasks share.

    The code of a task is its directions, orthonormal rows [signal, dim], flat.

    Raises:
        ValueError: a count, a deviation or the dial is out of range.
    """
    check.integer("ways", ways, low=2)
    for name, value in {"shots": shots, "queries": queries, "dim": dim, "signal": signal}.items():
        check.integer(name, value, low=1)
    if signal > dim:
        raise check.InputError(f"signal must be at most dim = {dim}, got {signal}; choose fewer.")
    check.positive("apart", apart)
    check.non_negative("nuisance", nuisance)
    check.between("unshared", unshared, 0.0, 1.0)
    shared = jnp.asarray(rotation(dim, seed)[:signal])

    def sample(key: Key) -> PyTree:
        center_key, own_key = jax.random.split(key)
        own = jax.random.normal(own_key, (signal, dim)) / jnp.sqrt(dim)  # of length 1 on average
        return {
            "centers": apart * jax.random.normal(center_key, (ways, signal)),
            "frame": orthonormal(jnp.sqrt(1 - unshared) * shared + jnp.sqrt(unshared) * own),
        }

    def batch(key: Key, task: PyTree) -> tuple[Batch, Batch]:
        noise, frame = jax.random.normal(key, (shots + queries, ways, dim)), task["frame"]
        along = noise @ frame.T
        x = nuisance * (noise - along @ frame) + (task["centers"][None] + along) @ frame
        y = jnp.tile(jnp.arange(ways, dtype=jnp.int32), shots + queries)
        x, n = x.reshape(-1, dim), shots * ways
        return {"x": x[:n], "y": y[:n]}, {"x": x[n:], "y": y[n:]}

    return TaskFamily("directions", sample, batch, ways, lambda task: task["frame"].reshape(-1))


def orthonormal(rows: Array) -> Array:
    """Rows [n, dim] made orthonormal one after another, by Gram and Schmidt."""
    done: list[Array] = []
    for row in rows:
        for other in done:
            row = row - (row @ other) * other
        done.append(row / jnp.linalg.norm(row))
    return jnp.stack(done)


def posterior(episode: Episode, ways: int, apart: float = 3.0) -> Array:
    """The log density of each query under each class, up to a constant, given the directions: [n, ways].

    This is the best prediction from a support set for a predictor that knows the family and the task's code,
    its directions. After m examples of a class the precision of its center is p = 1 / apart^2 + m, the mean
    of the center is the sum of the examples over p (Bishop 2006, eq. 2.141 and 2.142), and a query has the
    variance 1 + 1 / p about that mean.

    Args:
        episode: one task: support x [m, dim] and y int [m], query x [n, dim], code [signal * dim].
        ways: the number of classes.
        apart: the standard deviation of the centers; it must be that of the family.

    Raises:
        InputError: the code does not hold whole directions of the queries' dimensions.
    """
    dim = episode.query["x"].shape[-1]
    if episode.code.ndim != 1 or episode.code.size % dim:
        raise check.InputError(
            f"the code must hold directions of {dim} dimensions, got shape {list(episode.code.shape)}; give "
            "one episode of directions."
        )
    frame = episode.code.reshape(-1, dim)
    known, seen = episode.support["x"] @ frame.T, episode.query["x"] @ frame.T
    of_class = jax.nn.one_hot(episode.support["y"], ways)
    count = of_class.sum(0)
    precision = 1 / apart**2 + count
    center = (of_class.T @ known) / precision[:, None]
    variance = 1 + 1 / precision
    distance = ((seen[:, None] - center[None]) ** 2).sum(-1)
    return -distance / (2 * variance[None]) - len(frame) / 2 * jnp.log(variance)[None]
