"""A test set divided among devices: each device attacks its share of the examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec

from lrn import check
from lrn.robust.attack import check_box
from lrn.types import Array, Device, Key, PyTree

T = TypeVar("T", bound=PyTree)

_AXIS = "share"


def share(
    attack: Callable[[Key, Array, Array], T], devices: Sequence[Device] | None = None
) -> Callable[[Key, Array, Array], T]:
    """Divide the examples among devices, which attack their shares at the same time.

    Attacks never exchange data between examples, so the devices do not wait for each other, and a cascade on
    a device ends when the examples of that device are done. On CPU, `lrn.xla.runtime.device_per_processor`
    makes each processor a device.

    Args:
        attack: (key, x [n, ...], y [n]) -> a pytree of arrays [n, ...], such as the `Cascade` of
            `lrn.robust.auto_attack.attack_all`. It must treat examples separately, for any n.
        devices: the devices to use; by default all devices of this process.

    Returns:
        A pure function of a key, x and y, for use under jit. Device i draws from ``fold_in(key, i)``, so
        another number of devices draws other numbers. With one device it is ``attack``. On several devices
        the attack runs as under jit, where it cannot read values: a label out of range counts as fooled.

    Raises:
        ValueError: there is no device; x lies outside of the box; x and y differ in length; or the attack
            returns an array without a value for each example.
    """
    devices = jax.local_devices() if devices is None else list(devices)
    if not devices:
        raise check.InputError("share needs one device or more, got none; leave out devices= to use all.")

    def shared(key: Key, x: Array, y: Array) -> T:
        x, y = jnp.asarray(check_box(x)), jnp.asarray(y)
        n = x.shape[0]
        if y.shape[:1] != (n,):
            raise check.InputError(
                f"x has {n} examples and y has shape {y.shape}; give one label an example."
            )
        count = min(len(devices), n)
        if count < 2:
            return attack(key, x, y)
        each = -(-n // count)

        def own_share(place: Array, key: Key, x: Array, y: Array) -> T:
            result = attack(jax.random.fold_in(key, place[0]), x, y)
            for leaf in jax.tree.leaves(result):
                if leaf.shape[:1] != (each,):
                    raise check.InputError(
                        f"the attack returns an array of shape {leaf.shape} for {each} examples; return "
                        "arrays with one value for each example along the first axis."
                    )
            return result

        mesh = Mesh(np.array(devices[:count]), (_AXIS,), axis_types=(AxisType.Auto,))
        split, whole = PartitionSpec(_AXIS), PartitionSpec()
        divided = jax.shard_map(
            own_share, mesh=mesh, in_specs=(split, whole, split, split), out_specs=split, check_vma=False
        )
        rows = np.arange(count * each) % n  # copies of the first examples fill the last share
        result = divided(jnp.arange(count), key, x[rows], y[rows])
        return jax.tree.map(lambda leaf: leaf[:n], result)

    return shared
