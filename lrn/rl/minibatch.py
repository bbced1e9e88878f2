"""Minibatches of a rollout: random orders of rows, and rows taken from many arrays in one gather."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from lrn import check
from lrn.types import Array, Key
from lrn.xla.packing import packing

T = TypeVar("T")


def check_divides(num_envs: int, rollout_length: int, minibatches: int) -> None:
    """Raise InputError unless ``minibatches`` divides the number of steps of a rollout."""
    steps = num_envs * rollout_length
    if steps % minibatches:
        raise check.InputError(
            f"num_envs x rollout_length = {num_envs} x {rollout_length} = {steps} "
            f"does not divide into {minibatches} minibatches; choose minibatches that divide it."
        )


def check_normalized(rows: int, where: str, name: str = "normalize_advantages") -> None:
    """Raise InputError unless at least two rows are normalized together: one row less its mean is always 0.

    Args:
        rows: number of rows that are normalized together.
        where: the subject of the error message, such as "a minibatch of PPO".
        name: name of the setting that normalizes.
    """
    if rows < 2:
        raise check.InputError(
            f"{where} has {rows} row, and {name} subtracts the mean of its rows, so that nothing would be "
            f"left to learn from; use at least two rows, or {name}=False."
        )


def shuffled(key: Key, n: int, times: int) -> Array:
    """``times`` random orders of ``range(n)``, int32 [times, n].

    The function sorts random numbers whose low bits hold the index. On CPU this takes a quarter of the run
    time and of the compile time of `jax.random.permutation`, which sorts pairs. Two indices whose random bits
    agree (one pair in eight million for n = 512) keep their order.
    """
    bits = max(n - 1, 1).bit_length()
    low = jnp.uint32((1 << bits) - 1)
    mixed = (jax.random.bits(key, (times, n)) & ~low) | jnp.arange(n, dtype=jnp.uint32)[None]
    return (jnp.sort(mixed, axis=-1) & low).astype(jnp.int32)


def taker(rows: T) -> Callable[[Array], T]:
    """A function that takes rows: ``taker(rows)(index) == tree.map(lambda x: x[index], rows)``, bit for bit.

    All narrow arrays are packed into one table first, so that a minibatch costs one gather in place of one
    gather for each array.

    Args:
        rows: the rows, leaves [n, ...].

    Returns:
        A function from indices, int [batch], to rows, leaves [batch, ...].
    """
    form = packing(rows)
    table, wide = form.pack(rows)

    def take(index: Array) -> T:
        return form.unpack((None if table is None else table[index], [x[index] for x in wide]))

    return take
