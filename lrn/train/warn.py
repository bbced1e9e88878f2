"""What `lrn.train.fit` warns of: trainings that run, and do not what one would expect."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from lrn.types import PyTree


class ScheduleWarning(UserWarning):
    """A training is shorter or longer than the schedules in its config are made for."""


class PrecisionWarning(UserWarning):
    """Parameters are kept in half precision, where small updates are lost."""


def of_schedules(config: Any, steps: int) -> None:
    """Warn where ``steps`` differs by more than a tenth from what a config in ``config`` is made for."""
    for name, total, interactions in _scheduled(config):
        wanted = max(1, total // interactions)
        if abs(steps - wanted) > 0.1 * wanted:
            warnings.warn(
                f"steps is {steps} and {name} is made for {wanted}, total_steps {total} by {interactions} "
                f"interactions a step: its schedules end elsewhere than the training; give steps={wanted} or "
                f"total_steps={steps * interactions}.",
                ScheduleWarning,
                stacklevel=3,
            )
            return


def of_precision(state: PyTree) -> None:
    """Warn where parameters in ``state`` (arrays or their shapes) are of a float of 16 bits or fewer.

    Parameters are what stands under a name that ends in ``params``.
    """
    for path, x in jax.tree_util.tree_leaves_with_path(state):
        names = [str(getattr(part, "name", getattr(part, "key", ""))) for part in path]
        kept = any(name.endswith("params") for name in names)
        if kept and jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4:
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
    """The outermost configs in a config that say what their schedules are made for."""
    total, interactions = (getattr(config, name, None) for name in ("total_steps", "interactions"))
    if isinstance(total, int) and isinstance(interactions, int):
        yield type(config).__name__, total, interactions
    elif dataclasses.is_dataclass(config) or hasattr(config, "_fields"):
        names = getattr(config, "_fields", None) or [f.name for f in dataclasses.fields(config)]
        for name in names:
            yield from _scheduled(getattr(config, name))
