"""The batch axis of an experiment: lanes (configs x seeds), vmapped and spread over devices and processes.

Lanes never exchange data, so each device runs its own lanes under `jax.shard_map` without communication.
Where the number of devices does not divide the number of lanes, copies of the last lane fill the batch, and
`Lanes.get` drops them. A lane may also lie on several devices, which share its work along a second axis of
the mesh (`lrn.xla.parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lrn.train import job
from lrn.types import LANES, PARTS, Device, PyTree, is_key

T = TypeVar("T")

_AXIS = "lane"


class Lanes:
    """The layout of ``count`` lanes over devices.

    Args:
        count: the number of lanes.
        devices: the devices to use; by default all devices of all processes.
        parts: the number of devices that share one lane.

    Attributes:
        groups: the number of groups of ``parts`` devices; a group runs the same lanes.
        padded: the number of lanes with the copies that fill the batch, a multiple of ``groups``.
        spare: the largest number of devices that each lane could have.

    Raises:
        ValueError: there is no lane or no device, or each lane would need more devices than there are.
    """

    def __init__(self, count: int, devices: Sequence[Device] | None = None, parts: int = 1):
        devices = jax.devices() if devices is None else list(devices)
        if count < 1 or not devices:
            raise ValueError(f"lanes need at least one lane and one device, got {count} and {len(devices)}.")
        # In a job of several processes every device takes part, because every process must. A single process
        # leaves out the devices that would only repeat the work of others.
        alone = jax.process_count() == 1
        self.groups = min(count, len(devices)) if alone else len(devices)
        self.count = count
        self.padded = -(-count // self.groups) * self.groups
        self.spare = len(devices) // self.groups
        self.parts = parts
        if not 1 <= parts <= self.spare:
            raise ValueError(f"{self.groups} lanes cannot have {parts} of {len(devices)} devices each.")
        self._all = devices
        self._devices = devices[: self.groups * self.parts]
        self._mesh = None
        if len(self._devices) > 1:
            grid = np.array(self._devices).reshape(self.groups, self.parts)
            names = (_AXIS, PARTS) if self.parts > 1 else (_AXIS,)
            grid = grid if self.parts > 1 else grid[:, 0]
            self._mesh = Mesh(grid, names, axis_types=(AxisType.Auto,) * len(names))

    def with_parts(self, parts: int) -> Lanes:
        """The layout of the same lanes in which ``parts`` devices, at most ``spare``, share each lane."""
        return self if parts == self.parts else Lanes(self.count, self._all, parts)

    @property
    def alone(self) -> bool:
        """Whether each device runs a single lane."""
        return self.padded == self.groups

    def put(self, tree: PyTree) -> PyTree:
        """Put host arrays [count, ...] on the devices, as arrays [padded, ...]."""

        def pad_and_place(x: Any) -> jax.Array:
            x = np.asarray(x)
            extra = self.padded - self.count
            return self._place(
                np.concatenate([x, np.repeat(x[-1:], extra, 0)]) if extra else x, PartitionSpec(_AXIS)
            )

        return _on_key_data(pad_and_place, tree)

    def replicate(self, tree: PyTree) -> PyTree:
        """Put a copy of each host or device array on every device."""
        return _on_key_data(lambda x: self._place(x, PartitionSpec()), tree)

    def _place(self, x: Any, spec: PartitionSpec) -> jax.Array:
        if self._mesh is None:
            return jax.device_put(x, self._devices[0])
        host = np.asarray(x)
        return jax.make_array_from_callback(
            host.shape, NamedSharding(self._mesh, spec), lambda index: host[index]
        )

    def get(self, tree: PyTree) -> PyTree:
        """Device arrays [padded, ...] as host arrays [count, ...], with all lanes in every process."""
        # `np.array` copies, because the next chunk may reuse the memory of the device array.
        gather = np.array if jax.process_count() == 1 else job.gather
        return _on_key_data(lambda x: gather(x)[: self.count], tree)

    def jit(
        self,
        function: Callable[..., PyTree],
        per_lane: Sequence[bool],
        donate: Sequence[int] = (),
        in_turn: Callable[[], bool] = lambda: False,
        options: dict[str, Any] | None = None,
    ) -> Callable[..., PyTree]:
        """Make a jitted function of all lanes from a ``function`` of one lane.

        Args:
            function: takes and returns pytrees of arrays without a lane axis.
            per_lane: for each argument, whether it has a leading lane axis; all lanes share the other
                arguments.
            donate: the indices of the arguments whose memory the result may reuse.
            in_turn: called while the function is traced; whether a device runs its lanes one after another
                instead of all together.
            options: the compiler's, such as those of `lrn.xla.runtime.brief_options`.
        """
        axes = tuple(0 if lane else None for lane in per_lane)

        def alone(*args: PyTree) -> PyTree:
            own = [jax.tree.map(lambda x: x[0], a) if lane else a for a, lane in zip(args, per_lane)]
            return jax.tree.map(lambda x: jnp.expand_dims(x, 0), function(*own))

        # By the name of the axis a network knows that its weights are batched (`lrn.nets.conv`).
        together = jax.vmap(function, in_axes=axes, axis_name=LANES)

        def one_by_one(*args: PyTree) -> PyTree:
            def run_lane(own: tuple[PyTree, ...]) -> PyTree:
                rest = iter(own)
                return function(*[next(rest) if lane else a for a, lane in zip(args, per_lane)])

            return jax.lax.map(run_lane, tuple(a for a, lane in zip(args, per_lane) if lane))

        def mapped(*args: PyTree) -> PyTree:
            # Without vmap where a device has a single lane: for weights with a batch axis of 1 XLA would
            # choose slower kernels.
            if self.alone:
                return alone(*args)
            return (one_by_one if in_turn() else together)(*args)

        if self._mesh is not None:
            specs = tuple(PartitionSpec(_AXIS) if lane else PartitionSpec() for lane in per_lane)
            mapped = jax.shard_map(
                mapped, mesh=self._mesh, in_specs=specs, out_specs=PartitionSpec(_AXIS), check_vma=False
            )
        return jax.jit(mapped, donate_argnums=tuple(donate), compiler_options=options)

    def eagerly(self, function: Callable[..., PyTree], per_lane: Sequence[bool]) -> Callable[..., PyTree]:
        """The function that `jit` makes, without tracing: it runs one lane after another on real arrays."""

        def all_lanes(*args: PyTree) -> PyTree:
            def run_lane(i: int) -> PyTree:
                own = [jax.tree.map(lambda x: x[i], a) if lane else a for a, lane in zip(args, per_lane)]
                return function(*own)

            return jax.tree.map(lambda *x: jnp.stack(x), *map(run_lane, range(self.padded)))

        return all_lanes


def _on_key_data(function: Callable[[Any], Any], tree: PyTree) -> PyTree:
    """Map ``function`` over the leaves. For typed keys, its argument and its result are the keys' data."""

    def apply(leaf: Any) -> Any:
        if is_key(leaf):
            return jax.random.wrap_key_data(
                jnp.asarray(function(jax.random.key_data(leaf))), impl=jax.random.key_impl(leaf)
            )
        return function(leaf)

    return jax.tree.map(apply, tree)
