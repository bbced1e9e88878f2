"""The total correlation of codes, KL(q(z) || prod_j q(z_j)), in nats: 0 if and only if they are independent.

q(z) is the aggregate posterior, the mean of q(z | x) over the data. Chen et al. (2018) estimate log q(z) from
the posteriors of one minibatch; `log_densities` has both of their estimators.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import above_zero
from lrn.representation.elbo import log_density
from lrn.types import Array

SAMPLING = ("stratified", "weighted")


def gaussian_total_correlation(covariance: Array) -> Array:
    """The total correlation of a normal distribution, minus half the log determinant of its correlations.

    Args:
        covariance: [z, z], positive definite; NaN for one that is not.

    Raises:
        InputError: the covariance is not square.
    """
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
        raise check.InputError(f"a covariance must be [z, z], got shape {covariance.shape}.")
    root = jnp.diagonal(jnp.linalg.cholesky(covariance))
    return 0.5 * jnp.sum(jnp.log(jnp.diagonal(covariance))) - jnp.sum(jnp.log(root))


def log_densities(
    codes: Array, mean: Array, log_variance: Array, rows: ArrayLike = math.inf, sampling: str = "weighted"
) -> tuple[Array, Array]:
    """log q(z) [n] and log q(z_j) [n, z] of the codes of a batch, in nats. Memory is O(n^2 z).

    "weighted", minibatch weighted sampling, is the mean of the batch's posteriors at a code. It counts the
    code's own posterior with weight 1 / n, and not with 1 / rows, so the densities are too large. The formula
    of the paper divides them by ``rows`` besides, which no gradient sees, but which adds (z - 1) log(rows) to
    the total correlation; that constant is left out here, as in disentanglement_lib. "stratified", minibatch
    stratified sampling, weighs the posterior of a code's own example with 1 / rows, and its estimates of q(z)
    and q(z_j) are unbiased; their logarithms are not.

    Args:
        codes: drawn from the posteriors, row i from posterior i, [n, z].
        mean, log_variance: of the posteriors, [n, z].
        rows: the number of examples in the data, n or more; inf for data that never repeat. May be traced;
            used by "stratified" alone.
        sampling: "weighted" or "stratified".

    Raises:
        InputError: the sampling is not known, shapes differ, or the batch or ``rows`` is too small.
    """
    check.choice("sampling", sampling, SAMPLING)
    if codes.ndim != 2 or codes.shape != mean.shape or codes.shape != log_variance.shape:
        raise check.InputError(
            f"codes, means and log variances must be [n, z] of one shape, got {codes.shape}, {mean.shape} "
            f"and {log_variance.shape}."
        )
    n = codes.shape[0]
    if n < 2:
        raise check.InputError(f"a batch of {n} has no total correlation; give 2 examples or more.")
    each = log_density(codes[:, None], mean[None], log_variance[None])
    if sampling == "weighted":
        log_weights = jnp.full((n, n), -math.log(n))
    else:
        log_weights = jnp.log(stratified_weights(n, rows))
    joint = jax.nn.logsumexp(jnp.sum(each, axis=2) + log_weights, axis=1)
    return joint, jax.nn.logsumexp(each + log_weights[:, :, None], axis=1)


def stratified_weights(n: int, rows: ArrayLike) -> Array:
    """The weights [n, n] of minibatch stratified sampling: of posterior j at the code of example i.

    An example's own posterior has 1 / rows, one other has 1 / (n - 1) - 1 / rows, the rest have 1 / (n - 1).
    (The authors' code gives the weight 1 / rows to the first column in place of the diagonal.)

    Raises:
        InputError: ``rows`` is below n.
    """
    if isinstance(rows, (int, float)) and rows < n:
        raise check.InputError(f"rows must be at least the batch of {n}, got {rows}; give the data's size.")
    own = 1.0 / _above_zero(rows)
    same = jnp.eye(n, dtype=bool)
    after = jnp.roll(same, 1, axis=1)
    return jnp.where(same, own, jnp.where(after, 1.0 / (n - 1) - own, 1.0 / (n - 1)))


def _above_zero(rows: ArrayLike) -> Any:
    """As `lrn.arrays.above_zero`, but inf is allowed."""
    return rows if isinstance(rows, (int, float)) else jnp.where(jnp.isinf(rows), rows, above_zero(rows))


def total_correlation(
    codes: Array, mean: Array, log_variance: Array, rows: ArrayLike = math.inf, sampling: str = "weighted"
) -> Array:
    """The estimated total correlation of a batch, a scalar in nats; arguments as for `log_densities`."""
    joint, marginals = log_densities(codes, mean, log_variance, rows, sampling)
    return jnp.mean(joint - jnp.sum(marginals, axis=1))
