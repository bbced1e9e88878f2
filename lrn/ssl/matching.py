"""Matching two sets of embeddings without a single known pair.

Both methods use the inner geometry of the sets alone, so they find pairs only where both modalities arrange
their examples alike, and symmetries of the arrangement cannot be told apart. `gromov_wasserstein` compares
distances within one set with those within the other. `procrustes_wasserstein` looks for a rotation that lays
one set on the other; it improves a plan, such as that of Gromov-Wasserstein.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero, product
from lrn.ssl.similarity import products, unit, wide
from lrn.ssl.sinkhorn import scaling
from lrn.types import Array


class Match(NamedTuple):
    """A soft matching of rows of one set with rows of the other.

    plan: [n, m], sums to 1; row i tells how the mass of row i is shared. Its sums of rows are 1 / n.
    loss: the value that the plan reaches, without the entropy, a scalar; of several starts keep the smallest.
    error: by how much the sums of columns differ from 1 / m, summed; 0 is exact. More inner iterations make
        it smaller.
    """

    plan: Array
    loss: Array
    error: Array


def distances(x: Array) -> Array:
    """The distances [n, n] of unit embeddings, divided by their root mean square; the diagonal is 0."""
    z = unit(x)
    square = jnp.maximum(2 - 2 * products(z, z), 0) * (1 - jnp.eye(x.shape[0]))
    return jnp.sqrt(square / jnp.maximum(jnp.mean(square), 1e-12))


def gromov_wasserstein(
    a: Array,
    b: Array,
    epsilon: ArrayLike = 0.05,
    *,
    iterations: int = 50,
    inner: int = 100,
    hot: ArrayLike = 1.0,
    start: Array | None = None,
) -> Match:
    """The entropic Gromov-Wasserstein plan of two distance matrices (Peyré, Cuturi and Solomon 2016).

    It minimizes ``sum_ijkl (a_ik - b_jl)^2 T_ij T_kl - epsilon H(T)`` over plans T of uniform sums. Each
    iteration is Sinkhorn's algorithm on the gradient at the last plan. The problem is not convex: try several
    starts, under vmap, and keep the smallest loss. Time is O(n^2 m + n m^2) an iteration. No gradient passes.

    Args:
        a, b: distances [n, n] and [m, m], symmetric, such as those of `distances`.
        epsilon: the weight of the entropy, above 0, in the unit of squared distances. May be traced.
        iterations: the number of plans. inner: the number of rounds of Sinkhorn's algorithm for each.
        hot: the weight of the entropy begins ``hot`` times larger, 1 or more, and falls to ``epsilon``
            geometrically over the first half of the iterations. A higher start depends less on ``start``.
        start: the plan [n, m] to begin with, positive; None: the uniform plan, from which all rows look the
            same but for their distances to the others.

    Raises:
        InputError: a shape or an argument is wrong.
    """
    for name, x in (("a", a), ("b", b)):
        if x.ndim != 2 or x.shape[0] != x.shape[1] or x.shape[0] < 2:
            raise check.InputError(f"{name} must be distances [n, n] with n of 2 or more, got {x.shape}.")
    n, m = a.shape[0], b.shape[0]
    _check(epsilon, iterations, inner)
    check.between("hot", hot, 1, float("inf"))
    if start is not None and start.shape != (n, m):
        raise check.InputError(f"start must be a plan {(n, m)}, got {start.shape}.")
    a, b = jax.lax.stop_gradient((wide(a), wide(b)))
    rows, columns = _uniform(n), _uniform(m)

    def half_gradient(plan: Array) -> Array:
        """Half the gradient, sum_kl (a_ik - b_jl)^2 T_kl, [n, m], by three products of matrices."""
        mine = jnp.square(a) @ jnp.sum(plan, axis=1)
        theirs = jnp.square(b) @ jnp.sum(plan, axis=0)
        return mine[:, None] + theirs[None] - 2 * product(a, plan, b)

    cooling = max(1, iterations // 2)

    def improved(plan: Array, i: Array) -> tuple[Array, None]:
        weight = above_zero(epsilon) * jnp.asarray(hot, a.dtype) ** jnp.maximum(0.0, 1 - i / cooling)
        return jnp.exp(scaling(-2 * half_gradient(plan) / weight, rows, columns, inner)), None

    begin = jnp.full((n, m), 1 / (n * m), a.dtype) if start is None else wide(start) / jnp.sum(start)
    plan, _ = jax.lax.scan(improved, begin, jnp.arange(iterations))
    return Match(plan, jnp.sum(half_gradient(plan) * plan), _error(plan))


def procrustes_wasserstein(
    a: Array, b: Array, plan: Array, epsilon: ArrayLike = 0.05, *, iterations: int = 20, inner: int = 100
) -> tuple[Array, Match]:
    """A rotation of embeddings and the plan between the rotated ones and the others (Grave et al. 2019).

    The two are improved in turn: the rotation is that of the least squared distances under the plan, the plan
    is the entropic one of the squared distances after the rotation.

    Args:
        a, b: embeddings [n, dim] and [m, dim]; they are normalized.
        plan: the plan [n, m] to begin with, such as that of `gromov_wasserstein`.
        epsilon: the weight of the entropy, above 0, in the unit of squared distances. May be traced.
        iterations: the number of improvements. inner: the number of rounds of Sinkhorn's algorithm for each.

    Returns:
        The orthogonal matrix [dim, dim] that lays ``unit(a) @ rotation`` on ``unit(b)``, and the match, whose
        loss is the mean squared distance under the plan.

    Raises:
        InputError: a shape or an argument is wrong.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or plan.shape != (a.shape[0], b.shape[0]):
        raise check.InputError(
            f"embeddings must be [n, dim] and [m, dim] and the plan [n, m], got {a.shape}, {b.shape} and "
            f"{plan.shape}."
        )
    _check(epsilon, iterations, inner)
    a, b = jax.lax.stop_gradient((unit(a), unit(b)))
    rows, columns = _uniform(a.shape[0]), _uniform(b.shape[0])

    def improved(plan: Array, _: None) -> tuple[Array, None]:
        near = products(product(a, procrustes(a, b, plan)), b)
        return jnp.exp(scaling((2 * near - 2) / above_zero(epsilon), rows, columns, inner)), None

    plan, _ = jax.lax.scan(improved, wide(plan), None, iterations)
    rotation = procrustes(a, b, plan)
    loss = jnp.sum(plan * (2 - 2 * products(product(a, rotation), b)))
    return rotation, Match(plan, loss, _error(plan))


def procrustes(a: Array, b: Array, plan: Array) -> Array:
    """The orthogonal matrix R [dim, dim] of the least ``sum_ij plan_ij |a_i R - b_j|^2`` (Schönemann 1966).

    Known pairs are a diagonal plan: with n of them this is the supervised alignment of two spaces.
    """
    left, _, right = jnp.linalg.svd(product(wide(a).T, plan, wide(b)), full_matrices=False)
    return product(left, right)


def _check(epsilon: ArrayLike, iterations: int, inner: int) -> None:
    check.positive("epsilon", epsilon)
    check.integer("iterations", iterations, 1)
    check.integer("inner", inner, 1)


def _uniform(n: int) -> Array:
    return jnp.full(n, -jnp.log(float(n)))


def _error(plan: Array) -> Array:
    return jnp.sum(jnp.abs(jnp.sum(plan, axis=0) - 1 / plan.shape[1]))
