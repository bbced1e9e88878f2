"""One lane on several devices, for a learner whose step divides its work.

Where there are more devices than lanes, `lrn.train.fit` gives each lane as many as can share what its step
divides by `mean_of_parts`. Each of them runs the whole step, with the same keys and the same state, but for
that. On CPU a device of its own for each processor (`lrn.xla.runtime.device_per_processor`) is also a thread
of its own for each part: two of them do MAML's step on Omniglot in .8 of the time in which one device does it
with two threads, which meet after every kernel.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from lrn.types import PARTS, PyTree

T = TypeVar("T", bound=PyTree)

_traces = itertools.count()
_counts: ContextVar[list[int] | None] = ContextVar("counts", default=None)


def divided(function: Callable[..., PyTree], *args: PyTree) -> list[int]:
    """How many items each `mean_of_parts` in ``function(*args)`` divides; arrays or their shapes."""

    # Under an axis of its own, for JAX would not trace again what it knows by the axes that are mapped.
    def anew(*args: PyTree) -> PyTree:
        axis = f"divided {next(_traces)}"
        return jax.vmap(lambda _: function(*args), axis_name=axis, out_axes=None)(jnp.zeros(1))

    counts: list[int] = []
    token = _counts.set(counts)
    try:
        jax.eval_shape(anew, *args)
    finally:
        _counts.reset(token)
    return counts


def divisor(counts: Sequence[int], most: int) -> int:
    """The largest number, ``most`` at most, that divides all counts; 1 where there are none."""
    return max(n for n in range(1, (most if counts else 1) + 1) if all(count % n == 0 for count in counts))


def parts() -> int:
    """On how many devices the lane that is traced here lies; 1 outside of `lrn.train.fit`."""
    return axis_size(PARTS)


def axis_size(name: str) -> int:
    """The size of the innermost axis of that name that is mapped here; 1 without one."""
    try:
        return lax.axis_size(name)
    except NameError:  # no such axis is bound
        return 1


def mean_of_parts(function: Callable[[T], PyTree], items: T) -> PyTree:
    """``function(items)``, a mean over items, with its share of them on each device of the lane.

    Args:
        function: of leaves [n, ...] for any n, to floats; the same on average over parts of equal size.
        items: at least one leaf, all [count, ...]; where `parts` does not divide the count every device does
            all of them.
    """
    count, devices = jax.tree.leaves(items)[0].shape[0], parts()
    if (counts := _counts.get()) is not None:
        counts.append(count)
    if devices == 1 or count % devices:
        return function(items)
    size = count // devices
    first = lax.axis_index(PARTS) * size
    own = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, first, size), items)
    return lax.pmean(function(own), PARTS)
