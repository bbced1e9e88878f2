"""Optimal transport repair of features: each group moves to the Wasserstein barycenter of all groups.

The barycenter is the distribution with the least mean squared Wasserstein-2 distance from the groups',
weighted by their shares. After the total repair features tell nothing about the group (Gordaliza et al.
2019). The partial repair goes part of the way on the straight line, which is the geodesic.

- `fit_marginals`: each feature by itself, exact, by quantiles. It keeps ranks within a group. Feldman's
  repair (`lrn.fair.repair`) has the median of the groups' quantiles instead of their mean as target.
- `fit_gaussian`: all features jointly, by their means and covariances; exact for Gaussian groups and for
  elliptical groups of one family. Other groups get equal means and covariances and may differ otherwise.

`lrn.fair.entropic_transport` does without the Gaussian assumption. The group must be known at prediction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import product
from lrn.config import config
from lrn.fair import arguments
from lrn.fair.repair import Repair, fit_repair
from lrn.stats.roots import roots
from lrn.types import Array


@config
class GaussianTransportConfig:
    """Settings of the Gaussian repair.

    ridge: added to the variance of every feature in all groups, as a share of the features' mean variance;
        0 or more. It is needed where features are collinear in a group, and then equality is approximate.
    iterations: of the fixed point of the barycenter's covariance; one suffices for two groups.
    """

    ridge: float = 0.0
    iterations: int = 50

    def __post_init__(self) -> None:
        check.non_negative("ridge", self.ridge)
        check.counts(self, "iterations")


class GaussianTransport(NamedTuple):
    """The maps of the groups: ``x -> center + (x - mean_g) @ linear_g``.

    mean: [groups, dim]. linear: [groups, dim, dim], symmetric and positive definite. center: [dim] and
    covariance: [dim, dim], those of the barycenter.
    """

    mean: Array
    linear: Array
    center: Array
    covariance: Array


def fit_marginals(x: Any, group: Any, groups: int, *, weights: Any = None, levels: int = 1001) -> Repair:
    """Each group's quantiles of every feature, and their mean by the groups' shares; jit and vmap safe.

    The result goes to `lrn.fair.repair.repaired`, which moves features all or part of the way. Arguments and
    errors are those of `lrn.fair.repair.fit_repair`. (Under jit the repair is NaN for wrong values.)
    """
    fitted = fit_repair(x, group, groups, weights=weights, levels=levels)
    _, _, weights, mass = arguments.grouped(x, group, groups, weights)
    share = mass / jnp.sum(mass)
    fine = jnp.where(jnp.isfinite(jnp.sum(weights)), 1, jnp.nan).astype(share.dtype)
    quantiles = fitted.quantiles * fine
    return Repair(quantiles, jnp.einsum("g,gdl->dl", share, quantiles, precision="highest"))


def fit_gaussian(
    x: Any,
    group: Any,
    groups: int,
    config: GaussianTransportConfig = GaussianTransportConfig(),  # noqa: B008
    *,
    weights: Any = None,
) -> GaussianTransport:
    """The optimal maps between Gaussians with the groups' moments and their barycenter; jit and vmap safe.

    The barycenter's covariance S solves ``S = sum_g p_g (S^1/2 S_g S^1/2)^1/2`` (Agueh & Carlier 2011), by
    the fixed point of Alvarez-Esteban et al. (2016). The covariances divide by the sum of the weights.

    Args:
        x: features [n, dim]. group: integers in 0..groups-1, [n]. groups: the number of groups.
        config: the settings. weights: weights [n], 0 or more; None: all 1.

    Returns:
        The maps. They are NaN where a group's covariance is singular, which a ridge cures.

    Raises:
        InputError: an argument is wrong, or a group has no rows. (Under jit wrong values give NaN.)
    """
    x, group, weights, mass = arguments.grouped(x, group, groups, weights)
    share = mass / jnp.sum(mass)
    member = jax.nn.one_hot(group, groups, dtype=x.dtype) * weights[:, None]
    member = member / jnp.sum(member, axis=0)[None]
    mean = jnp.dot(member.T, x, precision="highest")

    def scatter(column: Array, center: Array) -> Array:
        apart = x - center[None]
        return jnp.dot((column[:, None] * apart).T, apart, precision="highest")

    cov = jax.vmap(scatter, in_axes=(1, 0))(member, mean)
    dim = x.shape[1]
    size = jnp.sum(share * jnp.trace(cov, axis1=1, axis2=2)) / dim
    cov = cov + (config.ridge * size * jnp.eye(dim, dtype=x.dtype))[None]
    middle = bures_barycenter(cov, share, config.iterations)
    linear = jax.vmap(lambda one: bures_map(one, middle))(cov)
    return GaussianTransport(mean, linear, _mean(share, mean), middle)


def transported(fitted: GaussianTransport, x: Any, group: Any, amount: ArrayLike = 1.0) -> Array:
    """Features [n, dim] moved the share ``amount`` of the way to the barycenter.

    Args:
        fitted: the result of `fit_gaussian`.
        x: features [n, dim]. group: integers [n]. amount: in [0, 1]; 0 changes nothing. May be swept.

    Raises:
        InputError: an argument is wrong. (Under jit the row of an unknown group is NaN.)
    """
    check.between("amount", amount, 0, 1)
    groups, dim = fitted.mean.shape
    x = arguments.fitted("x", x, dim)
    group = arguments.groups(group, x.shape[0], groups)
    member = jax.nn.one_hot(group, groups, dtype=x.dtype)
    apart = x - jnp.dot(member, fitted.mean, precision="highest")
    goal = fitted.center[None] + jnp.einsum(
        "ng,nd,gde->ne", member, apart, fitted.linear, precision="highest"
    )
    known = (group >= 0) & (group < groups)
    return jnp.where(known[:, None], (1 - amount) * x + amount * goal, jnp.nan)


def bures_barycenter(cov: Array, share: Array, iterations: int = 50) -> Array:
    """The covariance [dim, dim] of the barycenter of centered Gaussians.

    Args:
        cov: positive definite covariances [groups, dim, dim]. share: their weights [groups], of sum 1.
        iterations: of the fixed point, which starts from the mean covariance.
    """

    def step(_: Any, middle: Array) -> Array:
        root, inverse = roots(middle)
        between = jax.vmap(lambda one: _root(product(root, one, root)))(cov)
        mean = _mean(share, between)
        return _symmetric(product(inverse, product(mean, mean), inverse))

    return jax.lax.fori_loop(0, iterations, step, _mean(share, cov))


def bures_map(source: Array, target: Array) -> Array:
    """The optimal linear map [dim, dim] from a centered Gaussian to another, given their covariances.

    ``A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2``, symmetric (Dowson & Landau 1982); NaN for a singular source.
    """
    root, inverse = roots(source)
    return _symmetric(product(inverse, _root(product(root, target, root)), inverse))


def _root(matrix: Array) -> Array:
    """The square root of a positive semidefinite matrix."""
    value, vector = jnp.linalg.eigh(_symmetric(matrix))
    return product(vector * jnp.sqrt(jnp.maximum(value, 0))[None], vector.T)


def _mean(share: Array, values: Array) -> Array:
    """The mean of arrays [groups, ...] by the groups' shares."""
    return jnp.tensordot(share, values, axes=1, precision="highest")


def _symmetric(matrix: Array) -> Array:
    return (matrix + matrix.T) / 2
