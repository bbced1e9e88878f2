"""Initializers, dropout, and checks of settings, which the networks share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lrn import check
from lrn.nets.inputs import PerChannel
from lrn.types import Array, Key


def he_normal(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Normal weights [..., out] of variance 2 / fan-in, for layers before a ReLU (He et al., 2015)."""
    return _normal(key, shape, dtype, 2.0)


def lecun_normal(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Normal weights [..., out] of variance 1 / fan-in, for linear layers (LeCun et al., 1998)."""
    return _normal(key, shape, dtype, 1.0)


def _normal(key: Key, shape: Sequence[int], dtype: Any, gain: float) -> Array:
    # A draw of one axis: on CPU a draw of four axes takes three to five times as long to compile.
    scale = math.sqrt(gain / math.prod(shape[:-1]))
    return scale * jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def dropout(module: nn.Module, x: Array, rate: float, train: bool) -> Array:
    """In training, set each element to 0 with probability ``rate`` and divide the others by 1 - rate.

    The rate may be a traced float of a swept config; `flax.linen.Dropout` branches on its rate
    and fails there.

    Args:
        module: the module that calls this, whose stream "dropout" gives the key.
        x: an array of any shape.
        rate: a probability in [0, 1).
        train: whether the module trains.
    """
    if not train or (isinstance(rate, (int, float)) and rate == 0):
        return x
    key: Key = module.make_rng("dropout")
    kept = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(kept, x / (1.0 - rate), 0)


def check_network(
    classes: int, rate: float = 0.0, mean: PerChannel = None, std: PerChannel = None, **widths: Sequence[int]
) -> None:
    """Raise ValueError for sizes below 1, a dropout rate outside [0, 1), or a std that is not positive."""
    check.integer("classes", classes, 1)
    for name, sizes in widths.items():
        if not isinstance(sizes, Sequence) or isinstance(sizes, str):
            raise ValueError(
                f"{name} must be a sequence of widths, got {sizes!r}; write ({sizes!r},) for one layer."
            )
        for size in sizes:
            check.integer(f"every entry of {name}", size, 1)
    check.between("dropout", rate, 0, 1)
    if isinstance(rate, (int, float)) and rate == 1:
        raise ValueError(
            "dropout must be below 1, got 1, which would drop everything; choose a smaller rate."
        )
    for value in _each(mean):
        check.between("mean", value, -float("inf"), float("inf"))
    for value in _each(std):
        check.positive("std", value)


def _each(value: PerChannel) -> Sequence[Any]:
    if value is None:
        return ()
    return value if isinstance(value, Sequence) else (value,)
