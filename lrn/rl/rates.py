"""Learning rates that fall with the gradient steps, and counts of steps that never wrap around.

Steps are counted by int32, which holds no more than `LARGEST`. A sum that wraps is negative: every schedule
would start again, and learning would stop. So counts stop at the largest number, and schedules that go on
after it are refused before the run.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from lrn import check
from lrn.supervised import schedules
from lrn.supervised.schedules import Schedule
from lrn.types import Array

LARGEST = 2**31 - 1


def count(steps: Array, more: Array | int) -> Array:
    """``steps + more``, int32, or `LARGEST` where that is less; neither is negative."""
    return jnp.minimum(steps, LARGEST - more) + more


def count_at(counts: Array, at: Any, occurrences: int = 1) -> Array:
    """``counts.at[at].add(1)``, int32, where no count passes `LARGEST`.

    Args:
        counts: of any shape.
        at: an index, or one made of arrays.
        occurrences: how often the index may hold the same place. A count that this many might carry past the
            largest number stays as it is.
    """
    room = (counts[at] <= LARGEST - occurrences).astype(counts.dtype)
    return counts.at[at].add(room)


def count_in_periods(steps: Array, period: int) -> Array:
    """``steps + 1``; near `LARGEST` one of the last ``period`` numbers, the one of the same phase."""
    last = LARGEST - LARGEST % period - 1  # the multiple of the period after it is still an int32
    return jnp.where(steps > last, steps - period, steps) + 1


def check_total_steps(total_steps: int) -> None:
    """Raise InputError unless ``total_steps`` is a whole number above 0 that an int32 holds."""
    check.integer("total_steps", total_steps, 1)
    if total_steps > LARGEST:
        raise check.InputError(
            f"total_steps must be at most {LARGEST:,}, which is what a counter of 32 bits holds, got "
            f"{total_steps:,}; choose fewer steps."
        )


def check_iterations(total_steps: int, interactions: int) -> None:
    """Raise InputError unless a training of ``total_steps`` has an iteration, of ``interactions`` steps."""
    if total_steps < interactions:
        raise check.InputError(
            f"total_steps must be at least the {interactions} steps of one iteration (num_envs x "
            f"rollout_length), got {total_steps}; choose a larger total_steps or shorter rollouts."
        )


def check_warm_up(learning_starts: int, total_steps: int, interactions: int) -> None:
    """Raise InputError unless something is learned.

    Args:
        learning_starts: environment steps before the first update.
        total_steps: environment steps of the training.
        interactions: environment steps in one learner step, of which none is cut short.
    """
    check.integer("learning_starts", learning_starts)
    check_iterations(total_steps, interactions)
    played = total_steps // interactions * interactions
    if learning_starts >= total_steps or learning_starts > played:
        raise check.InputError(
            f"learning_starts must be below total_steps, got {learning_starts:,} and {total_steps:,} in "
            f"rounds of {interactions:,}, so that nothing would be learned; lower learning_starts."
        )


def learning_rate(rate: Array | float, updates: float, anneal: bool) -> Schedule:
    """A schedule for optax: ``rate``, falling linearly to 0 over ``updates`` gradient steps if ``anneal``.

    `optax.linear_schedule` wants a whole number of steps, and total steps over those of an iteration are
    not always one.

    Raises:
        InputError: the rate falls over more gradient steps than an int32 counts.
    """
    if anneal and updates > LARGEST:
        raise check.InputError(
            f"the learning rate would fall over {updates:,.0f} gradient steps and a counter of 32 bits holds "
            f"{LARGEST:,}; set anneal to False, or take fewer gradient steps."
        )
    return schedules.linear(rate, 0.0, updates) if anneal else schedules.constant(rate)
