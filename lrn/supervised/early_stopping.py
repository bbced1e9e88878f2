"""Early stopping as a state: the best weights so far, and whether training has stopped (Prechelt 1998)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array, PyTree


class EarlyStopping(NamedTuple):
    """The state of early stopping.

    best: the tree (weights) with the best metric; before the first evaluation, the argument of `begin`.
    metric: float32 scalar, the best metric; NaN before the first metric that is a number.
    at: int32 scalar, the evaluation that gave the best metric, counted from 1; 0 before.
    evaluations: int32 scalar, the number of evaluations until the stop.
    stopped: bool scalar, whether training has stopped; from the stop on no field changes.
    """

    best: PyTree
    metric: Array
    at: Array
    evaluations: Array
    stopped: Array


def begin(tree: PyTree) -> EarlyStopping:
    """The state before the first evaluation, for trees of the form of ``tree``."""
    zero = jnp.zeros((), jnp.int32)
    tree = jax.tree.map(jnp.asarray, tree)
    return EarlyStopping(tree, jnp.full((), jnp.nan, jnp.float32), zero, zero, jnp.zeros((), bool))


def update(
    state: EarlyStopping,
    tree: PyTree,
    metric: ArrayLike,
    patience: ArrayLike,
    *,
    larger_is_better: bool,
    least: ArrayLike = 0.0,
) -> EarlyStopping:
    """Add one evaluation.

    Training stops at the ``patience``-th evaluation in a row that is no better than the best. Later
    evaluations are ignored, so that a scan over all evaluations gives the result of a loop that stops.

    Args:
        state: the state before.
        tree: the weights that were evaluated.
        metric: their metric on validation data, scalar. NaN is never better.
        patience: in evaluations, 1 or more; may be traced.
        larger_is_better: True for an accuracy, False for a loss.
        least: the metric must be better than the best metric by more than this; may be traced.

    Returns:
        The new state.

    Raises:
        InputError: the patience is below 1, or ``least`` is negative.
    """
    check.boolean("larger_is_better", larger_is_better)
    check.non_negative("least", least)
    _check_patience(patience)
    metric = jnp.asarray(metric, jnp.float32)
    gain = metric - state.metric if larger_is_better else state.metric - metric
    first = jnp.isnan(state.metric) & ~jnp.isnan(metric)
    better = (first | (gain > least)) & ~state.stopped
    evaluations = state.evaluations + jnp.where(state.stopped, 0, 1)
    at = jnp.where(better, evaluations, state.at)
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), tree, state.best)
    stopped = state.stopped | (evaluations - at >= patience)
    return EarlyStopping(best, jnp.where(better, metric, state.metric), at, evaluations, stopped)


def _check_patience(patience: Any) -> None:
    check.positive("patience", patience)
    if isinstance(patience, (int, float)) and patience < 1:
        raise check.InputError(
            f"patience must be at least 1 evaluation, got {patience}; choose a larger one."
        )
