"""Penalties on the dependence of scores on the group, for training by gradients.

Each is 0 where scores and group are independent, is weighted, and has a gradient in the scores. The scores
may be logits or chances; the unit of a penalty follows from theirs.

- `covariance_penalty`: only the linear dependence (Zafar et al. 2017).
- `mmd_penalty`, `hsic_penalty`: all of it, by a Gaussian kernel (Gretton et al. 2005, 2012).
- `wasserstein_penalty`: the distance of the distributions of scores (Jiang et al. 2020).
- `mutual_information_penalty`: that of the decision and the group, for chances (Kamishima et al. 2012).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import nan_where
from lrn.fair import arguments
from lrn.types import Array


def covariance_penalty(score: Any, group: Any, groups: int, weights: Any = None) -> Array:
    """The sum over groups of the squared covariance of the score with membership; a scalar.

    Arguments and errors are those of `wasserstein_penalty`.
    """
    score, member, share = _prepared(score, group, groups, weights)
    centered = score - jnp.sum(share * score)
    return jnp.sum(jnp.square(jnp.sum((share * centered)[:, None] * member, axis=0)))


def mmd_penalty(score: Any, group: Any, groups: int, weights: Any = None, *, width: ArrayLike = 1.0) -> Array:
    """The squared maximum mean discrepancy of each group's scores from all scores, summed over groups.

    The biased estimate with a Gaussian kernel, ``exp(-(a - b)^2 / (2 width^2))``. Memory is of the order
    n^2, so give a batch. A group without weight counts 0.

    Args:
        score, group, groups, weights: as for `wasserstein_penalty`.
        width: the width of the kernel, in the unit of the scores; may be swept.

    Raises:
        InputError: an argument is wrong.
    """
    check.positive("width", width)
    score, member, share = _prepared(score, group, groups, weights)
    kernel = _gaussian(score, width)
    mass = jnp.sum(share[:, None] * member, axis=0)
    # Each column: a group's distribution minus that of all.
    here = jnp.where(mass > 0, 1 / jnp.where(mass > 0, mass, 1), 0)
    difference = share[:, None] * (member * here[None] - (mass > 0)[None])
    return jnp.sum(difference * jnp.dot(kernel, difference, precision="highest"))


def hsic_penalty(
    score: Any, group: Any, groups: int, weights: Any = None, *, width: ArrayLike = 1.0
) -> Array:
    """The Hilbert-Schmidt independence criterion of score and group; a scalar.

    The biased estimate, ``trace(K H L H) / n^2`` with equal weights, with a Gaussian kernel K on scores and
    L equal to 1 for rows of the same group and else 0. Arguments and errors are those of `mmd_penalty`.
    """
    check.positive("width", width)
    score, member, share = _prepared(score, group, groups, weights)
    centered = share[:, None] * (member - jnp.sum(share[:, None] * member, axis=0)[None])
    return jnp.sum(centered * jnp.dot(_gaussian(score, width), centered, precision="highest"))


def wasserstein_penalty(score: Any, group: Any, groups: int, weights: Any = None) -> Array:
    """The Wasserstein-1 distance of each group's scores from all scores, weighted by the groups' shares.

    Exact, by the distance between distribution functions: ``integral of |F_g - F|``; a scalar in the unit of
    the scores. The gradient is that of the sorted scores' gaps, and holds except where scores are equal.

    Args:
        score: scores [n]. group: integers in 0..groups-1, [n]. groups: the number of groups.
        weights: weights [n], 0 or more; None: all 1.

    Raises:
        InputError: an argument is wrong. (Under jit the penalty is NaN.)
    """
    score, member, share = _prepared(score, group, groups, weights)
    order = jnp.argsort(score)
    gap = jnp.diff(score[order])
    own = (share[:, None] * member)[order]
    mass = jnp.sum(own, axis=0)
    below = jnp.cumsum(own, axis=0)[:-1]  # [n - 1, groups]
    whole = jnp.cumsum(share[order])[:-1]
    return jnp.sum(gap[:, None] * jnp.abs(below - mass[None] * whole[:, None]))


def mutual_information_penalty(score: Any, group: Any, groups: int, weights: Any = None) -> Array:
    """The mutual information of the group and a decision that is 1 with the chance ``score``; in nats.

    The plug-in value of the prejudice remover (Kamishima et al. 2012), exact on the rows:
    ``sum_g P(g) KL(Bernoulli(p_g), Bernoulli(p))``, where p_g is the mean score of a group and p that of all
    rows. It is 0 where the groups' mean scores are equal, so it penalizes what demographic parity forbids.
    Where a group's mean is 0 or 1 and that of all rows is not, the slope is infinite, and the gradient is
    a large finite number.

    Args:
        score: chances in [0, 1], [n].
        group, groups, weights: as for `wasserstein_penalty`.

    Raises:
        InputError: an argument is wrong. (Under jit the penalty is NaN.)
    """
    score, member, share = _prepared(score, group, groups, weights)
    score = arguments.floats("score", score, score.shape[0], 0, 1)
    share = jnp.where(jnp.all((score >= 0) & (score <= 1)), share, jnp.nan)
    mass = jnp.sum(share[:, None] * member, axis=0)
    total = jnp.sum((share * score)[:, None] * member, axis=0)
    mean = jnp.where(mass == 0, 0, total / jnp.where(mass == 0, 1, mass))
    whole = jnp.sum(share * score)
    tiny = jnp.finfo(score.dtype).tiny

    def relative(a: Array, b: Array) -> Array:
        return a * (jnp.log(jnp.maximum(a, tiny)) - jnp.log(jnp.maximum(b, tiny)))

    return jnp.sum(mass * (relative(mean, whole) + relative(1 - mean, 1 - whole)))


def _gaussian(score: Array, width: ArrayLike) -> Array:
    return jnp.exp(-jnp.square(score[:, None] - score[None]) / (2 * jnp.square(width)))


def _prepared(score: Any, group: Any, groups: int, weights: Any) -> tuple[Array, Array, Array]:
    """The scores [n], the memberships [n, groups], and the shares of the weight [n]."""
    score = arguments.scores("score", score)
    group = arguments.groups(group, score.shape[0], groups)
    weights = arguments.weights(weights, score.shape[0]).astype(score.dtype)
    valid = jnp.all((group >= 0) & (group < groups)) & arguments.proper(weights)
    valid = valid & jnp.all(jnp.isfinite(score))
    share = jnp.where(valid, weights / jnp.sum(weights), jnp.nan)
    # A row of a group out of range is in no column, so shares alone would not show it.
    member = nan_where(~valid, jax.nn.one_hot(group, groups, dtype=score.dtype))
    return nan_where(~valid, score), member, share
