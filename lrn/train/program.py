"""The compiled parts of `lrn.train.fit`: start, advance by some steps, evaluate."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.train.lanes import Lanes
from lrn.types import Array, Device, Key, Mean, Metrics, PyTree, Sampler, State, Trainable, is_key
from lrn.xla.parts import divisor
from lrn.xla.runtime import brief_options, compiler_options, processors
from lrn.xla.serial import serial, wants_serial

# ``evaluate(learner, config, key, state, data) -> {name: scalar}``
Evaluate = Callable[[Any, Any, Key, State, PyTree], Mapping[str, Array]]

# The streams of a seed's key. Random numbers of different streams are independent.
_INIT, _STEP, _EVAL = range(3)

# The most windows of metrics that one call can return. The number is a constant and does not depend on the
# chunk's length, so chunks of all lengths use the same program and give the same bits.
WINDOWS = 1024

# Operations of a matrix product. The products of small agents stay below this number, those of networks for
# images lie above it.
_SMALL = 2**24


class Carry(NamedTuple):
    """The values that one lane carries from step to step; the keys of the dicts are names of metrics.

    state: the learner's state.
    mean: the running mean of the window that is not full yet.
    weight: the sum of the weights in that window.
    bad: the number of steps after which the metric was first not finite; -1 if it was always finite.
    infinite: for each array of floats in the state, whether it had an infinity before the first step.
    """

    state: State
    mean: dict[str, Array]
    weight: dict[str, Array]
    bad: dict[str, Array]
    infinite: Array


class Windows(NamedTuple):
    """What `Program.advance` reports for one lane; the keys of the dicts are names of metrics.

    mean, weight: the means and the weights of the windows, [WINDOWS]; the first window is the one that has
        the first step of the call.
    bad: see `Carry`.
    finite: whether the state is finite, see `_sound`.
    """

    mean: dict[str, Array]
    weight: dict[str, Array]
    bad: dict[str, Array]
    finite: Array


class _Lane(NamedTuple):
    """The inputs in which one lane differs from others.

    config: the config of the arm.
    streams: the keys of the seed's streams, as their data, [3, 2] uint32.
    data: the arrays of ``per_seed`` for this seed.
    """

    config: Any
    streams: Any
    data: dict[str, Any]


class _Compiled:
    """A jitted function that is compiled once, for one set of shapes.

    Under `jax.disable_jit` the plain function runs instead.
    """

    def __init__(self, jitted: Any, plain: Callable[..., Any]):
        self._jitted, self._plain, self._compiled = jitted, plain, None
        self.options: dict[str, Any] | None = None

    def lower(self, *args: Any) -> Callable[[], None]:
        """Trace and lower the function; return a function that compiles it, also in another thread."""
        if self._compiled is not None or _no_jit():
            return lambda: None
        lowered = self._jitted.lower(*args)

        def finish() -> None:
            self._compiled = lowered.compile(compiler_options=self.options)

        return finish

    def memory(self) -> dict[str, int]:
        """The bytes of "arguments", "outputs" and "temporaries"; empty where they are not known."""
        analysis = None if self._compiled is None else self._compiled.memory_analysis()
        if analysis is None:
            return {}
        names = {"arguments": "argument", "outputs": "output", "temporaries": "temp"}
        return {name: int(getattr(analysis, f"{part}_size_in_bytes")) for name, part in names.items()}

    def __call__(self, *args: Any) -> Any:
        if _no_jit():
            return self._plain(*args)
        self.lower(*args)()
        assert self._compiled is not None
        return self._compiled(*args)


def _no_jit() -> bool:
    """Whether the caller is inside of `jax.disable_jit`."""
    return bool(jax.config.jax_disable_jit)  # pyright: ignore[reportAttributeAccessIssue]


@jax.jit
@jax.vmap
def _streams_of(seed: Array) -> Array:
    return jnp.stack([jax.random.key_data(jax.random.fold_in(jax.random.key(seed), i)) for i in range(3)])


def _streams(seeds: Sequence[int]) -> np.ndarray:
    """The streams of each seed, [seeds, 3, 2] uint32.

    They are computed here and are an input of the program, which compiles faster without this computation.
    """
    return np.asarray(_streams_of(np.asarray(seeds, np.uint32)))


def _stream(lane: _Lane, which: int) -> Key:
    return jax.random.wrap_key_data(lane.streams[which])


def largest_product(jaxpr: Any) -> int:
    """The operations of the largest matrix product or convolution in a jaxpr and in the jaxprs it calls.

    A multiplication and an addition are two operations. A product in a loop is counted for one iteration.
    """
    largest = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            largest = max(largest, 2 * depth * math.prod(equation.outvars[0].aval.shape))
        elif equation.primitive.name == "conv_general_dilated":
            kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
            features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            largest = max(largest, 2 * math.prod(kernel) // features * math.prod(out))
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                largest = max(largest, largest_product(inner))
    return largest


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
            tile(_streams(seeds)),
            {k: tile(v) for k, v in per_seed.items()},
        )
        self._given = (data, dict(per_seed))

        # Tracing here finds mistakes before anything compiles. The compiled functions reuse these traces.
        self._init_state, self._step = jax.jit(self._trace_init), jax.jit(self._trace_step)
        lane, shapes = _shapes(jax.tree.map(lambda x: x[0], own)), _shapes(data)
        state = jax.eval_shape(self._init_state, lane, shapes)
        after, metrics = jax.eval_shape(self._step, lane, shapes, state, jnp.int32(0))
        _check_same(state, after)
        _check_scalars("step", metrics)
        self._metrics = list(metrics)
        self._traced = [
            (self._init_state, (lane, shapes)),
            (self._step, (lane, shapes, state, jnp.int32(0))),
        ]
        if self._evaluate is not None:
            self._traced.append((self._measure, (lane, shapes, state, jnp.int32(0))))
            measured = jax.eval_shape(*[self._traced[-1][0], *self._traced[-1][1]])
            _check_scalars("evaluate", measured)
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
        self._start = _Compiled(jit(self._init, per_lane), plain(self._init, per_lane))
        per_lane = (True, False, True, False, False, False)
        self._go = _Compiled(jit(self._advance, per_lane, (2,), in_turn), plain(self._advance, per_lane))
        per_lane = (True, False, True, False)
        self._look = _Compiled(jit(self._measure, per_lane, (), in_turn), plain(self._measure, per_lane))
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
                name: _sha256_function(function, args)
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
        batch_key, init_key = jax.random.split(_stream(lane, _INIT))
        return self._factory(lane.config).init(init_key, self._draw(batch_key, lane, data))

    def _trace_step(self, lane: _Lane, data: PyTree, state: State, step: Array) -> tuple[State, Metrics]:
        batch_key, step_key = jax.random.split(jax.random.fold_in(_stream(lane, _STEP), step))
        advance = self._factory(lane.config).step
        self._marked = wants_serial(advance)
        return advance(step_key, state, self._draw(batch_key, lane, data))

    def _divides(self, lane: _Lane, data: PyTree, state: State) -> int:
        """The number of items that the learner's step can divide among devices; 1 if it divides nothing."""
        items = []

        def trace(lane: _Lane, data: PyTree, state: State) -> None:
            divides = getattr(self._factory(lane.config), "divides", None)
            batch = self._draw(_stream(lane, _STEP), lane, data)
            items.append(1 if divides is None else divides(state, batch))

        jax.eval_shape(trace, lane, data, state)
        check.integer("the number of items that the learner's divides gives", items[0], low=1)
        return items[0]

    def _init(self, lane: _Lane, data: PyTree) -> Carry:
        state = self._init_state(lane, data)
        return Carry(
            state,
            {k: jnp.zeros((), jnp.float32) for k in self._metrics},
            {k: jnp.zeros((), jnp.float32) for k in self._metrics},
            {k: jnp.int32(-1) for k in self._metrics},
            jnp.array([jnp.isinf(x).any() for x in _floats(state)], bool),
        )

    def _advance(
        self, lane: _Lane, data: PyTree, carry: Carry, start: Array, stop: Array, every: Array
    ) -> tuple[Carry, Windows]:
        first = jax.lax.div(start, every)

        # The loop keeps all metrics in one row: a kernel for each would cost as much as a small network.
        def row_of(values: Mapping[str, Array]) -> Array:
            return jnp.stack([values[name] for name in self._metrics])

        def named(rows: Array) -> dict[str, Array]:
            return {name: rows[..., i] for i, name in enumerate(self._metrics)}

        def body(step: Array, loop: Any) -> Any:
            state, mean, count, bad, means, counts = loop
            state, metrics = self._step(lane, data, state, step)
            pairs = {k: m if isinstance(m, Mean) else (m, 1.0) for k, m in metrics.items()}
            value, weight = (
                row_of({k: jnp.asarray(pair[i], jnp.float32) for k, pair in pairs.items()}) for i in range(2)
            )
            fresh = jax.lax.rem(step, every) == 0
            old = jnp.where(fresh, 0.0, mean)
            count = jnp.where(fresh, 0.0, count) + weight
            # The loop keeps a running mean, because a float32 sum over a long window loses digits.
            share = weight / jnp.maximum(count, 1e-30)
            mean = jnp.where(weight > 0, old + (value - old) * share, old)
            bad = jnp.where((weight > 0) & ~jnp.isfinite(value) & (bad < 0), step + 1, bad)
            row = jax.lax.div(step, every) - first
            return state, mean, count, bad, means.at[row].set(mean), counts.at[row].set(count)

        if not self._metrics:
            loop = lambda step, state: self._step(lane, data, state, step)[0]  # noqa: E731
            state = jax.lax.fori_loop(start, stop, self._in_order(loop), carry.state)
            return carry._replace(state=state), Windows({}, {}, {}, _sound(state, carry.infinite))
        empty = jnp.zeros((WINDOWS, len(self._metrics)), jnp.float32)
        begin = (carry.state, row_of(carry.mean), row_of(carry.weight), row_of(carry.bad), empty, empty)
        after = jax.lax.fori_loop(start, stop, self._in_order(body), begin)
        state, mean, count, bad, means, counts = after
        carry = Carry(state, named(mean), named(count), named(bad), carry.infinite)
        return carry, Windows(named(means), named(counts), carry.bad, _sound(state, carry.infinite))

    def _in_order(self, loop: Callable[..., Any]) -> Callable[..., Any]:
        """The loop with its kernels in order, if the learner's step is marked and `serial` pays here."""
        wanted = self._marked and self._alone and self._small and not _no_jit()
        return serial(loop) if wanted else loop

    def _measure(self, lane: _Lane, data: PyTree, state: State, step: Array) -> Mapping[str, Array]:
        assert self._evaluate is not None
        key = jax.random.fold_in(_stream(lane, _EVAL), step)
        learner = self._factory(lane.config)
        return self._evaluate(learner, lane.config, key, state, merge(data, lane.data))


