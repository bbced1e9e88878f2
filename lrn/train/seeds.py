"""What one seed of a training sees: its streams of random numbers, and its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrn.types import Array, PyTree

# The streams of a seed's key. Random numbers of different streams are independent.
INIT, STEP, EVAL = range(3)


@jax.jit
@jax.vmap
def _streams_of(seed: Array) -> Array:
    return jnp.stack([jax.random.key_data(jax.random.fold_in(jax.random.key(seed), i)) for i in range(3)])


def streams(seeds: Sequence[int]) -> np.ndarray:
    """The streams of each seed, [seeds, 3, 2] uint32.

    They are computed here and are an input of the program, which compiles faster without this computation.
    """
    return np.asarray(_streams_of(np.asarray(seeds, np.uint32)))


def merge(data: PyTree, per_seed: Mapping[str, Any]) -> PyTree:
    """The data of one seed: the shared data, and the arrays of that seed."""
    return {**(data or {}), **per_seed} if per_seed else data
