"""Subgroup fairness: the discrimination that hides in combinations of attributes (Kearns et al. 2018).

A classifier can treat each attribute's groups alike and their intersections not. The measure weighs a
subgroup's gap by the subgroup's share, because a gap in a subgroup of few rows cannot be known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from lrn import check
from lrn.fair import inputs
from lrn.fair.confusion import Confusion, cells
from lrn.fair.rates import divide, hits_and_trials
from lrn.types import Array


def conjunctions(attributes: Sequence[Any], sizes: Sequence[int], order: int | None = None) -> Array:
    """Membership in all conjunctions of up to ``order`` attributes, bools [subgroups, n].

    Sex (2) and race (5) give 2 + 5 + 10 subgroups: first the values of each attribute alone, then pairs, and
    so on; within a set of attributes the values of the last one vary fastest.

    Args:
        attributes: one int array [n] an attribute, values in 0..size-1.
        sizes: the number of values of each attribute.
        order: the largest number of attributes in a conjunction; all of them by default.

    Raises:
        InputError: there is no attribute, or an attribute, a size or the order is out of its range. (Under
            jit a value out of range belongs to no subgroup of its attribute.)
    """
    groups = checked(attributes, sizes)
    order = len(groups) if order is None else order
    check.integer("order", order, 1)
    check.between("order", order, 1, len(groups))
    one = [group[None] == jnp.arange(size)[:, None] for (group, _), size in zip(groups, sizes)]
    found = []
    for depth in range(1, order + 1):
        for chosen in itertools.combinations(one, depth):
            member = chosen[0]
            for other in chosen[1:]:
                member = (member[:, None] & other[None]).reshape(-1, member.shape[1])
            found.append(member)
    return jnp.concatenate(found)


def checked(attributes: Sequence[Any], sizes: Sequence[int]) -> list[tuple[Array, Array]]:
    """Each attribute as int32 [n], with whether all its values are in range.

    Raises:
        InputError: the lists differ in length, are empty, or an attribute is out of its range.
    """
    if len(attributes) != len(sizes) or not len(sizes):
        raise check.InputError(
            f"attributes and sizes must be lists of one length, got {len(attributes)} and {len(sizes)}; give "
            "the number of values of each attribute."
        )
    first = inputs.array(attributes[0])
    return [inputs.members(a, s, first.shape[0] if first.ndim else 0) for a, s in zip(attributes, sizes)]


def intersect(attributes: Sequence[Any], sizes: Sequence[int]) -> Array:
    """The cell of each row in the table of all attributes, int32 [n] in 0..prod(sizes)-1, -1 if out of range.

    The values of the last attribute vary fastest: a result [prod(sizes)] reshapes to ``sizes``.

    Raises:
        InputError: as `conjunctions`; or the table has over 2^31 cells.
    """
    groups = checked(attributes, sizes)
    if math.prod(sizes) >= 2**31:
        raise check.InputError(f"the table has {math.prod(sizes)} cells; take fewer attributes or values.")
    cell, known = jnp.zeros_like(groups[0][0]), jnp.asarray(True)
    for (group, fine), size in zip(groups, sizes):
        cell, known = cell * size + group, known & fine
    return jnp.where(known, cell, -1)


def subgroup_discrimination(
    y: Any, prediction: Any, member: Any, rate: str = "false_positive_rate", weight: Any = None
) -> Array:
    """The share-weighted gap of a rate between each subgroup and everybody, [subgroups], in [0, 1].

    ``P(g, trial) |rate(all) - rate(g)|`` (Kearns et al. 2018): for the selection
    rate ``P(g)`` weighs (statistical parity), for the false-positive rate ``P(g, y = 0)``. A classifier is
    gamma-fair if the maximum over subgroups is at most gamma. A subgroup without trials has a weight and a
    discrimination of 0, although its rate is not known.

    Args:
        y: labels 0 or 1 [n]. prediction: decisions 0 or 1, or their probabilities [n].
        member: bools [subgroups, n], such as `conjunctions`.
        rate: a rate of `lrn.fair.rates.RATES`.
        weight: weights of rows [n]; 1 by default.

    Raises:
        InputError: a shape, dtype, value or name is wrong. (Under jit wrong values give NaN.)
    """
    y, prediction, weight = inputs.scored(y, prediction, weight)
    member = inputs.subgroups(member, len(y))
    added = cells(y, prediction, weight)
    by_subgroup = jnp.dot(added, member.astype(added.dtype).T, precision="highest")
    hits, trials = hits_and_trials(Confusion(*by_subgroup), rate)
    all_hits, all_trials = hits_and_trials(Confusion(*added.sum(axis=1)), rate)
    gap = jnp.abs(divide(all_hits, all_trials) - divide(hits, trials))
    return jnp.where(trials == 0, 0, trials / weight.sum() * gap)
