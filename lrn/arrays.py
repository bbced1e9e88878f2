"""Whether the values of an array can be read, NaN where they cannot and are wrong, and precise products."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from lrn import check
from lrn.types import Array

N = TypeVar("N", bound=ArrayLike)  # a number, or an array of numbers


def readable(array: Any) -> bool:
    """Whether the values of an array can be read here: not under jit, vmap or grad, nor on other hosts."""
    return not isinstance(array, Tracer) and getattr(array, "is_fully_addressable", True)


def as_array(value: Any) -> Array:
    """``value`` as an array; a constant stays readable where a jitted function closes over it."""
    if isinstance(value, Tracer):
        return value
    with jax.ensure_compile_time_eval():
        return jnp.asarray(value)


def array(values: Any, name: str) -> Any:
    """Values with a shape and a dtype, such as nested lists as an array.

    Raises:
        InputError: the lists have unequal lengths.
    """
    if hasattr(values, "dtype"):
        return values
    try:
        return np.asarray(values)
    except ValueError:
        raise check.InputError(
            f"{name} must be an array, got lists of unequal lengths; give each row as many entries."
        ) from None


def nan_where(bad: Any, value: Array) -> Array:
    """The value, and NaN with a gradient of NaN where it is bad.

    The product makes the gradient NaN. It does not always make the value NaN: XLA turns the product with a
    bool that became a float into a choice between the other factor and 0.

    Args:
        bad: bools that broadcast to the value. value: floats.
    """
    return jnp.where(bad, jnp.nan, value * jnp.where(bad, jnp.nan, 1).astype(value.dtype))


def above_zero(value: N) -> N:
    """``value``, such as a temperature, and NaN where it is an array or traced and not above 0 and finite.

    Such a number cannot be refused before a compilation, and a loss over a negative temperature is finite. A
    quotient with NaN is NaN in value and gradient. Python numbers are checked by `lrn.check.positive`.
    """
    return _unless(value, lambda x: (x > 0) & jnp.isfinite(x))


def zero_or_more(value: N) -> N:
    """As `above_zero`, for a number that may be 0, such as the weight of a penalty."""
    return _unless(value, lambda x: (x >= 0) & jnp.isfinite(x))


def between(value: N, low: float, high: float) -> N:
    """As `above_zero`, for a number between two others, such as a probability."""
    return _unless(value, lambda x: (x >= low) & (x <= high))


def _unless(value: Any, right: Callable[[Array], Array]) -> Any:
    """A Python number as it is, an array with NaN where it is not right."""
    if isinstance(value, numbers.Real):
        return value
    value = jnp.asarray(value, jnp.promote_types(jnp.result_type(value), jnp.float32))
    return nan_where(~right(value), value)


def product(*factors: Array) -> Array:
    """The matrix product of factors, from the left, at full precision (a GPU's default rounds factors)."""
    return functools.reduce(functools.partial(jnp.matmul, precision="highest"), factors)
