"""The two shapes of lrn: an algorithm is a `Learner`, a network a `Net`; both are tuples of functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

Array = jax.Array
Device = Any  # a jax.Device
Key = jax.Array  # a typed key, `jax.random.key(seed)`; never a raw uint32 pair
PyTree = Any
Batch = PyTree  # for supervised learners {"image": [batch, ...], "label": [batch]}
State = PyTree  # a NamedTuple of arrays
Params = PyTree
NetState = PyTree  # BatchNorm statistics; () for a network that keeps none

# The axis name of every vmap over weights (seeds, tasks): `jax.vmap(f, axis_name=LANES)`. By this name
# `lrn.nets.conv` knows that there is such a vmap, which a traced array does not show. jax caches a trace
# by its axis names too, which it would not do for a global variable.
LANES = "lanes"
# The axis name of the devices that share one lane (`lrn.xla.parts`).
PARTS = "parts"


class Mean(NamedTuple):
    """A metric that is a mean over items, such as the return of the episodes that ended.

    value: the mean, a scalar. weight: the number of items, a scalar; with weight 0 the step measured nothing,
    and the value is ignored.
    """

    value: Array
    weight: Array


Metrics = Mapping[str, Array | Mean]  # name -> scalar


def is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of typed keys, or a `jax.ShapeDtypeStruct` of typed keys."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


class Learner(NamedTuple):
    """An algorithm as two pure functions, made by a factory named after the method.

    init: ``init(key, batch) -> state``. Only the shapes and dtypes of ``batch`` matter; ``batch`` is None
        for a learner that makes its own data, such as an agent.
    step: ``step(key, state, batch) -> (state, metrics)``; every metric is a scalar or a `Mean`.
    divides: ``divides(state, batch) -> n``: among how many items, at most, `lrn.xla.parts.mean_of_parts` in
        the step divides its work; without it the step is done whole on one device.
    """

    init: Callable[[Key, Batch], State]
    step: Callable[[Key, State, Batch], tuple[State, Metrics]]
    divides: Callable[[State, Batch], int] | None = None


# Any tuple with a `Learner`'s two functions, such as an `lrn.rl.agent.Agent`. (A protocol cannot say so: type
# checkers bind the functions of a NamedTuple to its instance.)
Trainable = Any


class Apply(Protocol):
    """``apply(params, state, x, *, key=None, train=False) -> (output, new_state)``."""

    def __call__(
        self, params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, NetState]:
        """Run the network on a batch ``x`` of shape [batch, ...]."""
        ...


class Net(NamedTuple):
    """A network as two pure functions, whose signature also serves BatchNorm's state and dropout.

    init: ``init(key, x) -> (params, state)`` for a batch ``x`` of shape [batch, ...].
    apply: ``apply(params, state, x, *, key=None, train=False) -> (output, new_state)``. ``key`` draws
        dropout's masks. ``train=True`` turns dropout and batch statistics on; with ``train=False`` the
        new state is ``state``.
    """

    init: Callable[[Key, Array], tuple[Params, NetState]]
    apply: Apply


class RecurrentNet(NamedTuple):
    """A network with memory, as three pure functions.

    init: ``init(key, x) -> params`` for a batch ``x`` of shape [batch, ...].
    initial: ``initial(n) -> memory``: the memory at the start of n sequences, leaves [n, ...].
    apply: ``apply(params, memory, x, first) -> (output, memory)`` for one step of a batch. Where ``first``
        [batch] is true a new sequence begins: the network uses the initial memory instead of ``memory``.
    """

    init: Callable[[Key, Array], Params]
    initial: Callable[[int], PyTree]
    apply: Callable[[Params, PyTree, Array, Array], tuple[Any, PyTree]]


class Sampler(NamedTuple):
    """A pure function that draws a batch from device arrays by a key.

    draw: ``draw(key, data) -> batch``. The data is an argument, never closed over: a closed-over array
        would be baked into the compiled program as a constant.
    needs_data: False for a sampler that makes batches from the key alone; its ``data`` is None.
    check: ``check(data)`` raises `lrn.check.InputError` where values of the data are wrong, which a trace
        cannot show. `lrn.train.fit` calls ``check`` with each seed's data before anything compiles.
    """

    draw: Callable[[Key, PyTree], Batch]
    needs_data: bool = True
    check: Callable[[PyTree], None] | None = None


class Goal(NamedTuple):
    """What an example must reach, so that a test shows that its algorithm learns.

    metric: the name of one of the learner's metrics. below, above: the range that the mean of the metric over
        the last tenth of the steps must lie in; the mean over the first tenth lies outside of it.
    steps: the number of steps.
    """

    metric: str
    below: float = math.inf
    above: float = -math.inf
    steps: int = 300


class Example(NamedTuple):
    """A small instance of an algorithm for tests, docs and first steps; its module's ``example()`` makes it.

    factory: ``factory(config) -> Learner``. config: the config of the instance.
    data, sampler: the arguments of `lrn.train.fit`; None for a learner that makes its own data.
    solves: what the instance reaches within seconds; None where tests of its own show that it learns.
    """

    factory: Callable[[Any], Trainable]
    config: Any
    data: PyTree = None
    sampler: Sampler | None = None
    solves: Goal | None = None
