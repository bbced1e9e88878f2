"""Checks of embeddings; where a value is not finite, all values and gradients become NaN."""

from __future__ import annotations

from typing import Any

from lrn import check
from lrn.stats.features import finite, rows
from lrn.types import Array

__all__ = ["rows", "views"]


def views(z: Any) -> Array:
    """Embeddings [n, views, dim] in float32, with 2 examples and 2 views or more.

    Raises:
        InputError: they have another form.
    """
    shape = getattr(z, "shape", ())
    if len(shape) != 3 or shape[0] < 2 or shape[1] < 2 or shape[2] < 1:
        raise check.InputError(
            f"embeddings of views must be [n, views, dim] with 2 or more of both, got shape {shape}; stack "
            "the views of each example on axis 1."
        )
    return finite(z, "embeddings of views")
