"""Calibrated scores with an equal cost of errors in all groups (Pleiss et al. 2017).

The cost of a score in group t is ``g_t = a_t * fp_t + b_t * fn_t``. Here fp is the mean score of rows with
label 0, fn is one minus the mean score of rows with label 1, and a and b are what errors cost (equation 1 of
the paper). In every group but the costliest, the score is replaced by the group's base rate with a chance
that raises the group's cost to the largest one. If the score is calibrated in each group, so is the mixture.

Only one cost can be equal while calibration is kept: equal rates of both kinds are impossible (section 3).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import as_array, readable
from lrn.fair import arguments, comparable
from lrn.fair.confusion import Confusion, cells, sum_by_group
from lrn.fair.rates import rate
from lrn.types import Array, Key


class CalibratedOdds(NamedTuple):
    """With chance ``mix`` a row's score is its group's base rate.

    mix, base_rate: [groups], in [0, 1].
    cost: the cost that all groups share on the data of the fit, a scalar.
    """

    mix: Array
    base_rate: Array
    cost: Array


def fit_calibrated_odds(
    score: Any,
    y: Any,
    group: Any,
    groups: int,
    false_positive: ArrayLike = 1.0,
    false_negative: ArrayLike = 1.0,
    *,
    weights: Any = None,
) -> CalibratedOdds:
    """The chances of the base rate; jit and vmap safe.

    A false-positive cost of 1 and a false-negative cost of 0 equalize the generalized false-positive rate.
    AIF360's ``"weighted"`` takes half of one minus the base rate for both costs of a group.

    Args:
        score: chances of label 1 [n], in [0, 1], calibrated in each group: see `lrn.fair.calibration`.
        y: labels, 0 or 1 [n]. group: integers in 0..groups-1, [n]. groups: the number of groups.
        false_positive, false_negative: the costs a and b, scalars or [groups], 0 or more; may be swept.
        weights: weights [n], 0 or more; None: all 1.

    Raises:
        InputError: an argument is wrong, a group lacks one of the labels, or the base rate of a group costs
            less than the costliest group's score, so that no chance equalizes them. (Under jit the result is
            NaN.)
    """
    check.integer("groups", groups, 2)
    rows = arguments.scored(score, y, group, groups, weights, 0, 1)
    a, b = _costs("false_positive", false_positive, groups), _costs("false_negative", false_negative, groups)
    counts = Confusion(*sum_by_group(cells(rows.y, rows.score, rows.weights), rows.group, groups))
    comparable.both_labels(jnp.stack([counts.fp + counts.tn, counts.tp + counts.fn]))
    base = rate(counts, "base_rate")
    cost = a * rate(counts, "false_positive_rate") + b * rate(counts, "false_negative_rate")
    constant = a * base + b * (1 - base)
    target = jnp.max(cost)
    short, room = target - cost, constant - cost
    rounding = 8 * jnp.finfo(cost.dtype).eps * (a + b)
    equal = short <= rounding
    possible = equal | (room >= short - rounding)
    _all_possible(possible, constant, target)
    mix = jnp.where(equal, 0, jnp.clip(short / jnp.where(room > 0, room, 1), 0, 1))
    fine = jnp.all(possible) & jnp.all((a >= 0) & (b >= 0)) & jnp.isfinite(target)
    found = CalibratedOdds(mix, base, target)
    return jax.tree.map(lambda leaf: jnp.where(fine, leaf, jnp.nan), found)


def draw_score(key: Key, fitted: CalibratedOdds, score: Any, group: Any) -> Array:
    """A draw of the mixed scores [n], for scores [n] in [0, 1] and groups [n].

    Raises:
        InputError: an argument is wrong. (Under jit the row of an unknown group or score is NaN.)
    """
    score, mix, base = _own(fitted, score, group)
    replaced = jax.random.uniform(key, score.shape, score.dtype) < mix
    return jnp.where(jnp.isnan(mix + score), jnp.nan, jnp.where(replaced, base, score))


def expected_decision(fitted: CalibratedOdds, score: Any, group: Any, threshold: ArrayLike = 0.5) -> Array:
    """The chance that the mixed score exceeds a threshold, [n].

    The mean of the mixed scores would not be calibrated, so the decision is taken after the draw.

    Raises:
        InputError: an argument is wrong. (Under jit the row of an unknown group or score is NaN.)
    """
    check.between("threshold", threshold, 0, 1)
    score, mix, base = _own(fitted, score, group)
    chance = (1 - mix) * (score > threshold) + mix * (base > threshold)
    return jnp.where(jnp.isnan(mix + base + score), jnp.nan, chance)


def _own(fitted: CalibratedOdds, score: Any, group: Any) -> tuple[Array, Array, Array]:
    """The scores, and the chance and the base rate of each row's group; NaN for an unknown group."""
    score = arguments.scores("score", score, 0, 1).astype(fitted.mix.dtype)
    groups = fitted.mix.shape[0]
    group = arguments.groups(group, score.shape[0], groups)
    known = (group >= 0) & (group < groups) & (score >= 0) & (score <= 1)
    score = jnp.where(known, score, jnp.nan)
    return score, jnp.where(known, fitted.mix[group], jnp.nan), fitted.base_rate[group]


def _costs(name: str, cost: ArrayLike, groups: int) -> Array:
    cost = as_array(cost)
    cost = cost.astype(jnp.promote_types(cost.dtype, jnp.float32))
    if cost.shape not in ((), (groups,)):
        raise check.InputError(
            f"{name} must be a number or numbers [{groups}], got shape {cost.shape}; give one cost a group."
        )
    if readable(cost) and not (np.isfinite(np.asarray(cost)) & (np.asarray(cost) >= 0)).all():
        raise check.InputError(
            f"{name} must be finite and 0 or more, got {np.asarray(cost)}; mend the costs."
        )
    return jnp.broadcast_to(cost, (groups,))


def _all_possible(possible: Array, constant: Array, target: Array) -> None:
    """Raise InputError where the base rate of a group costs too little."""
    if readable(possible) and not np.asarray(possible).all():
        group = int(np.argmin(np.asarray(possible)))
        raise check.InputError(
            f"group {group} cannot reach the largest cost of a group, {float(target):.3g}, for its base rate "
            f"costs only {float(constant[group]):.3g}; calibrate the scores in each group, or "
            "choose other costs."
        )
