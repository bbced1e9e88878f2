"""Many narrow arrays as one table, and back, bit for bit.

A scan over an environment carries, reads and writes a dozen arrays of a few numbers each. XLA makes a
kernel or a copy of every one of them, and on CPU, where a kernel costs as much as the arithmetic in it,
hands them to other threads that then spin. Packed into one table, a rollout of CartPole takes half the CPU
time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.types import Array, PyTree

_NARROW = 16  # numbers a row; wider arrays are left as they are, since packing copies them
_PACKED = ("float32", "int32", "uint32", "bool")


class Packing(NamedTuple):
    """How to pack one kind of tree.

    pack: ``pack(tree) -> (table [*lead, columns] int32, wide leaves)``, for leaves [*lead, ...].
    unpack: the inverse. The leading axes may be others than those of the example: a table of a whole
        stretch [time, n, columns] is sliced or gathered, and its rows unpacked.
    """

    pack: Callable[[PyTree], tuple[Array | None, list[Array]]]
    unpack: Callable[[tuple[Array | None, list[Array]]], PyTree]


def packing(example: PyTree, axes: int = 1) -> Packing:
    """The packing of trees like ``example``, whose leaves have ``axes`` leading axes.

    Raises:
        InputError: from ``pack``, at trace time: the tree has another structure than the example, or a leaf
            another dtype or shape, so that its bits would be read as something else.
    """
    leaves, form = jax.tree.flatten(example)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(example)]
    shapes = [jnp.shape(x)[axes:] for x in leaves]
    dtypes = [jnp.result_type(x) for x in leaves]
    sizes = [math.prod(shape) for shape in shapes]
    narrow = [str(d) in _PACKED and size <= _NARROW for d, size in zip(dtypes, sizes)]

    def pack(tree: PyTree) -> tuple[Array | None, list[Array]]:
        columns, wide = [], []
        given, other = jax.tree.flatten(tree)
        if other != form:
            raise check.InputError(
                f"what is packed is built otherwise than the example, {other} and not {form}; an environment "
                "must return the same structure from reset and from move."
            )
        # The leading axes may be any, but are the same of all leaves.
        lead = jnp.shape(given[0])[: jnp.ndim(given[0]) - len(shapes[0])] if given else ()
        for path, x, shape, dtype, size, small in zip(paths, given, shapes, dtypes, sizes, narrow):
            if jnp.result_type(x) != dtype or jnp.shape(x) != (*lead, *shape):
                raise check.InputError(
                    f"{path} is {_leaf(dtype, shape)} in the example and "
                    f"{_leaf(jnp.result_type(x), jnp.shape(x)[len(lead) :])} now; an environment must return "
                    "the same shapes and dtypes from reset and from move."
                )
            if small:
                columns.append(_to_int(jnp.asarray(x)).reshape(*lead, size))
            else:
                wide.append(x)
        return (jnp.concatenate(columns, axis=-1) if columns else None), wide

    def unpack(packed: tuple[Array | None, list[Array]]) -> PyTree:
        table, wide = packed
        others, at, out = iter(wide), 0, []
        for shape, dtype, size, small in zip(shapes, dtypes, sizes, narrow):
            if small and table is not None:
                part = _from_int(table[..., at : at + size], dtype)
                out.append(part.reshape(*table.shape[:-1], *shape))
                at += size
            else:
                out.append(next(others))
        return jax.tree.unflatten(form, out)

    return Packing(pack, unpack)


def _leaf(dtype: Any, shape: tuple[int, ...]) -> str:
    return f"{dtype}{list(shape) if shape else ''}"


def _to_int(x: Array) -> Array:
    """As integers, because nothing may touch the bits of a float that is an integer in disguise."""
    return x.astype(jnp.int32) if x.dtype == bool else jax.lax.bitcast_convert_type(x, jnp.int32)


def _from_int(x: Array, dtype: Any) -> Array:
    return x != 0 if dtype == jnp.dtype(bool) else jax.lax.bitcast_convert_type(x, dtype)
