"""Reject option classification: uncertain decisions go in favor of the deprived groups (Kamiran et al. 2012).

Scores within a margin around the threshold are the critical region. There a deprived group gets decision 1
and the others decision 0; elsewhere the threshold decides. A deprived group's threshold is thus lower by the
margin, and that of the others is higher by it. As in AIF360's `RejectOptionClassification`, threshold and
margin are chosen on validation data: the best objective under a bound on a fairness metric.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import as_array, readable
from lrn.fair import arguments
from lrn.fair.gaps import demographic_parity_difference
from lrn.fair.rates import overall_balanced_accuracy
from lrn.fair.search import CountMetric, choose, counts_of, decisions, metrics, pareto_front
from lrn.types import Array


class RejectOption(NamedTuple):
    """A threshold and a margin, scalars in [0, 1].

    deprived: bools [groups], the groups that get decision 1 in the critical region.
    objective, constraint: the two metrics on the validation data, scalars.
    """

    threshold: Array
    margin: Array
    deprived: Array
    objective: Array
    constraint: Array


def fit_reject_option(
    score: Any,
    y: Any,
    group: Any,
    groups: int,
    deprived: Any,
    bound: ArrayLike = 0.05,
    *,
    objective: CountMetric = overall_balanced_accuracy,
    constraint: CountMetric = demographic_parity_difference,
    weights: Any = None,
    thresholds: int = 100,
    margins: int = 50,
) -> RejectOption:
    """The threshold and the margin with the best objective under the bound; jit and vmap safe.

    The grid is AIF360's: thresholds from .01 to .99, and for each of them margins from 0 to its distance from
    the nearer end of [0, 1]. Of equal objectives the one with the smaller constraint is taken (AIF360 takes
    the first). With three groups or more all deprived groups have the same threshold, and so have the others.

    Args:
        score: chances of label 1 [n], in [0, 1]. y: labels, 0 or 1 [n].
        group: integers in 0..groups-1, [n]. groups: the number of groups.
        deprived: bools [groups], true for some groups and false for some.
        bound: the largest constraint; may be swept.
        objective, constraint: metrics of confusion counts [..., groups] that give [...].
        weights: weights [n], 0 or more; None: all 1.
        thresholds, margins: the numbers of thresholds, and of margins of each.

    Raises:
        InputError: an argument is wrong, or no pair keeps the bound. (Under jit the rule is NaN.)
    """
    check.integer("thresholds", thresholds, 2)
    check.integer("margins", margins, 2)
    rows = arguments.scored(score, y, group, groups, weights, 0, 1)
    deprived = _deprived(deprived, groups)
    both = jnp.any(deprived) & ~jnp.all(deprived)
    rows = rows._replace(weights=jnp.where(both, rows.weights, jnp.nan))
    middle = jnp.linspace(0.01, 0.99, thresholds, dtype=rows.score.dtype)
    share = jnp.linspace(0, 1, margins, dtype=rows.score.dtype)
    margin = (jnp.minimum(middle, 1 - middle)[:, None] * share[None]).reshape(-1)
    middle = jnp.repeat(middle, margins)
    cuts = _cuts(middle[:, None], margin[:, None], deprived[None])
    values = metrics(counts_of(rows, cuts), objective, constraint)
    pairs = jnp.stack([middle, margin], axis=1)
    found = choose(pareto_front(pairs, *values), bound)
    return RejectOption(found.threshold[0], found.threshold[1], deprived, found.objective, found.constraint)


def reject_option_decision(rule: RejectOption, score: Any, group: Any) -> Array:
    """The decisions of a rule, floats 0 or 1 [n], for scores [n] in [0, 1] and groups [n].

    Raises:
        InputError: an argument is wrong. (Under jit the row of an unknown group or score is NaN.)
    """
    score = arguments.scores("score", score, 0, 1)
    return decisions(_cuts(rule.threshold, rule.margin, rule.deprived), score, group)


def _cuts(threshold: Array, margin: Array, deprived: Array) -> Array:
    """The thresholds of the groups."""
    return jnp.where(deprived, threshold - margin, threshold + margin)


def _deprived(deprived: Any, groups: int) -> Array:
    deprived = as_array(deprived)
    if deprived.shape != (groups,) or deprived.dtype != jnp.bool_:
        raise check.InputError(
            f"deprived must be bools [{groups}], got shape {deprived.shape} and dtype {deprived.dtype}; say "
            "for each group whether it is deprived."
        )
    if readable(deprived) and len(np.unique(np.asarray(deprived))) < 2:
        raise check.InputError("deprived must be true for some groups and false for some; name both kinds.")
    return deprived
