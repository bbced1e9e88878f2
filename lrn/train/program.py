"""The compiled parts of `lrn.train.fit`: start, advance by some steps, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.train.compiled import Compiled, no_jit
from lrn.train.hashes import sha256, sha256_of_function
from lrn.train.lanes import Lanes
from lrn.train.seeds import EVAL, INIT, STEP, merge, streams
from lrn.train.step_checks import check_same, check_scalars
from lrn.train.windows import Carry, Windows, advance, first_carry
from lrn.types import Array, Device, Key, Metrics, PyTree, Sampler, State, Trainable
from lrn.xla.parts import divisor
from lrn.xla.products import largest_product
from lrn.xla.runtime import brief_options, compiler_options, processors
from lrn.xla.serial import serial, wants_serial

# ``evaluate(learner, config, key, state, data) -> {name: scalar}``
Evaluate = Callable[[Any, Any, Key, State, PyTree], Mapping[str, Array]]

# Operations of a matrix product. The products of small agents stay below this number, those of networks for
# images lie above it.
_SMALL = 2**24


class _Lane(NamedTuple):
    """The inputs in which one lane differs from others.

    config: the config of the arm.
    streams: the keys of the seed's streams, as their data, [3, 2] uint32.
    data: the arrays of ``per_seed`` for this seed.
    """

    config: Any
    streams: Any
    data: dict[str, Any]


def _stream(lane: _Lane, which: int) -> Key:
    return jax.random.wrap_key_data(lane.streams[which])


def _shapes(tree: PyTree) -> PyTree:
    """The shapes and dtypes that the arrays of ``tree`` have on a device."""
    on_device = jax.eval_shape(lambda tree: jax.tree.map(jnp.asarray, tree), tree)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), on_device)


class Program:
    """The compiled functions of one `fit`, for all lanes. Lane ``a * len(seeds) + s`` is arm a with seed s.

    Args:
        factory: ``factory(config) -> Learner``.
        configs: the configs of all arms, stacked: leaves [arms].
        arms: the number of arms.
        seeds: the seeds.
        data, per_seed, sampler, evaluate, devices: as of `lrn.train.fit`.

    Attributes:
        shape: the form of the `Carry` of all lanes as a checkpoint has it, leaves [lanes, ...].
        lanes: the layout of the lanes over devices.

    Raises:
        ValueError: the learner's step changes the structure, a shape or a dtype of its state, a metric is no
            scalar, or step and evaluation return the same metric.
    """

    def __init__(
        self,
        factory: Callable[[Any], Trainable],
        configs: Any,
        arms: int,
        seeds: Sequence[int],
        data: PyTree,
        per_seed: Mapping[str, Any],
        sampler: Sampler | None,
        evaluate: Evaluate | None,
        devices: Sequence[Device] | None,
        brief: bool = False,
    ):
        self._factory, self._sampler, self._evaluate, self._brief = factory, sampler, evaluate, brief
        # Tracing finds the shapes, also under `jax.disable_jit`.
        with jax.disable_jit(False):
            self._build(configs, arms, seeds, data, per_seed, devices)

    def _build(
        self,
        configs: Any,
        arms: int,
        seeds: Sequence[int],
        data: PyTree,
        per_seed: Mapping[str, Any],
        devices: Sequence[Device] | None,
    ) -> None:
        lanes = Lanes(arms * len(seeds), devices)
        self._alone = lanes.alone  # whether each device has a single lane
        self._marked = False  # whether the step is marked by `serial_alone`, which tracing shows
        self._small = False  # whether all matrix products are small
        self._in_turn = False  # whether a device runs its lanes one after another

        def tile(x: Any) -> np.ndarray:
            x = np.asarray(x)
            return np.tile(x, (arms,) + (1,) * (x.ndim - 1))

        own = _Lane(
            jax.tree.map(lambda x: np.repeat(np.asarray(x), len(seeds), 0), configs),
            tile(streams(seeds)),
            {k: tile(v) for k, v in per_seed.items()},
        )
        self._given = (data, dict(per_seed))

        # Tracing here finds mistakes before anything compiles. The compiled functions reuse these traces.
        self._init_state, self._step = jax.jit(self._trace_init), jax.jit(self._trace_step)
        lane, shapes = _shapes(jax.tree.map(lambda x: x[0], own)), _shapes(data)
        state = jax.eval_shape(self._init_state, lane, shapes)
        after, metrics = jax.eval_shape(self._step, lane, shapes, state, jnp.int32(0))
        check_same(state, after)
        check_scalars("step", metrics)
        self._metrics = list(metrics)
        self._traced = [
            (self._init_state, (lane, shapes)),
            (self._step, (lane, shapes, state, jnp.int32(0))),
        ]
        if self._evaluate is not None:
            self._traced.append((self._measure, (lane, shapes, state, jnp.int32(0))))
            measured = jax.eval_shape(*[self._traced[-1][0], *self._traced[-1][1]])
            check_scalars("evaluate", measured)
            if twice := sorted(set(measured) & set(metrics)):
                raise ValueError(
                    f"evaluate and step both return the metric {twice[0]!r}, which would be one curve; "
                    "give one of them another name."
                )
        carry = jax.eval_shape(self._init, lane, shapes)
        self.shape = jax.tree.map(lambda x: jax.ShapeDtypeStruct((lanes.count, *x.shape), x.dtype), carry)
        items = self._divides(lane, shapes, state) if lanes.spare > 1 else 1
        self.lanes = lanes.with_parts(divisor(items, lanes.spare))
        self._lane, self._data = self.lanes.put(own), self.lanes.replicate(data)
        in_turn = lambda: self._in_turn  # noqa: E731
        jit = self.lanes.jit
        plain = self.lanes.eagerly
        per_lane = (True, False)
        self._start = Compiled(jit(self._init, per_lane), plain(self._init, per_lane))
        per_lane = (True, False, True, False, False, False)
        self._go = Compiled(jit(self._advance, per_lane, (2,), in_turn), plain(self._advance, per_lane))
        per_lane = (True, False, True, False)
        self._look = Compiled(jit(self._measure, per_lane, (), in_turn), plain(self._measure, per_lane))
        self._set_options(lane, shapes, state)

    def _set_options(self, lane: Any, data: PyTree, state: State) -> None:
        """Choose the compiler's options on CPU.

        With these options small agents compile in a third less time and run a tenth faster.

        The first state is computed once, so it is compiled with little optimization. Where every matrix
        product is small, so are the kernels: LLVM's last passes gain nothing, threads inside a product cost
        more than they save, and wider vectors are faster. (Wider vectors slow large products down.) A brief
        training is compiled with little optimization.
        """
        if jax.default_backend() != "cpu":
            return
        numbers = sum(x.size for x in jax.tree.leaves(state))
        level = 0 if numbers < 1_000_000 else 1
        self._start.options = compiler_options({"xla_backend_optimization_level": level})
        traced = jax.make_jaxpr(self._step)(lane, data, state, jnp.int32(0))
        self._small = largest_product(traced.jaxpr) <= _SMALL
        # The arrays of one lane of a large network stay in the cache, those of many lanes do not: ten seeds
        # cost 1.3 times as much together as one after another.
        self._in_turn = not self._small
        if self._brief:
            for part in (self._start, self._go, self._look):
                part.options = brief_options(0)
        elif self._small:
            self._go.options = self._look.options = compiler_options(
                {
                    "xla_backend_optimization_level": 2,
                    "xla_cpu_prefer_vector_width": 512,
                    "xla_cpu_multi_thread_eigen": False,
                }
            )

    def sha256(self) -> dict[str, str]:
        """Hashes of the traced functions, with the arrays that they close over, and of the data.

        They tell trainings apart that have the same configs and names, but another attack, network or data
        set.
        """
        with jax.disable_jit(False):
            functions = {
                name: sha256_of_function(function, args)
                for name, (function, args) in zip(("init", "step", "evaluation"), self._traced)
            }
        return {**functions, "data": sha256(self._given)}

    def start(self) -> Carry:
        """The carry of every lane before the first step."""
        return self._start(self._lane, self._data)

    def advance(self, carry: Carry, start: int, stop: int, every: int) -> tuple[Carry, Windows]:
        """Do the steps [start, stop) in every lane; metrics are averaged over windows of ``every`` steps.

        The memory of ``carry`` is reused. The three numbers are inputs of the compiled program, so other
        numbers compile nothing.
        """
        return self._go(self._lane, self._data, carry, jnp.int32(start), jnp.int32(stop), jnp.int32(every))

    def evaluate(self, carry: Carry, step: int) -> dict[str, Array]:
        """The metrics of the evaluation of every lane after ``step`` steps."""
        return self._look(self._lane, self._data, carry.state, jnp.int32(step))

    def compile(self, carry: Carry) -> None:
        """Compile the functions that run next, so that the compile time can be measured separately."""
        number = jnp.int32(0)
        parts = [self._go.lower(self._lane, self._data, carry, number, number, number)]
        if self._evaluate is not None:
            parts.append(self._look.lower(self._lane, self._data, carry.state, number))
        if jax.default_backend() == "cpu" and jax.process_count() == 1 and processors() > 1:
            # Most of XLA's passes run on one thread, so two functions compile in two threads. (Processes that
            # share GPUs take turns at measuring kernels, in an order that must be the same for all.)
            with ThreadPoolExecutor(len(parts)) as pool:
                list(pool.map(lambda finish: finish(), parts))
        else:
            for finish in parts:
                finish()

    def memory(self) -> dict[str, int]:
        """The bytes that the compiled steps take on one device, see `lrn.train.Fit`."""
        return self._go.memory()

    # The methods below are written for one lane and traced under vmap.

    def _draw(self, key: Key, lane: _Lane, data: PyTree) -> PyTree:
        return None if self._sampler is None else self._sampler.draw(key, merge(data, lane.data))

    def _trace_init(self, lane: _Lane, data: PyTree) -> State:
        batch_key, init_key = jax.random.split(_stream(lane, INIT))
        return self._factory(lane.config).init(init_key, self._draw(batch_key, lane, data))

    def _trace_step(self, lane: _Lane, data: PyTree, state: State, step: Array) -> tuple[State, Metrics]:
        batch_key, step_key = jax.random.split(jax.random.fold_in(_stream(lane, STEP), step))
        learner_step = self._factory(lane.config).step
        self._marked = wants_serial(learner_step)
        return learner_step(step_key, state, self._draw(batch_key, lane, data))

    def _divides(self, lane: _Lane, data: PyTree, state: State) -> int:
        """The number of items that the learner's step can divide among devices; 1 if it divides nothing."""
        items = []

        def trace(lane: _Lane, data: PyTree, state: State) -> None:
            divides = getattr(self._factory(lane.config), "divides", None)
            batch = self._draw(_stream(lane, STEP), lane, data)
            items.append(1 if divides is None else divides(state, batch))

        jax.eval_shape(trace, lane, data, state)
        check.integer("the number of items that the learner's divides gives", items[0], low=1)
        return items[0]

    def _init(self, lane: _Lane, data: PyTree) -> Carry:
        return first_carry(self._init_state(lane, data), self._metrics)

    def _advance(
        self, lane: _Lane, data: PyTree, carry: Carry, start: Array, stop: Array, every: Array
    ) -> tuple[Carry, Windows]:
        def step_of(step: Array, state: State) -> tuple[State, Metrics]:
            return self._step(lane, data, state, step)

        return advance(step_of, carry, start, stop, every, self._in_order)

    def _in_order(self, loop: Callable[..., Any]) -> Callable[..., Any]:
        """The loop with its kernels in order, if the learner's step is marked and `serial` pays here."""
        wanted = self._marked and self._alone and self._small and not no_jit()
        return serial(loop) if wanted else loop

    def _measure(self, lane: _Lane, data: PyTree, state: State, step: Array) -> Mapping[str, Array]:
        assert self._evaluate is not None
        key = jax.random.fold_in(_stream(lane, EVAL), step)
        learner = self._factory(lane.config)
        return self._evaluate(learner, lane.config, key, state, merge(data, lane.data))
