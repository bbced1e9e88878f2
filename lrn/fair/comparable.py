"""Whether groups can be compared: enough groups, enough rows in each, and rows of both labels.

Values that a trace hides cannot be checked here; each function that calls these says what is then NaN.
"""

from __future__ import annotations

import numpy as np

from lrn import check
from lrn.arrays import readable
from lrn.types import Array


def compared(present: Array, group: Array, weights: Array) -> None:
    """Raise InputError where a constraint cannot compare the groups.

    Args:
        present: bools [events, groups], whether a group has rows with the event of a constraint.
        group: [n]. weights: [n].

    Raises:
        InputError: fewer than two groups have rows with an event, a group with rows lacks an event, or a
            group has one row.
    """
    if not (readable(present) and readable(group) and readable(weights)):
        return
    read = np.asarray(present)
    if read.any(axis=0).sum() < 2:
        raise check.InputError(
            "fewer than two groups have rows that the constraint compares; give rows of two groups or more."
        )
    two_rows(group, weights, read.shape[1])
    lacking = np.flatnonzero(read.any(axis=0) & ~read.all(axis=0))
    if len(lacking):
        raise check.InputError(
            f"group {lacking[0]} has no row with one of the labels that the constraint compares; merge "
            "groups or leave the group out."
        )


def two_rows(group: Array, weights: Array, groups: int) -> None:
    """Raise InputError where a group has one row only, among rows with weight."""
    if not (readable(group) and readable(weights)):
        return
    count = np.bincount(np.asarray(group)[np.asarray(weights) > 0], minlength=groups)
    if (count == 1).any():
        raise check.InputError(
            f"group {int(np.argmax(count == 1))} has 1 row, and a rate needs two or more; merge groups or "
            "leave the group out."
        )


def both_labels(mass: Array) -> None:
    """Raise InputError where a group with rows lacks one of the labels, for masses [2, groups]."""
    if not readable(mass):
        return
    read = np.asarray(mass)
    lacking = np.argwhere((read == 0) & (read.sum(axis=0) > 0)[None])
    if len(lacking):
        label, group = lacking[0]
        raise check.InputError(
            f"group {group} has no row with label {label}; each group needs both labels, so merge groups or "
            "leave the group out."
        )


def no_empty_group(mass: Array) -> None:
    """Raise InputError where a group has no rows, for masses [2, groups]."""
    if readable(mass) and not np.asarray(mass).sum(axis=0).all():
        group = int(np.argmin(np.asarray(mass).sum(axis=0)))
        raise check.InputError(
            f"group {group} has no rows; number the groups of the data without gaps from 0."
        )
