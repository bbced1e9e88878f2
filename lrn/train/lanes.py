"""The batch axis of an experiment: lanes (configs x seeds), vmapped, laid over devices and processes.

Lanes never talk to each other, so each device runs its own lanes under `jax.shard_map` with no
communication; a count that does not divide is padded with copies of the last lane, dropped again on
the way out. A lane may also lie on several devices, which share its work along an axis of their own
(`lrn.xla.parts`).
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
    """``count`` lanes over ``devices`` (all there are, of every process, by default).

    A lane lies on one of them, or on ``parts`` (see `with_parts`).

    Raises:
        ValueError: no lane, no device, or fewer devices than parts.
    """

    def __init__(self, count: int, devices: Sequence[Device] | None = None, parts: int = 1):
        devices = jax.devices() if devices is None else list(devices)
        if count < 1 or not devices:
            raise ValueError(f"lanes need at least one lane and one device, got {count} and {len(devices)}.")
        # Several processes must all take part; alone, more devices than lanes would only repeat work.
        alone = jax.process_count() == 1
        self.groups = min(count, len(devices)) if alone else len(devices)
        self.count = count
        self.padded = -(-count // self.groups) * self.groups
        # Devices that each lane could have.
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
        """The same lanes on ``parts`` devices each, ``spare`` at most."""
        return self if parts == self.parts else Lanes(self.count, self._all, parts)

    @property
    def alone(self) -> bool:
        """Whether no device does more than one lane."""
        return self.padded == self.groups

    def put(self, tree: PyTree) -> PyTree:
        """Host arrays with a leading axis [count] onto the devices, padded."""

        def one(x: Any) -> jax.Array:
            x = np.asarray(x)
            extra = self.padded - self.count
            return self._place(
                np.concatenate([x, np.repeat(x[-1:], extra, 0)]) if extra else x, PartitionSpec(_AXIS)
            )

        return _on_key_data(one, tree)

    def replicate(self, tree: PyTree) -> PyTree:
        """Host or device arrays, whole on every device."""
        return _on_key_data(lambda x: self._place(x, PartitionSpec()), tree)

    def _place(self, x: Any, spec: PartitionSpec) -> jax.Array:
        if self._mesh is None:
            return jax.device_put(x, self._devices[0])
        host = np.asarray(x)
        return jax.make_array_from_callback(
            host.shape, NamedSharding(self._mesh, spec), lambda index: host[index]
        )

    def get(self, tree: PyTree) -> PyTree:
        """Lane-stacked device arrays as host arrays [count, ...], whole in every process."""
        # A copy, for the buffer may be donated to the next chunk.
        gather = np.array if jax.process_count() == 1 else job.gather
        return _on_key_data(lambda x: gather(x)[: self.count], tree)

    def jit(
        self,
        function: Callable[..., PyTree],
        per_lane: Sequence[bool],
        donate: Sequence[int] = (),
        in_turn: Callable[[], bool] = lambda: False,
    ) -> Callable[..., PyTree]:
        """Compile ``function``, written for one lane, for all lanes.

        Args:
            function: takes and returns pytrees of arrays without a lane axis.
            per_lane: for each argument, whether it has a leading lane axis (else it is shared).
            donate: the arguments whose memory may be reused for the result.
            in_turn: asked when it is traced: whether a device does its lanes one after another instead of
                all together.
        """
        axes = tuple(0 if lane else None for lane in per_lane)

        def alone(*args: PyTree) -> PyTree:
            bare = [jax.tree.map(lambda x: x[0], a) if lane else a for a, lane in zip(args, per_lane)]
            return jax.tree.map(lambda x: jnp.expand_dims(x, 0), function(*bare))

        # The axis has a name, by which a network knows that its weights are batched (`lrn.nets.conv`).
        together = jax.vmap(function, in_axes=axes, axis_name=LANES)

        def one_by_one(*args: PyTree) -> PyTree:
            def one(own: tuple[PyTree, ...]) -> PyTree:
                mine = iter(own)
                return function(*[next(mine) if lane else a for a, lane in zip(args, per_lane)])

            return jax.lax.map(one, tuple(a for a, lane in zip(args, per_lane) if lane))

        def mapped(*args: PyTree) -> PyTree:
            # One lane needs no vmap, and a batched weight axis of one would still cost: XLA picks its
            # kernels by it.
            if self.alone:
                return alone(*args)
            return (one_by_one if in_turn() else together)(*args)

        if self._mesh is not None:
            specs = tuple(PartitionSpec(_AXIS) if lane else PartitionSpec() for lane in per_lane)
            mapped = jax.shard_map(
                mapped, mesh=self._mesh, in_specs=specs, out_specs=PartitionSpec(_AXIS), check_vma=False
            )
        return jax.jit(mapped, donate_argnums=tuple(donate))

    def eagerly(self, function: Callable[..., PyTree], per_lane: Sequence[bool]) -> Callable[..., PyTree]:
        """What `jit` gives, uncompiled: one lane after another, each with arrays that can be looked at."""

        def each(*args: PyTree) -> PyTree:
            def one(i: int) -> PyTree:
                own = [jax.tree.map(lambda x: x[i], a) if lane else a for a, lane in zip(args, per_lane)]
                return function(*own)

            return jax.tree.map(lambda *x: jnp.stack(x), *map(one, range(self.padded)))

        return each


def _on_key_data(function: Callable[[Any], Any], tree: PyTree) -> PyTree:
    """Map over leaves; typed keys are handed over as their data and wrapped again."""

    def one(leaf: Any) -> Any:
        if is_key(leaf):
            return jax.random.wrap_key_data(
                jnp.asarray(function(jax.random.key_data(leaf))), impl=jax.random.key_impl(leaf)
            )
        return function(leaf)

    return jax.tree.map(one, tree)
