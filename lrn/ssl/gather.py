"""One batch on several devices: each device runs the networks on its share, and losses see all embeddings.

Where `lrn.train.fit` gives a lane several devices (`lrn.xla.parts`), each device has the whole batch and the
same keys. Views are drawn of the whole batch. The networks, which cost the most, run on the device's `own`
share, and BatchNorm normalizes it by the statistics of the whole batch. `whole` gathers the embeddings of all
devices, differentiably, and each device computes the whole loss of them. So every example meets all negatives
of the batch, and statistics such as the covariances of VICReg are those of the batch. Negatives of the own
share alone give another gradient, and so do gathered embeddings that are cut from the gradient.

The gradient on a device is that of the sum of all devices' equal losses by its own copy of the parameters, so
the `mean` of these gradients is the gradient of the loss. Users who write their own `jax.shard_map` need
``check_vma=False``, as `lrn.train.lanes` has it. With the check jax itself sums the gradients by replicated
parameters, and the mean is then too large by the number of devices.

Outside of such a lane all functions return their argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from lrn import check
from lrn.types import PARTS, Array, Key, NetState, PyTree
from lrn.xla.parts import parts, share

T = TypeVar("T", bound=PyTree)


def own(tree: T) -> T:
    """The device's share of leaves [batch, ...].

    Raises:
        InputError: at trace time, if the devices do not divide the batch.
    """
    devices = parts()
    if devices == 1:
        return tree
    rows = jax.tree.leaves(tree)[0].shape[0]
    if rows % devices:
        raise check.InputError(
            f"{devices} devices do not divide a batch of {rows}; choose a batch that is a multiple of them."
        )
    return share(tree)


def whole(tree: T, axis: int = 0) -> T:
    """Leaves [batch, ...] of all devices from leaves [share, ...] of each, in the order of the batch.

    Args:
        tree: the leaves.
        axis: the axis of the leaves that counts examples.
    """
    if parts() == 1:
        return tree
    return jax.tree.map(lambda x: lax.all_gather(x, PARTS, axis=axis, tiled=True), tree)


def mean(tree: T) -> T:
    """The means over the devices of gradients, states or metrics; leaves that are no floats stay."""

    def of(x: Array) -> Array:
        return lax.pmean(x, PARTS) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return tree if parts() == 1 else jax.tree.map(of, tree)


def dividable(states: Mapping[str, NetState]) -> bool:
    """Whether networks with these states, by name, may run on shares of a batch.

    BatchNorm normalizes all shares by the statistics of the batch (`lrn.xla.parts.as_one_batch`). Of other
    statistics this is not known.
    """
    return all(
        not jax.tree.leaves(state) or (isinstance(state, Mapping) and set(state) == {"batch_stats"})
        for state in states.values()
    )


def own_key(key: Key) -> Key:
    """A key of the device, by which dropout differs between the shares."""
    return key if parts() == 1 else jax.random.fold_in(key, lax.axis_index(PARTS))
