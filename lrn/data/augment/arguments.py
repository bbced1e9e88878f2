"""Checks of what augmentations are given, and values for each example."""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.arrays import N, between, nan_where
from lrn.types import Array, Key


def images(x: Any, *settings: ArrayLike) -> Array:
    """``x``, if it is a batch of float images; NaN where a setting is NaN.

    Args:
        x: the images.
        settings: numbers of which a draw with NaN would change nothing, such as `probability` gives them.

    Raises:
        InputError: ``x`` is no batch of float images.
    """
    x = _floats(x, 4, "images", "[batch, height, width, channels]", "scale pixels to [0, 1]")
    return known(x, *settings)


def sequences(x: Any, *settings: ArrayLike) -> Array:
    """``x``, if it is a batch of float sequences; NaN where a setting is NaN, as for `images`.

    Raises:
        InputError: ``x`` is no batch of float sequences.
    """
    x = _floats(x, 3, "sequences", "[batch, time, channels]", "encode symbols as one-hot vectors")
    return known(x, *settings)


def known(x: Array, *settings: ArrayLike) -> Array:
    """``x`` [batch, ...], NaN where a setting, one number or one for each example, is NaN."""
    for setting in settings:
        if not isinstance(setting, numbers.Real):
            x = nan_where(over(jnp.isnan(setting), x.shape[0], x.ndim), x)
    return x


def _floats(x: Any, rank: int, name: str, form: str, remedy: str) -> Array:
    x = jnp.asarray(x)
    if x.ndim != rank or x.size == 0 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise check.InputError(
            f"{name} must be floats {form}, not empty, got shape {x.shape} and dtype {x.dtype}; give "
            f"all {rank} axes, and {remedy}."
        )
    return x


def interval(name: str, value: Any, low: float, high: float) -> tuple[Any, Any]:
    """The two ends of a range, if they ascend between ``low`` and ``high``; traced ends that do not are NaN.

    Raises:
        InputError: the value is no pair, or an end is out of range.
    """
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise check.InputError(f"{name} must be a pair (from, to), got {value!r}; give both ends.")
    for end in value:
        check.between(f"each end of {name}", end, low, high)
    if all(isinstance(end, (int, float)) for end in value):
        if value[0] > value[1]:
            raise check.InputError(f"{name} must ascend, got {tuple(value)}; swap its ends.")
        return value[0], value[1]
    first, last = (jnp.asarray(end, jnp.float32) for end in value)
    valid = (low <= first) & (first <= last) & (last <= high)
    return jnp.where(valid, first, jnp.nan), jnp.where(valid, last, jnp.nan)


def probability(p: N) -> N:
    """``p``, and NaN where it is an array or traced and not in [0, 1].

    Raises:
        InputError: ``p`` is a Python number outside of [0, 1].
    """
    check.between("the probability p", p, 0, 1)
    return between(p, 0, 1)


def chosen(key: Key, p: ArrayLike, count: int) -> Array:
    """Bools [count], each True with probability p."""
    return jax.random.bernoulli(key, p, (count,))


def uniform(key: Key, count: int, low: ArrayLike, high: ArrayLike) -> Array:
    """Floats [count], uniform between ``low`` and ``high``, which may be traced."""
    return jnp.asarray(low) + (jnp.asarray(high) - low) * jax.random.uniform(key, (count,))


def whole(key: Key, below: Array) -> Array:
    """Whole numbers as floats, uniform over 0 to ``below`` - 1, of the shape of ``below``."""
    return jnp.minimum(jnp.floor(jax.random.uniform(key, below.shape) * below), below - 1)


def over(value: ArrayLike, count: int, rank: int) -> Array:
    """A scalar, or one number for each example [count], as an array [1 or count, 1, ...] of ``rank`` axes.

    Raises:
        InputError: the value has another shape.
    """
    value = jnp.asarray(value)
    if value.shape not in ((), (count,)):
        raise check.InputError(
            f"a parameter must be one number, or one for each of the {count} examples, got shape "
            f"{value.shape}; drop the other axes."
        )
    return value.reshape((-1,) + (1,) * (rank - 1))
