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

from lrn.train.lanes import Lanes
from lrn.types import Array, Device, Key, Mean, Metrics, PyTree, Sampler, State, Trainable, is_key
from lrn.xla.parts import divisor
from lrn.xla.runtime import compiler_options, processors
from lrn.xla.serial import serial, wants_serial

# ``evaluate(learner, config, key, state, data) -> {name: scalar}``
Evaluate = Callable[[Any, Any, Key, State, PyTree], Mapping[str, Array]]

# Streams of one seed's key: what is drawn in one is independent of what is drawn in another.
_INIT, _STEP, _EVAL = range(3)

# Windows of metrics one call can return. A constant, not the chunk's length: so the chunk is only a
# number at run time, and the program, hence every bit of the result, is the same for all of them.
WINDOWS = 1024

_SMALL = 2**24  # operations of a matrix product; on this side of it small agents, on the other images


class Carry(NamedTuple):
    """What goes from step to step in one lane; metrics are keyed by name.

    mean, weight: running mean of the open window, and the weight in it.
    bad: the first step with a non-finite value, -1 for none.
    infinite: of each array of floats in the state, whether it held an infinity before the first step.
    """

    state: State
    mean: dict[str, Array]
    weight: dict[str, Array]
    bad: dict[str, Array]
    infinite: Array


class Windows(NamedTuple):
    """What one call reports, per lane: window means and weights [WINDOWS], and the first failures."""

    mean: dict[str, Array]
    weight: dict[str, Array]
    bad: dict[str, Array]
    finite: Array  # whether the state is, see `_sound`


class _Lane(NamedTuple):
    """What makes a lane itself: a config, a seed's streams [3, 2] uint32, and the data of that seed alone."""

    config: Any
    streams: Any
    data: dict[str, Any]


class _Compiled:
    """A jitted function, compiled once for the one set of shapes it will see.

    Under `jax.disable_jit` the plain function runs in its place.
    """

    def __init__(self, jitted: Any, plain: Callable[..., Any]):
        self._jitted, self._plain, self._compiled = jitted, plain, None
        self.options: dict[str, Any] | None = None

    def lower(self, *args: Any) -> Callable[[], None]:
        """Trace and lower; what is returned compiles, and may do so in another thread."""
        if self._compiled is not None or _no_jit():
            return lambda: None
        lowered = self._jitted.lower(*args)

        def finish() -> None:
            self._compiled = lowered.compile(compiler_options=self.options)

        return finish

    def memory(self) -> dict[str, int]:
        found = None if self._compiled is None else self._compiled.memory_analysis()
        if found is None:
            return {}
        names = {"arguments": "argument", "outputs": "output", "temporaries": "temp"}
        return {name: int(getattr(found, f"{part}_size_in_bytes")) for name, part in names.items()}

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
    """The streams of each seed [seeds, 3, 2] uint32, found once, here: every program compiles sooner."""
    return np.asarray(_streams_of(np.asarray(seeds, np.uint32)))


def _stream(lane: _Lane, which: int) -> Key:
    return jax.random.wrap_key_data(lane.streams[which])


