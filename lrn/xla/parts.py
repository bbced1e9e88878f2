"""One lane on several devices, for a learner whose step divides its work among them.

`lrn.types.Learner.divides` says how many items a learner's step divides with `mean_of_parts`. Where there are
more devices than lanes, `lrn.train.fit` gives each lane the largest number of devices that divides the number
of items. Each device runs the whole step with the same keys and the same state, but only its own share of the
items. On CPU, `lrn.xla.runtime.device_per_processor` makes each processor a device, so each share runs on a
thread of its own. Two such devices do MAML's step on Omniglot in .8 of the time of one device with two
threads, because the threads of one device wait for each other after every kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import jax
from jax import lax

from lrn.types import PARTS, PyTree

T = TypeVar("T", bound=PyTree)
_AS_ONE = ContextVar("as_one", default=False)


def divisor(items: int, most: int) -> int:
    """The largest number up to ``most`` that divides ``items``."""
    return max(n for n in range(1, most + 1) if items % n == 0)


def parts() -> int:
    """The number of devices that share the lane being traced; 1 outside of `lrn.train.fit`."""
    return axis_size(PARTS)


def axis_size(name: str) -> int:
    """The size of the innermost mapped axis called ``name``; 1 if no such axis is mapped here."""
    try:
        return lax.axis_size(name)
    except NameError:  # no such axis is bound
        return 1


def mean_of_parts(function: Callable[[T], PyTree], items: T) -> PyTree:
    """``function(items)``, a mean over items: the mean of its values for the parts of the lane's devices.

    Args:
        function: takes leaves [n, ...] for any n and returns floats. Its result must equal the mean of its
            results for parts of equal size.
        items: a pytree with at least one leaf; all leaves are [count, ...]. If `parts` does not divide the
            count, every device computes all items.
    """
    count, devices = jax.tree.leaves(items)[0].shape[0], parts()
    if devices == 1 or count % devices:
        return function(items)
    return lax.pmean(function(share(items)), PARTS)


def share(items: T) -> T:
    """This device's items: leaves [count / parts, ...] of leaves [count, ...]; `parts` divides the count."""
    size = jax.tree.leaves(items)[0].shape[0] // parts()
    first = lax.axis_index(PARTS) * size
    return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, first, size), items)


@contextmanager
def as_one_batch() -> Iterator[None]:
    """What the devices of a lane trace within are shares of one batch, which BatchNorm normalizes as one."""
    token = _AS_ONE.set(True)
    try:
        yield
    finally:
        _AS_ONE.reset(token)


def batch_axis() -> str | None:
    """The mapped axis over which BatchNorm takes its statistics, besides the batch; None outside."""
    return PARTS if _AS_ONE.get() and parts() > 1 else None