def sha256(tree: PyTree) -> str:
    """A hash of the structure and of every bit of a pytree of arrays."""
    digest = hashlib.sha256(str(jax.tree.structure(tree)).encode())
    for leaf in jax.tree.leaves(tree):
        host = np.ascontiguousarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        digest.update(f"{host.dtype}{host.shape}".encode() + host.tobytes())
    return digest.hexdigest()


def _sha256_function(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """A hash of a function's jaxpr, and of the arrays that the jaxpr closes over, at any depth."""
    closed = jax.make_jaxpr(function)(*args)
    # A function in a jaxpr prints with its address, which differs between processes.
    digest = hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr)).encode())
    for constant in _constants(closed):
        digest.update(sha256(constant).encode())
    return digest.hexdigest()


def _constants(closed: Any) -> Iterator[Any]:
    """The arrays that a jaxpr and the jaxprs it calls close over; a printed jaxpr does not show them."""
    yield from getattr(closed, "consts", ())
    for equation in getattr(closed, "jaxpr", closed).eqns:
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(getattr(part, "jaxpr", part), "eqns"):
                yield from _constants(part)


def merge(data: PyTree, per_seed: Mapping[str, Any]) -> PyTree:
    """The data of one seed: the shared data, and the arrays of that seed."""
    return {**(data or {}), **per_seed} if per_seed else data


