"""The two shapes everything in lrn has: a `Learner` and a `Net`, both tuples of pure functions."""

from __future__ import annotations

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

# Whoever vmaps over weights (seeds, tasks) says so by naming the axis, `jax.vmap(f, axis_name=LANES)`, for
# `lrn.nets.conv` to know. A traced array does not tell that it is one of many, and an axis name, unlike a
# global, is part of what a trace is cached by.
LANES = "lanes"
# The devices of one lane, where it has several (`lrn.xla.parts`).
PARTS = "parts"


class Mean(NamedTuple):
    """A metric that is a mean over ``weight`` items, such as the return of the episodes that ended.

    Both are scalars; weight 0 says that this step measured nothing, whatever the value.
    """

    value: Array
    weight: Array


Metrics = Mapping[str, Array | Mean]  # name -> scalar


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed key (an array of them, or its shape)."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


class Learner(NamedTuple):
    """An algorithm as two pure functions, made by a factory named after the method.

    init: ``init(key, batch) -> state``. ``batch`` gives shapes and dtypes (``None`` for learners
        that make their own data, such as reinforcement learning).
    step: ``step(key, state, batch) -> (state, metrics)``; every metric is a scalar or a `Mean`.
    divides: ``divides(state, batch) -> n``: among how many items, at most, `lrn.xla.parts.mean_of_parts` in
        the step divides its work; without it the step is done whole on one device.
    """

    init: Callable[[Key, Batch], State]
    step: Callable[[Key, State, Batch], tuple[State, Metrics]]
    divides: Callable[[State, Batch], int] | None = None


# Whatever has a `Learner`'s two functions, among others: an `lrn.rl.agent.Agent` is one too. (A protocol
# cannot say so: type checkers bind the functions of a NamedTuple to its instance.)
Trainable = Any


class Apply(Protocol):
    """``apply(params, state, x, *, key=None, train=False) -> (output, new_state)``."""

    def __call__(
        self, params: Params, state: NetState, x: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, NetState]:
        """Run the network on a batch ``x`` of shape [batch, ...]."""
        ...


class Net(NamedTuple):
    """A network as two pure functions; the one signature also serves BatchNorm state and dropout.

    init: ``init(key, x) -> (params, state)`` for a batch ``x`` of shape [batch, ...].
    apply: ``apply(params, state, x, *, key=None, train=False) -> (output, new_state)``. ``key`` drives
        dropout; ``train`` selects batch statistics and dropout. With ``train=False`` the state comes back
        unchanged.
    """

    init: Callable[[Key, Array], tuple[Params, NetState]]
    apply: Apply


class RecurrentNet(NamedTuple):
    """A network with memory as pure functions.

    init: ``init(key, x) -> params`` for a batch ``x`` of shape [batch, ...].
    initial: ``initial(n) -> memory``, leaves [n, ...], at the start of a sequence.
    apply: ``apply(params, memory, x, first) -> (output, memory)`` for one step of a batch; where ``first``
        [batch] is true a new sequence begins, and the memory is forgotten before it is used.
    """

    init: Callable[[Key, Array], Params]
    initial: Callable[[int], PyTree]
    apply: Callable[[Params, PyTree, Array, Array], tuple[Any, PyTree]]


class Sampler(NamedTuple):
    """Draws a batch from device arrays by key: ``draw(key, data) -> batch``.

    The data is an argument, never closed over: a closed-over array would be baked into the compiled
    program as a constant.

    needs_data: False for one that makes batches of the key alone, and is given None.
    check: ``check(data)`` raises `lrn.check.InputError` where the values of the data, which a trace does not
        show, are wrong; `lrn.train.fit` calls it with each seed's data before anything compiles.
    """

    draw: Callable[[Key, PyTree], Batch]
    needs_data: bool = True
    check: Callable[[PyTree], None] | None = None


class Example(NamedTuple):
    """A small instance of an algorithm, made by its module's ``example()``: for tests, docs, first steps.

    factory: ``factory(config) -> Learner``; data, sampler: what `lrn.train.fit` takes, None for
    learners that make their own data.
    """

    factory: Callable[[Any], Trainable]
    config: Any
    data: PyTree = None
    sampler: Sampler | None = None
