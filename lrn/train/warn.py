"""Warnings of `lrn.train.fit`: about trainings that run, but whose settings are probably a mistake."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from lrn.types import PyTree


class ScheduleWarning(UserWarning):
    """A training is shorter or longer than the schedules in its config."""


class PrecisionWarning(UserWarning):
    """Parameters are kept in half precision, which rounds small updates away."""


def of_schedules(config: Any, steps: int) -> None:
    """Warn where ``steps`` differs by more than a tenth from the steps of a schedule within ``config``."""
    for name, wanted, why, other in _scheduled(config, steps):
        if abs(steps - wanted) > 0.1 * wanted:
            warnings.warn(
                f"steps is {steps} and the schedules of {name} last {wanted} steps ({why}), so they do not "
                f"end with the training; give steps={wanted} or {other}.",
                ScheduleWarning,
                stacklevel=3,
            )
            return


def of_precision(state: PyTree) -> None:
    """Warn where ``state`` (arrays or their shapes) has parameters of a float dtype of 16 bits or fewer.

    The arrays under a name that ends in ``params`` count as parameters.
    """
    for path, x in jax.tree_util.tree_leaves_with_path(state):
        names = [str(getattr(part, "name", getattr(part, "key", ""))) for part in path]
        is_parameter = any(name.endswith("params") for name in names)
        if is_parameter and jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4:
            lost = round(2 / float(jnp.finfo(x.dtype).eps))
            warnings.warn(
                f"the parameters {jax.tree_util.keystr(path)} are {x.dtype}: an update below 1/{lost} of a "
                "parameter is lost; keep parameters in float32 and compute in half precision (flax: dtype=, "
                "not param_dtype=).",
                PrecisionWarning,
                stacklevel=3,
            )
            return


def _scheduled(config: Any, steps: int) -> Iterator[tuple[str, int, str, str]]:
    """The class name of each outermost config with a schedule, the schedule's steps, why, and what to change.

    Such a config has ``total_steps`` and ``interactions``, or a ``schedule`` that falls until ``steps``.
    """
    name = type(config).__name__
    total, interactions = (getattr(config, field, None) for field in ("total_steps", "interactions"))
    schedule, length = (getattr(config, field, None) for field in ("schedule", "steps"))
    if isinstance(total, int) and isinstance(interactions, int):
        why = f"total_steps {total} by {interactions} interactions a step"
        yield name, max(1, total // interactions), why, f"total_steps={steps * interactions}"
    elif schedule in ("cosine", "linear") and isinstance(length, int):
        yield name, length, f"its schedule is {schedule}", f"{name}(steps={steps})"
    elif dataclasses.is_dataclass(config) or hasattr(config, "_fields"):
        names = getattr(config, "_fields", None) or [f.name for f in dataclasses.fields(config)]
        for field in names:
            yield from _scheduled(getattr(config, field), steps)
