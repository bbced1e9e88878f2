"""Checks of features and labels, before anything compiles."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lrn import check
from lrn.arrays import readable
from lrn.supervised.targets import check_range
from lrn.types import Array


def features(name: str, x: Any, dim: int | None = None) -> Array:
    """``x`` as an array [n, dim] of float32 or wider, n >= 1.

    Raises:
        InputError: the shape or dtype is wrong, the number of features is not ``dim``, or a value that can be
            read is not finite.
    """
    x = x if isinstance(x, Tracer) else jnp.asarray(x)
    if x.ndim != 2 or x.size == 0 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise check.InputError(
            f"{name} must be floats [n, dim], not empty, got shape {x.shape} and dtype {x.dtype}; flatten "
            "the features of each example."
        )
    if dim is not None and x.shape[1] != dim:
        raise check.InputError(
            f"{name} must have {dim} features, as the training features do, got {x.shape[1]}; take both from "
            "one layer."
        )
    if readable(x) and not np.isfinite(np.asarray(x, np.float64)).all():
        raise check.InputError(f"{name} holds values that are not finite; leave those examples out.")
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def labels(name: str, y: Any, n: int, classes: int) -> Array:
    """``y`` as int32 labels [n].

    Raises:
        InputError: the shape or dtype is wrong, or a label that can be read is outside of the classes.
    """
    y = y if isinstance(y, Tracer) else jnp.asarray(y)
    if y.shape != (n,) or not jnp.issubdtype(y.dtype, jnp.integer):
        raise check.InputError(
            f"{name} must be integer labels of shape [{n}], got shape {y.shape} and dtype {y.dtype}; give "
            "one class index an example."
        )
    check_range(name, y, classes, "raise classes")
    return y.astype(jnp.int32)
