"""Calibration within groups and multicalibration: do scores mean the same in every subgroup?

A score is calibrated in a group if, among its rows with score s, a share s has the label 1. Scores are put in
bins of equal width; the gap of a bin is the mean label minus the mean score. Subgroups may overlap.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lrn import check
from lrn.fair import inputs
from lrn.fair.rates import divide
from lrn.types import Array


class Calibration(NamedTuple):
    """Calibration by subgroup and bin.

    gap: [subgroups, bins], the mean label minus the mean score in the bin; NaN where the bin is empty.
    mass: [subgroups, bins], the bin's share of all rows.
    """

    gap: Array
    mass: Array


def calibration(y: Any, score: Any, member: Any, bins: int = 10, weight: Any = None) -> Calibration:
    """The gap between labels and scores in each bin of each subgroup.

    Args:
        y: labels 0 or 1 [n].
        score: predicted probabilities of label 1 [n].
        member: bools [subgroups, n], the rows of each subgroup (`lrn.fair.subgroups` makes some).
        bins: the number of bins of equal width; the last one holds the score 1.
        weight: weights of rows [n]; 1 by default.

    Raises:
        InputError: a shape, dtype or value is wrong. (Under jit the gaps are NaN instead.)
    """
    check.integer("bins", bins, 1)
    y, score, weight = inputs.scored(y, score, weight)
    member = inputs.subgroups(member, len(y))
    where = jnp.minimum(jnp.floor(score * bins), bins - 1)  # a NaN stays out of every bin
    inside = (where[:, None] == jnp.arange(bins)[None]).astype(score.dtype)
    values = jnp.stack([weight, weight * (y - score)])[:, :, None] * inside[None]
    mass, gap = jnp.einsum("gn,knb->kgb", member.astype(score.dtype), values, precision="highest")
    return Calibration(divide(gap, mass), mass / weight.sum())


def calibration_within_groups(
    y: Any, score: Any, group: Any, groups: int, bins: int = 10, weight: Any = None
) -> Array:
    """The expected calibration error of each group, [groups], in [0, 1]; NaN for an empty group.

    The error is the mean over the group's rows of the absolute gap of their bin (Naeini et al. 2015; within
    groups as in Kleinberg et al. 2016). It is biased upwards in small groups, where bins hold few rows.

    Args:
        group: int [n] in 0..groups-1. The other arguments and errors are those of `calibration`.
    """
    group, fine = inputs.members(group, groups)
    found = calibration(y, score, group[None] == jnp.arange(groups)[:, None], bins, weight)
    return jnp.where(fine, expected_calibration_error(found), jnp.nan)


def expected_calibration_error(found: Calibration) -> Array:
    """The mean absolute gap over the rows of each subgroup, [subgroups]; NaN for an empty subgroup."""
    return divide(_absolute(found), found.mass.sum(axis=1))


def multicalibration_error(found: Calibration) -> Array:
    """The largest absolute gap times the bin's share of all rows, a scalar in [0, 1].

    This is max over subgroups S and bins v of ``P(S, v) |E[y - score given S, v]|``, the weighted form of
    Hebert-Johnson et al. (2018) in which small cells cannot dominate. Empty cells do not count.
    """
    size = jnp.where(found.mass == 0, 0, found.mass * jnp.abs(found.gap))
    return size.max()


def worst_calibration_gap(found: Calibration, least_mass: Any = 0.01) -> Array:
    """The largest absolute gap among bins with at least this share of all rows, a scalar; NaN without one.

    The definition of Hebert-Johnson et al. (2018) leaves out cells below a share of the rows, since there
    nothing can be known.
    """
    check.between("least_mass", least_mass, 0, 1)
    kept = (found.mass >= least_mass) & (found.mass > 0)
    worst = jnp.max(jnp.where(kept, jnp.abs(found.gap), 0))
    return jnp.where(kept.any(), worst, jnp.nan)


def _absolute(found: Calibration) -> Array:
    return jnp.where(found.mass == 0, 0, found.mass * jnp.abs(found.gap)).sum(axis=1)
