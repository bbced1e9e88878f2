"""How many tasks to do together: as many as a device has room for where it is fast."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax

from lrn.types import PyTree

# Bytes of the largest array that a task computes, times the tasks: on CPU what fits into a core's cache
# (MAML's step on Omniglot takes twice as long for 32 tasks together as for one at a time), elsewhere what
# surely fits into memory.
CACHE = 1 << 20
MEMORY = 1 << 30


def fitting(function: Callable[..., PyTree], *args: PyTree) -> int:
    """How many calls of ``function``, one for each task, to do together; at least 1.

    Args:
        function: of one task, without side effects; it is traced and not run.
        args: what it is called with, arrays or their shapes.
    """
    room = CACHE if jax.default_backend() == "cpu" else MEMORY
    return max(1, room // max(largest_array(jax.make_jaxpr(function)(*args).jaxpr), 1))


def largest_array(jaxpr: Any) -> int:
    """Bytes of the largest array that the equations of a jaxpr give, or of the jaxprs they call."""
    largest = 0
    for equation in jaxpr.eqns:
        inner = [
            getattr(part, "jaxpr", part)
            for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns"))
        ]
        inner = [part for part in inner if hasattr(part, "eqns")]
        # What a call gives is found inside of it; a loop's arrays are whole only outside, and not at once.
        sizes = [largest_array(part) for part in inner] or [_bytes(v.aval) for v in equation.outvars]
        largest = max(largest, *sizes)
    return largest


def _bytes(aval: Any) -> int:
    return math.prod(getattr(aval, "shape", ())) * getattr(getattr(aval, "dtype", None), "itemsize", 4)
