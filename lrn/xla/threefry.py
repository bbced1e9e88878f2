"""JAX's random numbers on CPU, compiled in half the time: the very same bits.

On CPU JAX writes the Threefry hash (Salmon et al. 2011) as a loop of five rounds. XLA makes ten kernels of
it, for each draw and each split of a key anew, and starts them five times over. Written without the loop it
takes half as long to compile: a batch of ten sinusoids for each of four seeds .9 s in place of 2.6, and 18 us
in place of 40 to run.

It is a function of its own, called with an attribute that XLA's inliner respects (as in `lrn.xla.serial`): so
what uses the numbers is fused as it was, hence rounded as it was, and the hash is not done again for each
use. A version of XLA that does not know the attribute would inline it, which costs time and nothing else.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core.primitives import threefry2x32_p
from jax.interpreters import mlir

from lrn.types import Array

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def hashed(key0: Array, key1: Array, count0: Array, count1: Array) -> tuple[Array, Array]:
    """Threefry-2x32 of 20 rounds: a key and a counter, two words each, uint32 of shapes that broadcast."""
    keys = key0, key1, key0 ^ key1 ^ np.uint32(0x1BD11BDA)
    a, b = count0 + keys[0], count1 + keys[1]
    for i in range(5):
        for turn in _ROTATIONS[i % 2]:
            a = a + b
            b = a ^ ((b << np.uint32(turn)) | (b >> np.uint32(32 - turn)))
        a, b = a + keys[(i + 1) % 3], b + keys[(i + 2) % 3] + np.uint32(i + 1)
    return a, b


def _called(*words: Array) -> tuple[Array, Array]:
    a, b = jax.jit(hashed)(*words)
    marked: Any = set_xla_metadata(a, inlineable="false")
    return marked, b


@functools.cache
def use() -> None:
    """Compile random numbers so from now on, in this process, on CPU; elsewhere nothing changes."""
    mlir.register_lowering(threefry2x32_p, mlir.lower_fun(_called, multiple_results=True), platform="cpu")
