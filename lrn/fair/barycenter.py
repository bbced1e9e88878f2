"""Fair scores by the Wasserstein barycenter of the groups' scores (Chzhen et al. 2020; Jiang et al. 2020).

A score keeps its rank within its group and becomes the mean, over groups, of the scores at this rank: ``sum_g
p_g Q_g(F_own(score))``. All groups then have the same distribution of scores, so that every threshold
satisfies demographic parity, and no other score with this property is closer in mean square. A partial repair
moves a score the share alpha of the way; it leaves ``(1 - alpha)^2`` of the unfairness (Chzhen & Schreuder
2022).

A tied score gets the mean of the barycenter over the ranks of its ties (the mid-distribution), and then the
distributions are equal only up to the ties. `jittered` scores have no ties.

Fit on data that did not train the scores; no labels are needed. The group must be known at prediction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.fair import arguments
from lrn.fair.repair import Repair, repaired
from lrn.fair.transport import fit_marginals
from lrn.types import Array, Key


class Barycenter(NamedTuple):
    """The groups' scores and their barycenter.

    repair: a `lrn.fair.repair.Repair` of one feature, the score, whose target is the barycenter.
    share: [groups], the groups' shares p_g of the weight.
    """

    repair: Repair
    share: Array


def fit_barycenter(
    score: Any, group: Any, groups: int, *, weights: Any = None, levels: int = 1001
) -> Barycenter:
    """The quantiles of each group's scores, and their mean by the groups' shares; jit and vmap safe.

    Args:
        score: scores [n], of any unit: chances, logits, or predictions of a regression.
        group: integers in 0..groups-1, [n]. groups: the number of groups.
        weights: weights [n], 0 or more; None: all 1.
        levels: the number of ranks; see `lrn.fair.repair.fit_repair`.

    Raises:
        InputError: an argument is wrong, or a group has no rows. (Under jit the result is NaN.)
    """
    score = arguments.scores("score", score)
    repair = fit_marginals(score[:, None], group, groups, weights=weights, levels=levels)
    mass = arguments.grouped(score[:, None], group, groups, weights).mass
    return Barycenter(repair, mass / jnp.sum(mass))


def fair_score(fitted: Barycenter, score: Any, group: Any, alpha: ArrayLike = 1.0) -> Array:
    """Scores [n] moved the share ``alpha`` of the way to the barycenter.

    Args:
        fitted: the result of `fit_barycenter`.
        score: scores [n]; one outside of its group's range moves as the range's end.
        group: integers [n].
        alpha: in [0, 1]; 0 changes nothing, 1 gives parity. May be swept.

    Raises:
        InputError: an argument is wrong. (Under jit the row of an unknown group or score is NaN.)
    """
    check.between("alpha", alpha, 0, 1)
    score = arguments.scores("score", score)
    return repaired(fitted.repair, score[:, None], group, alpha)[:, 0]


def unfairness(fitted: Barycenter) -> Array:
    """The mean squared Wasserstein-2 distance of the groups' scores from their barycenter, a scalar.

    It is the mean square by which the total repair moves scores, the least price of demographic parity, in
    the squared unit of the scores (Chzhen et al. 2020, theorem 2.3).
    """
    square = jnp.square(fitted.repair.quantiles[:, 0] - fitted.repair.target)  # [groups, levels]
    # The ranks are equally spaced, so this is the trapezoid rule.
    distance = jnp.mean((square[:, 1:] + square[:, :-1]) / 2, axis=1)
    return jnp.sum(fitted.share * distance)


def jittered(key: Key, score: Any, size: ArrayLike) -> Array:
    """Scores [n] plus uniform noise between -size and size, so that none are tied (Chzhen et al. 2020).

    Args:
        key: a key. score: scores [n]. size: in the unit of the scores, above 0; smaller than half the
            distance of different scores it keeps their order.

    Raises:
        InputError: an argument is wrong.
    """
    check.positive("size", size)
    score = arguments.scores("score", score)
    return score + size * jax.random.uniform(key, score.shape, score.dtype, -1, 1)
