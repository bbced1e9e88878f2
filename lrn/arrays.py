"""Whether the values of an array can be read, arrays whose values stay readable under jit, and NaN there."""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.typing import ArrayLike

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


def above_zero(value: ArrayLike) -> ArrayLike:
    """``value``, such as a temperature, and NaN where it is an array or traced and not above 0 and finite.

    Such a number cannot be refused before a compilation, and a loss over a negative temperature is finite. A
    quotient with NaN is NaN in value and gradient. Python numbers are checked by `lrn.check.positive`.
    """
    if isinstance(value, numbers.Real):
        return value
    value = jnp.asarray(value, jnp.promote_types(jnp.result_type(value), jnp.float32))
    return nan_where(~((value > 0) & jnp.isfinite(value)), value)
