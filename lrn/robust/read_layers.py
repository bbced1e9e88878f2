"""Reads the layers of a network from the program of its ``logits_fn``, for certified bounds.

The networks of `lrn.nets` and of other libraries therefore need no description. Readable are chains of

- affine maps: dense layers, convolutions, normalization by constants, BatchNorm in evaluation mode,
  average pooling, reshapes, padding, slices;
- ReLU, as ``jax.nn.relu`` or ``jnp.maximum(x, 0)``;
- maxima, as in max pooling written with ``jnp.max`` or ``jnp.maximum`` (`lrn.nets.pool.max_pool`).

So `lrn.nets.mlp` with ``activation="relu"`` and no layer norm, and `lrn.nets.cnn`, can be read. Skip
connections, other activations, layer norm and recurrence are refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Literal

from lrn import check
from lrn.robust.attack import LogitsFn, check_logits
from lrn.robust.relu_network import FACTORS, TERMS, Layer, Node, Step, activate, layer_of
from lrn.types import Array

_MOVES = (  # operations that are affine in their first operand
    "neg", "reshape", "transpose", "broadcast_in_dim", "squeeze", "slice", "dynamic_slice", "gather",
    "split", "rev", "copy", "copy_p", "reduce_sum", "reduce_window_sum", "convert_element_type",
)  # fmt: skip
_WIDE = (jnp.dtype("float32"), jnp.dtype("float64"))
_LOOPS = ("scan", "while", "cond")
_SKIP = "a value before an activation is used again after it, as in a skip connection"


def read_layers(logits_fn: LogitsFn, x: Array) -> tuple[Layer, ...]:
    """The layers of a network; the last has the activation "none" and the logits as its output.

    Under a trace (jit, grad over the parameters, vmap over seeds) the layers belong to that trace, and
    may not leave it.

    Args:
        logits_fn: the network in evaluation mode, [batch, ...] -> [batch, classes].
        x: inputs [batch, ...], of which only the shape matters.

    Raises:
        ValueError: the network is no chain of affine maps, ReLUs and maxima in float32 or wider.
    """
    row = jax.ShapeDtypeStruct((1, *x.shape[1:]), jnp.promote_types(x.dtype, jnp.float32))
    check_logits(jax.eval_shape(logits_fn, row), 1)
    reader = _Reader(row)
    (logits,) = reader.walk(jax.make_jaxpr(logits_fn)(row), [Node(0, 0)])
    logits = reader.settle(logits)
    if not isinstance(logits, Node):
        raise check.InputError(
            "the logits do not depend on the input; pass logits_fn(x) that applies the network to x."
        )
    return (*reader.layers, reader.close(logits, "none"))


class _Maximum(NamedTuple):
    """The elementwise maximum of nodes of one layer, before its use tells whether more nodes join it."""

    members: tuple[Node, ...]


class _Refused(NamedTuple):
    """A value that no chain contains. It is an error only where the logits depend on it."""

    reason: str


class _Reader:
    """Walks through a program and cuts it into layers at its activations."""

    def __init__(self, row: jax.ShapeDtypeStruct):
        self.layers: list[Layer] = []
        self.maxima: dict[_Maximum, Node] = {}
        self._open(row)

    def _open(self, row: Any) -> Node:
        """Begin a layer with an input of a batch of one, ``row``."""
        self.tape: list[Step] = []
        self.types = [jax.ShapeDtypeStruct(row.shape, row.dtype)]  # of the places of the tape
        return Node(len(self.layers), 0)

    def close(self, node: Node, activation: str) -> Layer:
        """The current layer, which ends with ``node``."""
        if node.layer != len(self.layers):
            raise _unreadable("a value before an activation is used again after it, as in a skip connection")
        return layer_of(tuple(self.tape), node.place, self.types[0].shape[1:], activation)

    def _activate(self, node: Node, activation: str) -> Node:
        """The input of the next layer: the activation of ``node``."""
        self.layers.append(self.close(node, activation))
        row = self.types[node.place]
        return self._open(jax.eval_shape(lambda v: activate(v, activation), row))

    def settle(self, value: Any) -> Any:
        """A value that an operation can use: a maximum becomes a layer, a refused value an error."""
        if isinstance(value, _Refused):
            raise _unreadable(value.reason)
        if not isinstance(value, _Maximum):
            return value
        if value not in self.maxima:
            stacked = self._apply(lambda *members: jnp.stack(members, axis=-1), *value.members)
            self.maxima[value] = self._activate(stacked, "max")
        return self.maxima[value]

    def _apply(self, f: Callable[..., Array], *nodes: Node) -> Node:
        """Append the operations of an affine function of nodes to the tape."""
        for node in nodes:
            if node.layer != len(self.layers):
                raise _unreadable("a maximum joins values from before and after an activation")
        closed = jax.make_jaxpr(f)(*(self.types[node.place] for node in nodes))
        return self.settle(self.walk(closed, nodes)[0])

    def walk(self, closed: ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
        """The values that a program gives for arguments that are nodes or known arrays."""
        jaxpr = closed.jaxpr
        values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*closed.consts, *arguments)))
        read = lambda atom: atom.val if isinstance(atom, Literal) else values[atom]  # noqa: E731
        for eqn in jaxpr.eqns:
            args = [read(atom) for atom in eqn.invars]
            values.update(zip(eqn.outvars, self._operation(eqn, args)))
        return [read(atom) for atom in jaxpr.outvars]

    def _operation(self, eqn: Any, args: list[Any]) -> Sequence[Any]:
        """The outputs of one operation."""
        inner = next((eqn.params[n] for n in ("jaxpr", "call_jaxpr", "fun_jaxpr") if n in eqn.params), None)
        if inner is not None and eqn.primitive.name not in _LOOPS:
            return self.walk(inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ()), args)
        if not any(isinstance(a, (Node, _Maximum, _Refused)) for a in args):
            return _known(eqn, args)
        if any(isinstance(a, _Refused) for a in args):
            return [next(a for a in args if isinstance(a, _Refused))] * len(eqn.outvars)
        name = eqn.primitive.name
        if name == "max" and not any(_is_zero(a) for a in args):
            return [_join(args)]
        if name == "reduce_max" and 0 not in eqn.params["axes"]:
            return [self._reduce_max(self.settle(args[0]), eqn.params["axes"])]
        if (reason := _reason(eqn, [isinstance(a, (Node, _Maximum)) for a in args])) is not None:
            return [_Refused(reason)] * len(eqn.outvars)
        args = [self.settle(a) for a in args]
        if name == "max":
            return [self._activate(next(a for a in args if isinstance(a, Node)), "relu")]
        return self._record(eqn, args)

    def _record(self, eqn: Any, args: list[Any]) -> Sequence[Node | _Refused]:
        """Append an affine operation to the tape."""
        if any(isinstance(a, Node) and a.layer != len(self.layers) for a in args):
            return [_Refused(_SKIP)] * len(eqn.outvars)
        self.tape.append(Step(eqn.primitive, eqn.params, tuple(args)))
        first = len(self.types)
        self.types += [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.outvars]
        return [Node(len(self.layers), place) for place in range(first, len(self.types))]

    def _reduce_max(self, node: Node, axes: Sequence[int]) -> Node:
        def last(v: Array) -> Array:
            kept = [n for i, n in enumerate(v.shape) if i not in axes]
            return jnp.moveaxis(v, axes, range(v.ndim - len(axes), v.ndim)).reshape(*kept, -1)

        return self._activate(self._apply(last, node), "max")


def _known(eqn: Any, args: list[Any]) -> list[Any]:
    """The outputs of an operation on known values; readable numbers stay readable under jit."""
    traced = any(isinstance(a, Tracer) for a in args)
    with contextlib.nullcontext() if traced else jax.ensure_compile_time_eval():
        out = eqn.primitive.bind(*args, **eqn.params)
    return list(out) if eqn.primitive.multiple_results else [out]


def _join(args: Sequence[Any]) -> _Maximum | _Refused:
    """The maximum of two nodes or maxima."""
    if not all(isinstance(a, (Node, _Maximum)) for a in args):
        return _Refused("it takes a maximum with a constant that is not 0 or is traced")
    return _Maximum(sum((a.members if isinstance(a, _Maximum) else (a,) for a in args), ()))


def _is_zero(value: Any) -> bool:
    if isinstance(value, (Node, _Maximum, _Refused, Tracer)):
        return False
    return bool((np.asarray(value) == 0).all())


def _reason(eqn: Any, depends: Sequence[bool]) -> str | None:
    """Why an operation is not affine in the values that depend on the input; None where it is."""
    name, count = eqn.primitive.name, sum(depends)
    if name == "max":
        return None
    if name in FACTORS:
        wrong = count > 1 or (name in ("div", "conv_general_dilated") and depends[1])
        return f"it has a {name} of two values that depend on the input" if wrong else None
    if name in TERMS:
        return "a predicate depends on the input" if name == "select_n" and depends[0] else None
    if name == "convert_element_type" and jnp.dtype(eqn.params["new_dtype"]) not in _WIDE:
        return "it computes in half precision or integers, whose rounding the bounds do not cover"
    if name in _MOVES:
        return None if count == 1 and depends[0] else f"the place in a {name} depends on the input"
    return f"it applies {name} to a value that depends on the input"


def _unreadable(reason: str) -> check.InputError:
    return check.InputError(
        f"certified bounds cannot read this network: {reason}; use a chain of affine maps, ReLUs and "
        "maxima, such as nets.mlp or nets.cnn."
    )
