"""A function of a batch in blocks whose intermediate arrays stay in the cache of a CPU."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from lrn.types import LANES, Array
from lrn.xla.parts import axis_size

# The bytes of a block's patches: at most BLOCK_BYTES over all lanes, so that the patches stay in the
# cache; at least LEAST_BYTES in one lane, because the overhead of smaller blocks dominates.
BLOCK_BYTES = 2 << 20
LEAST_BYTES = 512 << 10


def lanes() -> int:
    """The number of copies of the weights under the innermost vmap with the axis name `LANES`, or 1."""
    return axis_size(LANES)


def on_cpu() -> bool:
    """Whether computations run on a CPU by default."""
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return (getattr(device, "platform", device) or jax.default_backend()) == "cpu"


def in_blocks(f: Callable[[Array], Array], x: Array, bytes_per_example: int, least_bytes: int = 0) -> Array:
    """Map ``f`` over the leading axis of ``x`` in blocks whose intermediate arrays stay in the cache.

    Args:
        f: a function from [block, ...] to [block, ...] that treats each example separately.
        x: [batch, ...].
        bytes_per_example: the bytes of the largest intermediate array of one example.
        least_bytes: the bytes below which a smaller block gains nothing.

    Returns:
        ``f(x)``. On other backends than CPU, or if the batch fits into one block, ``f`` is called once.
    """
    batch = x.shape[0]
    limit = max(1, max(BLOCK_BYTES // lanes(), LEAST_BYTES, least_bytes) // bytes_per_example)
    if batch <= limit or not on_cpu():
        return f(x)
    # A block size that divides the batch needs no padding; otherwise zeros pad the last of equal blocks.
    size = next((n for n in range(limit, limit // 2, -1) if batch % n == 0), None)
    blocks = -(-batch // (size or limit))
    size = size or -(-batch // blocks)
    filled = jnp.pad(x, ((0, blocks * size - batch), *((0, 0),) * (x.ndim - 1)))
    out = lax.map(f, filled.reshape(blocks, size, *x.shape[1:]))
    return out.reshape(blocks * size, *out.shape[2:])[:batch]
