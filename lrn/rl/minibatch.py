"""Minibatches out of a rollout: random orders, and rows taken out of many arrays in one go."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from lrn import check
from lrn.types import Array, Key

T = TypeVar("T")

_NARROW = 16  # numbers a row; wider arrays are taken from as they are, since packing copies them


def check_divides(num_envs: int, rollout_length: int, minibatches: int) -> None:
    """Raise InputError unless a rollout divides into the minibatches."""
    steps = num_envs * rollout_length
    if steps % minibatches:
        raise check.InputError(
            f"num_envs x rollout_length = {num_envs} x {rollout_length} = {steps} "
            f"does not divide into {minibatches} minibatches; choose minibatches that divide it."
        )


def shuffled(key: Key, n: int, times: int) -> Array:
    """``times`` random orders of ``range(n)``, int32 [times, n].

    One sort of random numbers whose low bits hold the index: on CPU a quarter of the time and of the compile
    of `jax.random.permutation`, which sorts pairs. Rows whose high bits agree (for n = 512 one pair in eight
    million) keep their order.
    """
    bits = max(n - 1, 1).bit_length()
    low = jnp.uint32((1 << bits) - 1)
    mixed = (jax.random.bits(key, (times, n)) & ~low) | jnp.arange(n, dtype=jnp.uint32)[None]
    return (jnp.sort(mixed, axis=-1) & low).astype(jnp.int32)


def taker(rows: T) -> Callable[[Array], T]:
    """A function that takes rows: ``taker(rows)(index) == tree.map(lambda x: x[index], rows)``, bit for bit.

    All narrow arrays of four-byte numbers are packed into one table first, so that a minibatch costs one
    gather and not one for each array.

    Args:
        rows: leaves [n, ...].
    """
    leaves, form = jax.tree.flatten(rows)
    narrow = [x.dtype in (jnp.float32, jnp.int32, jnp.uint32) and x[0].size <= _NARROW for x in leaves]
    # As integers, because nothing may touch the bits of a float that is an integer in disguise.
    columns = [
        jax.lax.bitcast_convert_type(x.reshape(x.shape[0], -1), jnp.int32)
        for x, small in zip(leaves, narrow)
        if small
    ]
    table = jnp.concatenate(columns, axis=1) if columns else None

    def take(index: Array) -> T:
        taken, at, out = None if table is None else table[index], 0, []
        for x, small in zip(leaves, narrow):
            if not small or taken is None:
                out.append(x[index])
                continue
            part = jax.lax.bitcast_convert_type(taken[:, at : at + x[0].size], x.dtype)
            out.append(part.reshape(-1, *x.shape[1:]))
            at += x[0].size
        return jax.tree.unflatten(form, out)

    return take