def largest_product(jaxpr: Any) -> int:
    """Operations of the largest matrix product or convolution in a jaxpr, and in those it calls.

    A multiplication and an addition are two; loops count once, since it is one product that is asked about.
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
    """The arrays that these will be on a device, without their numbers."""
    found = jax.eval_shape(lambda tree: jax.tree.map(jnp.asarray, tree), tree)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), found)


class Program:
    """One fit's programs over all lanes; lane ``a * len(seeds) + s`` is arm ``a`` with seed ``s``.

    Raises:
        ValueError: the learner's step changes its state's structure, or a metric is no scalar.
    """

    def __init__(
        self,
        factory: Callable[[Any], Trainable],
        configs: Any,  # stacked, leaves [arms]
        arms: int,
        seeds: Sequence[int],
        data: PyTree,
        per_seed: Mapping[str, Any],
        sampler: Sampler | None,
        evaluate: Evaluate | None,
        devices: Sequence[Device] | None,
    ):
        self._factory, self._sampler, self._evaluate = factory, sampler, evaluate
        # Shapes are found by tracing, also where nothing is to be compiled.
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
        # One lane on a device; a step that wants to be serial (found in its trace); no large matrix product.
        self._alone, self._marked, self._small = lanes.alone, False, False
        self._in_turn = False

        def tile(x: Any) -> np.ndarray:
            x = np.asarray(x)
            return np.tile(x, (arms,) + (1,) * (x.ndim - 1))

        own = _Lane(
            jax.tree.map(lambda x: np.repeat(np.asarray(x), len(seeds), 0), configs),
            tile(_streams(seeds)),
            {k: tile(v) for k, v in per_seed.items()},
        )
        self._given = (data, dict(per_seed))

        # Traced once, here, where a mistake is still cheap; the compiled parts reuse the trace.
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
        # The carry as saved: all lanes, no padding.
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
        """How to compile, on CPU: a third of the seconds for small agents, and a tenth of their speed.

        What runs once need not be optimized as what runs a million times. Where every matrix product is
        small, kernels are too: LLVM's last passes do nothing for them, threads inside a product cost more
        than they save, and wider vectors pay, which large products are slowed by.
        """
        if jax.default_backend() != "cpu":
            return
        numbers = sum(x.size for x in jax.tree.leaves(state))
        level = 0 if numbers < 1_000_000 else 1
        self._start.options = compiler_options({"xla_backend_optimization_level": level})
        traced = jax.make_jaxpr(self._step)(lane, data, state, jnp.int32(0))
        self._small = largest_product(traced.jaxpr) <= _SMALL
        # What one lane reads and writes stays in the cache, that of many does not: ten seeds of a large
        # network cost 1.3 times as much together as one after another.
        self._in_turn = not self._small
        if self._small:
            self._go.options = self._look.options = compiler_options(
                {
                    "xla_backend_optimization_level": 2,
                    "xla_cpu_prefer_vector_width": 512,
                    "xla_cpu_multi_thread_eigen": False,
                }
            )

    def sha256(self) -> dict[str, str]:
        """Hashes of what is computed: the traced functions with all they close over, and the data.

        The same training under another attack, network or data set is another training, though its
        configs and names be the same.
        """
        with jax.disable_jit(False):
            found = {
                name: _sha256_function(function, args)
                for name, (function, args) in zip(("init", "step", "evaluation"), self._traced)
            }
        return {**found, "data": sha256(self._given)}

    def start(self) -> Carry:
        """The carries before the first step."""
        return self._start(self._lane, self._data)

    def advance(self, carry: Carry, start: int, stop: int, every: int) -> tuple[Carry, Windows]:
        """Steps [start, stop) in every lane, metrics in windows of ``every`` steps. Donates ``carry``.

        The three numbers are the program's inputs and no part of it.
        """
        return self._go(self._lane, self._data, carry, jnp.int32(start), jnp.int32(stop), jnp.int32(every))

    def evaluate(self, carry: Carry, step: int) -> dict[str, Array]:
        """The evaluation of every lane at a step."""
        return self._look(self._lane, self._data, carry.state, jnp.int32(step))

    def compile(self, carry: Carry) -> None:
        """Compile what will run next, so that its time is known apart."""
        number = jnp.int32(0)
        parts = [self._go.lower(self._lane, self._data, carry, number, number, number)]
        if self._evaluate is not None:
            parts.append(self._look.lower(self._lane, self._data, carry.state, number))
        if jax.default_backend() == "cpu" and jax.process_count() == 1 and processors() > 1:
            # Side by side: most of XLA's passes run on one thread. (Processes that share GPUs take turns at
            # measuring kernels, in an order that must be the same for all.)
            with ThreadPoolExecutor(len(parts)) as pool:
                list(pool.map(lambda finish: finish(), parts))
        else:
            for finish in parts:
                finish()

    def memory(self) -> dict[str, int]:
        """Bytes the compiled steps hold on a device; empty where they were not compiled or it is unknown."""
        return self._go.memory()

    # Everything below is written for one lane and traced under vmap.

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
        """How many items the learner's step can share among devices; 1 where it shares nothing."""
        items = []

        def ask(lane: _Lane, data: PyTree, state: State) -> None:
            divides = getattr(self._factory(lane.config), "divides", None)
            batch = self._draw(_stream(lane, _STEP), lane, data)
            items.append(1 if divides is None else divides(state, batch))

        jax.eval_shape(ask, lane, data, state)
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

        # The metrics go through the loop as one row: a kernel each would cost as much as a small network.
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
            # A running mean: a float32 sum over a long window would lose its last digits.
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
        """The loop, its kernels in order if the learner asks for that and they are small."""
        wanted = self._marked and self._alone and self._small and not _no_jit()
        return serial(loop) if wanted else loop

    def _measure(self, lane: _Lane, data: PyTree, state: State, step: Array) -> Mapping[str, Array]:
        assert self._evaluate is not None
        key = jax.random.fold_in(_stream(lane, _EVAL), step)
        learner = self._factory(lane.config)
        return self._evaluate(learner, lane.config, key, state, merge(data, lane.data))


def sha256(tree: PyTree) -> str:
    """A hash of a pytree of arrays: its structure and every bit."""
    digest = hashlib.sha256(str(jax.tree.structure(tree)).encode())
    for leaf in jax.tree.leaves(tree):
        host = np.ascontiguousarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        digest.update(f"{host.dtype}{host.shape}".encode() + host.tobytes())
    return digest.hexdigest()


def _sha256_function(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """A hash of what is traced, and of the arrays that it closes over, at any depth."""
    closed = jax.make_jaxpr(function)(*args)
    # Functions print with their address, which changes from process to process.
    digest = hashlib.sha256(re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr)).encode())
    for constant in _constants(closed):
        digest.update(sha256(constant).encode())
    return digest.hexdigest()


def _constants(closed: Any) -> Iterator[Any]:
    """The arrays that a jaxpr and those that it calls close over, which are not printed with them."""
    yield from getattr(closed, "consts", ())
    for equation in getattr(closed, "jaxpr", closed).eqns:
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(getattr(part, "jaxpr", part), "eqns"):
                yield from _constants(part)


def merge(data: PyTree, per_seed: Mapping[str, Any]) -> PyTree:
    """The data one seed sees: what all share, and its own."""
    return {**(data or {}), **per_seed} if per_seed else data


def _floats(state: State) -> list[Array]:
    return [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)]


def _sound(state: State, infinite: Array) -> Array:
    """Whether the state has not failed: no NaN in it, nor an infinity where none was at first.

    A learner that keeps a best-so-far begins at infinity.
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
    """A loop's state keeps its structure, shapes and dtypes; say which leaf does not."""
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
