"""Checks of what a learner's step and an evaluation return, before anything compiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from lrn.types import Mean, State


def check_scalars(who: str, metrics: Any) -> None:
    """Check that metrics are a dict of scalars.

    Args:
        who: what returned the metrics, for messages.
        metrics: arrays or their shapes; a `Mean` is checked in both parts.

    Raises:
        ValueError: the metrics are no dict, or one of them is no scalar, which the message names.
    """
    if not isinstance(metrics, Mapping):
        raise ValueError(
            f"{who} must return its metrics as a dict from name to scalar, got {type(metrics).__name__}."
        )
    for name, value in metrics.items():
        for part in value if isinstance(value, Mean) else (value,):
            if getattr(part, "shape", ()) != ():
                raise ValueError(
                    f"{who} returned the metric {name!r} with shape {list(part.shape)}; "
                    "metrics are scalars, so reduce it."
                )


def check_same(before: State, after: State) -> None:
    """Check that a step keeps the structure, shapes and dtypes of the state, as a compiled loop needs it.

    Raises:
        ValueError: the step changes the structure, or a leaf, which the message names.
    """
    old, old_def = jax.tree_util.tree_flatten_with_path(before)
    new, new_def = jax.tree_util.tree_flatten_with_path(after)
    if old_def != new_def:
        raise ValueError(
            "the learner's step returns a state of another structure than its init "
            f"({new_def} instead of {old_def}); return the same pytree."
        )
    for (path, a), (_, b) in zip(old, new):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise ValueError(
                f"the learner's step changes {jax.tree_util.keystr(path)} from {a.dtype}{list(a.shape)} to "
                f"{b.dtype}{list(b.shape)}; a state keeps its shapes and dtypes."
            )
