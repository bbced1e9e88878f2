"""What audits find of a policy, for `fair.washing`: the gap of the groups, flips, and unfair subgroups."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.fair._causal_worlds import CELLS, STRATA, Rows
from experiments.fair._washers import Policy, gap
from lrn.fair.audit import audit
from lrn.fair.counterfactual import flip_rate
from lrn.fair.logistic import LogisticConfig, logistic
from lrn.fair.subgroups import subgroup_discrimination
from lrn.types import Array

GAP, FLIPS, VIOLATION, BOTH = "gap", "flips", "violation", "violation, crossed with the group"
FOUND, CHANCE, WORST = "p of .05", "violation by chance", "worst cell, no rows held out"
ACCURACY, CHOSEN, AMONG = "accuracy", "selection rate", "excess among the selected"
FIFTHS = {what: f"four fifths of {what}" for what in (FLIPS, VIOLATION, BOTH, AMONG)}
HALF = "half of the gap"
PERMUTATIONS = 19


def measures(
    seed: int, policy: Policy, rows: Rows, known: bool = True, crossed: bool = True
) -> dict[str, float]:
    """The measures of a policy on judged rows.

    Args:
        seed: draws the permutations. policy: what decides. rows: the judged rows.
        known: whether counterfactuals are known. crossed: whether to audit the cells crossed with the group.
    """
    decision = policy(rows.x, rows.group)
    found = first(policy, rows, known) | violation(seed, decision, rows.cell, 2 * STRATA if known else CELLS)
    if crossed:
        own = violation(seed, decision, rows.cell * 2 + rows.group, 2 * STRATA)
        found[BOTH] = own[VIOLATION]
    found[AMONG] = found[VIOLATION] / max(
        found[CHOSEN], 1e-3
    )  # the subgroup's share of the selected, minus its own
    found |= {name: 0.8 * found[what] for what, name in FIFTHS.items() if what in found}
    return found | {HALF: found[GAP] / 2}


def first(policy: Policy, rows: Rows, known: bool = True) -> dict[str, float]:
    """Gap and accuracy, and where counterfactuals are known the flips."""
    decision = policy(rows.x, rows.group)
    right = float(np.mean(np.where(rows.y == 1, decision, 1 - decision)))
    found = {GAP: gap(rows, decision), ACCURACY: right, CHOSEN: float(np.mean(decision))}
    if known:
        found[FLIPS] = float(flip_rate(decision, policy(rows.other, 1 - rows.group)))
    return found


def violation(seed: int, decision: Any, cell: Any, cells: int) -> dict[str, float]:
    """The worst union of cells, by an oracle that gives each cell a logit of its own.

    Half of the rows finds it, half measures it. The violation is its share times its gap, minus the mean of
    the same after permutations.
    """
    value, chance, p_value = (float(v) for v in _searched(jax.random.key(seed), cell, decision, cells))
    found = float(p_value < 1.5 / (PERMUTATIONS + 1))  # the smallest p that the permutations can give
    worst = float(_worst(cell, decision, cells))
    return {VIOLATION: value - chance, CHANCE: chance, FOUND: found, WORST: worst}


@functools.partial(jax.jit, static_argnums=3)
def _searched(key: Array, cell: Array, decision: Array, cells: int) -> tuple[Array, Array, Array]:
    """The value of the worst union of cells on rows held out, the mean of the null, and the p-value."""
    held_out = np.arange(cell.shape[0]) >= cell.shape[0] // 2
    marks = jax.nn.one_hot(cell, cells)
    oracle = logistic(LogisticConfig(tolerance=1e-3))
    found = audit(key, oracle, marks, jnp.asarray(decision), held_out, permutations=PERMUTATIONS)
    return found.value, jnp.mean(found.null), found.p_value


@functools.partial(jax.jit, static_argnums=2)
def _worst(cell: Array, decision: Array, cells: int) -> Array:
    """The largest share times gap of a cell on the rows that choose the cell: never below zero."""
    member = cell[None] == jnp.arange(cells)[:, None]
    return jnp.max(subgroup_discrimination(jnp.zeros(cell.shape), decision, member, "selection_rate"))
