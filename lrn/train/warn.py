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
    for name, total, interactions in _scheduled(config):
        wanted = max(1, total // interactions)
        if abs(steps - wanted) > 0.1 * wanted:
            warnings.warn(
                f"steps is {steps} and the schedules of {name} last {wanted} steps (total_steps {total} by "
                f"{interactions} interactions a step), so they do not end with the training; give "
                f"steps={wanted} or total_steps={steps * interactions}.",
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


def _scheduled(config: Any) -> Iterator[tuple[str, int, int]]:
    """The class name, ``total_steps`` and ``interactions`` of each outermost config that has both numbers."""
    total, interactions = (getattr(config, name, None) for name in ("total_steps", "interactions"))
    if isinstance(total, int) and isinstance(interactions, int):
        yield type(config).__name__, total, interactions
    elif dataclasses.is_dataclass(config) or hasattr(config, "_fields"):
        names = getattr(config, "_fields", None) or [f.name for f in dataclasses.fields(config)]
        for name in names:
            yield from _scheduled(getattr(config, name))