def _floats(state: State) -> list[Array]:
    return [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)]


def _sound(state: State, infinite: Array) -> Array:
    """Whether the state has no NaN, and no infinity in an array that had none before the first step.

    An array that had one may be a best-so-far, which begins at infinity.
    """
    good = [
        jnp.where(began, ~jnp.isnan(x), jnp.isfinite(x)).all() for x, began in zip(_floats(state), infinite)
    ]
    return jnp.array(good).all() if good else jnp.array(True)


def _check_scalars(who: str, metrics: Any) -> None:
    if not isinstance(metrics, Mapping):
        raise ValueError(
            f"{who} must return its metrics as a dict from name to scalar, got {type(metrics).__name__}."
        )
    for name, value in metrics.items():
        for part in value if isinstance(value, Mean) else (value,):
            if getattr(part, "shape", ()) != ():
                raise ValueError(
                    f"{who} returned the metric {name!r} with shape {list(part.shape)}; "
                    "metrics are scalars, so reduce it."
                )


def _check_same(before: State, after: State) -> None:
    """Check that a step keeps the structure, shapes and dtypes of the state, as a compiled loop needs it.

    Raises:
        ValueError: the step changes the structure, or a leaf, which the message names.
    """
    old, old_def = jax.tree_util.tree_flatten_with_path(before)
    new, new_def = jax.tree_util.tree_flatten_with_path(after)
    if old_def != new_def:
        raise ValueError(
            "the learner's step returns a state of another structure than its init "
            f"({new_def} instead of {old_def}); return the same pytree."
        )
    for (path, a), (_, b) in zip(old, new):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise ValueError(
                f"the learner's step changes {jax.tree_util.keystr(path)} from {a.dtype}{list(a.shape)} to "
                f"{b.dtype}{list(b.shape)}; a state keeps its shapes and dtypes."
            )
