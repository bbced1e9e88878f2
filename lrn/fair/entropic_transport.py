"""Entropic optimal transport repair: features of several dimensions, without a Gaussian assumption.

A row of one group moves to the mean, by the groups' shares, of its images in all groups; its image in its own
group is the row itself. The image in another group is the mean of that group's rows under the entropic
optimal plan (barycentric projection; Gordaliza et al. 2019, section 4), at new rows the entropic map of
Pooladian & Niles-Weed (2021). For two groups the result tends to the barycenter as epsilon tends to 0. For
more groups it does so in one dimension and for commuting linear maps; in other cases it is near the
barycenter.

A large epsilon pulls all images of a group to the other group's mean. Time and memory grow with n^2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.config import config
from lrn.fair import arguments
from lrn.types import Array


@config
class EntropicConfig:
    """Settings of Sinkhorn's algorithm.

    epsilon: the weight of the entropy, as a share of the mean squared distance of two rows; above 0.
    iterations: the number of updates of both potentials; more are needed for a smaller epsilon.
    """

    epsilon: float = 0.01
    iterations: int = 500

    def __post_init__(self) -> None:
        check.positive("epsilon", self.epsilon)
        check.counts(self, "iterations")


class EntropicTransport(NamedTuple):
    """The potentials of all pairs of groups.

    x: [n, dim], the rows of the fit. group: [n]. share: [groups], the groups' shares of the weight.
    log_weight: [n], the log of a row's share of its group's weight.
    potential: [groups, groups, n]: at (a, b) the dual potential of the rows of group b for the plan from a,
        in the unit of squared distance. epsilon: in the same unit, a scalar.
    error: [groups, groups], by how much the plan from a to b misses the weights of the rows of b, summed over
        them; 0 is exact. More iterations make it smaller.
    """

    x: Array
    group: Array
    share: Array
    log_weight: Array
    potential: Array
    epsilon: Array
    error: Array


def fit_entropic(
    x: Any,
    group: Any,
    groups: int,
    config: EntropicConfig = EntropicConfig(),  # noqa: B008
    *,
    weights: Any = None,
) -> EntropicTransport:
    """Sinkhorn's potentials of the plans between all pairs of groups; jit and vmap safe.

    Args:
        x: features [n, dim], scaled so that their squared distance means something.
        group: integers in 0..groups-1, [n]. groups: the number of groups.
        config: the settings; epsilon may be swept. weights: weights [n], 0 or more; None: all 1.

    Raises:
        InputError: an argument is wrong, or a group has no rows. (Under jit wrong values give NaN.)
    """
    x, group, weights, mass = arguments.grouped(x, group, groups, weights)
    share = weights / jnp.sum(weights)
    distance = _distances(x, x)
    epsilon = config.epsilon * jnp.sum(share[:, None] * share[None] * distance)
    log_weight = jnp.log(weights) - jnp.log(mass)[group]
    member = group[None] == jnp.arange(groups)[:, None]
    own = jnp.where(member, log_weight[None], -jnp.inf)  # [groups, n]

    def between(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        return _sinkhorn(distance, own[pair[0]], own[pair[1]], epsilon, config.iterations)

    first, second = jnp.indices((groups, groups)).reshape(2, -1)
    potential, error = jax.lax.map(between, (first, second))
    wrong = jnp.where(jnp.isfinite(jnp.sum(weights)), 0, jnp.nan).astype(x.dtype)
    return EntropicTransport(
        x,
        group,
        mass / jnp.sum(mass),
        log_weight,
        potential.reshape(groups, groups, -1) + wrong,
        epsilon,
        error.reshape(groups, groups) + wrong,
    )


def entropic_transported(fitted: EntropicTransport, x: Any, group: Any, amount: ArrayLike = 1.0) -> Array:
    """Features [n, dim] moved the share ``amount`` of the way to the mean of their images.

    Args:
        fitted: the result of `fit_entropic`.
        x: features [n, dim], of the fit or new. group: integers [n].
        amount: in [0, 1]; 0 changes nothing. May be swept.

    Raises:
        InputError: an argument is wrong. (Under jit the row of an unknown group is NaN.)
    """
    check.between("amount", amount, 0, 1)
    groups, dim = fitted.share.shape[0], fitted.x.shape[1]
    x = arguments.fitted("x", x, dim)
    group = arguments.groups(group, x.shape[0], groups)
    distance = _distances(x, fitted.x)
    goal = jnp.zeros_like(x)
    for to in range(groups):
        level = jnp.where(fitted.group == to, fitted.log_weight, -jnp.inf)[None]
        pull = (fitted.potential[:, to][group] - distance) / fitted.epsilon
        plan = jax.nn.softmax(level + pull, axis=1)
        image = jnp.dot(plan, fitted.x, precision="highest")
        goal = goal + fitted.share[to] * jnp.where((group == to)[:, None], x, image)
    known = (group >= 0) & (group < groups)
    return jnp.where(known[:, None], (1 - amount) * x + amount * goal, jnp.nan)


def _sinkhorn(
    distance: Array, source: Array, target: Array, epsilon: Array, iterations: int
) -> tuple[Array, Array]:
    """The potential of the target rows, 0 for the others, and the plan's error; in logarithms."""

    def soft(potential: Array, level: Array, cost: Array) -> Array:
        value = level[None] + (potential[None] - cost) / epsilon
        return -epsilon * jax.nn.logsumexp(value, axis=1)

    def step(_: Any, g: Array) -> Array:
        return soft(soft(g, target, distance), source, distance.T)

    g = jax.lax.fori_loop(0, iterations, step, jnp.zeros_like(source))
    f = soft(g, target, distance)
    # The rows of the plan are exact after the last update, so the columns show the error.
    column = jax.nn.logsumexp(source[None] + (f[None] + g[:, None] - distance.T) / epsilon, axis=1)
    error = jnp.sum(jnp.exp(target) * jnp.abs(jnp.exp(column) - 1))
    return jnp.where(jnp.isfinite(target), g, 0), error


def _distances(a: Array, b: Array) -> Array:
    """The squared distances of rows, [n, m]."""
    square = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None]
    return jnp.maximum(square - 2 * jnp.dot(a, b.T, precision="highest"), 0)
