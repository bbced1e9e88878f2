"""The number of tasks to compute together: as many as fit into fast memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax

from lrn.types import PyTree

# Limits, in bytes, on the number of tasks times the largest array that one task computes. On CPU the
# limit is a core's cache (MAML's step on Omniglot takes twice as long for 32 tasks together as for one at
# a time), elsewhere it is a part of the memory.
CACHE = 1 << 20
MEMORY = 1 << 30


def fitting(function: Callable[..., PyTree], *args: PyTree) -> int:
    """How many calls of ``function``, one for each task, to compute together; at least 1.

    Args:
        function: the computation of one task, without side effects; it is traced and not run.
        args: its arguments, arrays or their shapes.
    """
    room = CACHE if jax.default_backend() == "cpu" else MEMORY
    return max(1, room // max(largest_array(jax.make_jaxpr(function)(*args).jaxpr), 1))


def largest_array(jaxpr: Any) -> int:
    """The bytes of the largest array among the results of a jaxpr's equations and of the jaxprs they call."""
    largest = 0
    for equation in jaxpr.eqns:
        inner = [
            getattr(part, "jaxpr", part)
            for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns"))
        ]
        inner = [part for part in inner if hasattr(part, "eqns")]
        # The results of a call are results of the called jaxpr. The stacked results of a loop count only
        # inside of the loop, one iteration at a time.
        sizes = [largest_array(part) for part in inner] or [_bytes(v.aval) for v in equation.outvars]
        largest = max(largest, *sizes)
    return largest


def _bytes(aval: Any) -> int:
    return math.prod(getattr(aval, "shape", ())) * getattr(getattr(aval, "dtype", None), "itemsize", 4)
