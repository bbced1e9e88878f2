"""Whether the values of an array can be read, arrays whose values stay readable under jit, and NaN there."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from lrn.types import Array


def readable(array: Any) -> bool:
    """Whether the values of an array can be read here: not under jit, vmap or grad, nor on other hosts."""
    return not isinstance(array, Tracer) and getattr(array, "is_fully_addressable", True)


def as_array(value: Any) -> Array:
    """``value`` as an array; a constant stays readable where a jitted function closes over it."""
    if isinstance(value, Tracer):
        return value
    with jax.ensure_compile_time_eval():
        return jnp.asarray(value)


def nan_where(bad: Any, value: Array) -> Array:
    """The value, and NaN with a gradient of NaN where it is bad.

    The product makes the gradient NaN. It does not always make the value NaN: XLA turns the product with a
    bool that became a float into a choice between the other factor and 0.

    Args:
        bad: bools that broadcast to the value. value: floats.
    """
    return jnp.where(bad, jnp.nan, value * jnp.where(bad, jnp.nan, 1).astype(value.dtype))
