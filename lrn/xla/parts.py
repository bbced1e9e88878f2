"""One lane on several devices, for a learner whose step divides its work.

A learner says by `lrn.types.Learner.divides` how many items its step shares out by `mean_of_parts`. Where
there are more devices than lanes, `lrn.train.fit` gives each lane the most devices that divide this number.
Each device runs the whole step with the same keys and the same state, and does only its share of the items.
On CPU a device of its own for each processor (`lrn.xla.runtime.device_per_processor`) is also a thread
of its own for each part: two of them do MAML's step on Omniglot in .8 of the time in which one device does it
with two threads, which meet after every kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
from jax import lax

from lrn.types import PARTS, PyTree

T = TypeVar("T", bound=PyTree)


def divisor(items: int, most: int) -> int:
    """The largest number of devices, ``most`` at most, that divides so many items."""
    return max(n for n in range(1, most + 1) if items % n == 0)


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
    if devices == 1 or count % devices:
        return function(items)
    size = count // devices
    first = lax.axis_index(PARTS) * size
    own = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, first, size), items)
    return lax.pmean(function(own), PARTS)
