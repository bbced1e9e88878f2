"""The same program, its kernels run one after another: what one small network wants on CPU.

XLA's CPU runtime hands kernels to other threads as soon as more than two are ready at once, and those threads
then spin for about a tenth of a millisecond while they wait for more. Where a kernel takes microseconds that
is most of the CPU time: a step of SAC with two layers of 64 took 620 us of it, 450 on the clock, where its
arithmetic takes 380 on one core. But the runtime runs a computation of up to eight kernels in order
(``execute_sequential_num_thunks_threshold`` in its thunk_executor.h). So the equations of a program are put,
in their order, into functions of a few kernels, those into functions of a few functions, and so on. Nothing
is computed differently, up to rounding: what is cheap and needed in two functions is computed in both.

One lane of SAC with two layers of 64 makes 1.17 times as many steps a CPU-second by it, which is 1.5 times as
many as rejax makes, and 1.3 times without it. ``LRN_SERIAL=0`` in the environment turns it off.

To be kept apart the functions are called with an attribute that XLA's inliner respects; a version that does
not know it would inline them, which costs time and changes nothing else.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import ClosedJaxpr, Literal

from lrn.types import PyTree, is_key

KERNELS = 3  # kernels of an innermost function, as far as can be told before XLA fuses
CALLS = 6  # functions called by one; with what a loop adds both stay below the runtime's eight

# Fused into what uses them, so that a kernel is theirs only where something outside needs the value.
_CHEAP = {
    "abs", "add", "add_any", "and", "bitcast_convert_type", "broadcast_in_dim", "ceil", "clamp",
    "concatenate", "convert_element_type", "copy", "copy_p", "eq", "expand_dims", "floor", "ge", "gt",
    "integer_pow", "iota", "is_finite", "le", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not",
    "or", "pad", "reshape", "rev", "round", "select_n", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "slice", "square", "squeeze", "stop_gradient", "sub", "transpose",
    "xor",
}  # fmt: skip
# Of one kernel with their surroundings too, but too dear to be computed twice.
_DEAR = {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "digamma", "div",
    "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "lgamma", "log", "log1p", "logistic", "pow", "rem",
    "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh",
}  # fmt: skip
_SHAPE = {
    "broadcast_in_dim", "expand_dims", "reshape", "rev", "slice", "squeeze", "stop_gradient", "transpose",
}  # fmt: skip
_INLINED = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
}
_BODIES = {"scan": ("jaxpr",), "while": ("body_jaxpr",), "cond": ("branches",)}
_MARK = "__serial_alone__"
_WIDE = 1024  # numbers; from here on, what a matrix product reads is worth keeping


def serial(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """``function``, its kernels in order once it is compiled.

    For small kernels; large ones are better off side by side, and one XLA splits between threads by itself
    (from half a megabyte of arrays on) stays split.

    Args:
        function: of pytrees of arrays of any shapes, without keywords; it may be differentiated, vmapped, and
            run in a loop afterwards, its own derivatives (`jax.custom_vjp`) included.

    Returns:
        A function that gives the same up to rounding; elsewhere than on CPU ``function`` itself.
    """
    if jax.default_backend() != "cpu":
        return function

    @functools.wraps(function)
    def ordered(*args: PyTree) -> PyTree:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(shape), _run(closed, jax.tree.leaves(args)))

    return ordered


def serial_alone(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """Mark a learner's step: `lrn.train.fit` makes it `serial` on CPU, where that pays.

    That is where one lane has a device to itself and all matrix products are small. With more of either the
    kernels are larger: ten lanes of SAC, in order, take 1.3 times the CPU time.

    Args:
        function: the step of an `lrn.types.Learner`.

    Returns:
        The same function, marked.
    """

    @functools.wraps(function)
    def marked(*args: PyTree) -> PyTree:
        return function(*args)

    setattr(marked, _MARK, True)
    return marked


def wants_serial(function: Callable[..., PyTree]) -> bool:
    """Whether `serial_alone` marked it, and ``LRN_SERIAL=0`` does not turn this off."""
    return os.environ.get("LRN_SERIAL") != "0" and getattr(function, _MARK, False)


class _Value:
    """A value between two equations. JAX's own variables occur twice where one function is called twice."""

    def __init__(self, aval: Any):
        self.size = math.prod(getattr(aval, "shape", ()))


class _Constant(NamedTuple):
    val: Any


class _Equation(NamedTuple):
    equation: Any  # JAX's
    inputs: list[Any]  # _Value, _Constant or JAX's Literal
    outputs: list[_Value]

    @property
    def name(self) -> str:
        return self.equation.primitive.name

    def reads(self) -> list[_Value]:
        return [x for x in self.inputs if isinstance(x, _Value)]

    def run(self, env: dict[_Value, Any]) -> None:
        """Compute the outputs from the inputs in ``env``, the bodies of loops in order too."""
        params = dict(self.equation.params)
        for name in _BODIES.get(self.name, ()):
            bodies = params[name]
            params[name] = tuple(map(_in_order, bodies)) if isinstance(bodies, tuple) else _in_order(bodies)
        values = [env[x] if isinstance(x, _Value) else x.val for x in self.inputs]
        primitive = self.equation.primitive
        with self.equation.ctx.manager:
            found = primitive.bind(*values, **primitive.get_bind_params(params))
        env.update(zip(self.outputs, found if primitive.multiple_results else [found]))


def _inline(jaxpr: Any, known: dict[Any, Any], into: list[_Equation]) -> None:
    """Append a jaxpr's equations, those of the functions it calls in their places.

    ``known`` has its inputs and constants as `_Value` or `_Constant`, and gets all that it computes.
    """

    def read(x: Any) -> Any:
        return x if isinstance(x, Literal) else known[x]

    for equation in jaxpr.eqns:
        called = equation.params.get(_INLINED.get(equation.primitive.name, ""))
        if equation.primitive.name == "xla_metadata_value":  # of a serial function within this one
            outputs = [read(equation.invars[0])]
        elif called is None:
            outputs = [_Value(x.aval) for x in equation.outvars]
            into.append(_Equation(equation, [read(x) for x in equation.invars], outputs))
        else:
            inner, consts = getattr(called, "jaxpr", called), getattr(called, "consts", ())
            inside = dict(zip(inner.invars, map(read, equation.invars)))
            inside.update(zip(inner.constvars, map(_Constant, consts)))
            _inline(inner, inside, into)
            outputs = [x if isinstance(x, Literal) else inside[x] for x in inner.outvars]
        known.update(zip(equation.outvars, outputs))


def _run(closed: ClosedJaxpr, args: Sequence[Any]) -> list[Any]:
    """Evaluate a jaxpr, in order."""
    jaxpr = closed.jaxpr
    known: dict[Any, Any] = {x: _Value(x.aval) for x in (*jaxpr.invars, *jaxpr.constvars)}
    env = {known[x]: value for x, value in zip((*jaxpr.invars, *jaxpr.constvars), (*args, *closed.consts))}
    equations: list[_Equation] = []
    _inline(jaxpr, known, equations)
    outputs = [x if isinstance(x, Literal) else known[x] for x in jaxpr.outvars]
    _Plan(_needed(equations, outputs), outputs).run(env)
    return [env[x] if isinstance(x, _Value) else x.val for x in outputs]


def _in_order(closed: ClosedJaxpr) -> ClosedJaxpr:
    """The same jaxpr, in order."""
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type) for x in closed.in_avals]
    return jax.make_jaxpr(lambda *args: _run(closed, args))(*shapes)


def _needed(equations: list[_Equation], outputs: list[Any]) -> list[_Equation]:
    wanted, kept = set(map(id, outputs)), []
    for e in reversed(equations):
        if e.equation.effects or any(id(x) in wanted for x in e.outputs):
            kept.append(e)
            wanted.update(map(id, e.reads()))
    return kept[::-1]


class _Plan:
    """Which equations go into which function.

    An anchor is an equation that is computed once, in the function it is put into. The others are cheap, and
    computed wherever an anchor needs them.
    """

    def __init__(self, equations: list[_Equation], outputs: list[Any]):
        self._equations = equations
        self._maker = {x: i for i, e in enumerate(equations) for x in e.outputs}
        self._final = {x for x in outputs if isinstance(x, _Value)}
        self._kernel = [self._is_kernel(e) for e in equations]
        self._anchor = self._anchors()
        self._below = {i: self._cheap_below(i) for i, anchor in enumerate(self._anchor) if anchor}
        self._reads: dict[int, list[_Value]] = {}  # of an anchor and what is below it, from elsewhere
        self._readers: dict[_Value, set[int]] = {}  # anchors
        for i, below in self._below.items():
            read = dict.fromkeys(x for j in below for x in equations[j].reads())
            self._reads[i] = [x for x in read if x not in self._maker or self._maker[x] not in below]
            for x in self._reads[i]:
                self._readers.setdefault(x, set()).add(i)

    def run(self, env: dict[_Value, Any]) -> None:
        """Compute everything from the inputs in ``env``."""
        if sum(self._kernel) < KERNELS + CALLS:  # the runtime keeps so few in order by itself
            for e in self._equations:
                e.run(env)
            return
        nodes: list[Any] = self._leaves()
        while len(nodes) > 1:
            nodes = [nodes[i : i + CALLS] for i in range(0, len(nodes), CALLS)]
        self._call(nodes[0], env)

    def _is_kernel(self, e: _Equation) -> bool:
        """Whether it makes a kernel wherever it is; XLA fuses the others."""
        return _heavy(e.equation) or any(x in self._final for x in e.outputs)

    def _anchors(self) -> list[bool]:
        anchor = [
            kernel or (e.name in _DEAR and e.outputs[0].size > 1)
            for e, kernel in zip(self._equations, self._kernel)
        ]
        # What a matrix product reads is there in full, so its gradient need not compute it again.
        for e in self._equations:
            for x in e.reads() if e.name in ("dot_general", "conv_general_dilated") else ():
                i = self._maker.get(x)
                while i is not None and self._equations[i].name in _SHAPE and self._equations[i].reads():
                    x = self._equations[i].reads()[0]
                    i = self._maker.get(x)
                if i is not None and x.size > _WIDE:
                    anchor[i] = True
        return anchor

    def _cheap_below(self, anchor: int) -> set[int]:
        """An anchor, and what it needs down to the next anchors."""
        found, stack = {anchor}, [anchor]
        while stack:
            makers = (self._maker.get(x) for x in self._equations[stack.pop()].reads())
            new = {i for i in makers if i is not None and not self._anchor[i]} - found
            found |= new
            stack += new
        return found

    def _leaves(self) -> list[list[int]]:
        """The anchors in order, as many together as make `KERNELS` kernels."""
        leaves, kernels = [[]], 0.0
        for i in self._below:
            weight = 1.0 if self._kernel[i] else 0.5  # the others are often fused with one
            if self._equations[i].name.startswith("random_"):
                weight = KERNELS  # a loop of its own, and more; where its arrays are small, it runs in order
            if leaves[-1] and kernels + weight > KERNELS:
                leaves.append([])
                kernels = 0.0
            leaves[-1].append(i)
            kernels += weight
        return leaves

    def _call(self, node: Any, env: dict[_Value, Any]) -> None:
        """Compute the anchors of a node, in a function of its own; its children are functions in it."""
        anchors = dict.fromkeys(_anchors_of(node))
        reads = list(dict.fromkeys(x for i in anchors for x in self._reads[i]))
        reads = [x for x in reads if self._maker.get(x) not in anchors]
        made = [x for i in anchors for x in self._equations[i].outputs]
        writes = [x for x in made if x in self._final or not self._readers.get(x, set()) <= anchors.keys()]

        def function(*values: Any) -> list[Any]:
            inside = dict(zip(reads, values))
            if isinstance(node[0], int):
                for i in sorted(set().union(*(self._below[i] for i in node))):
                    self._equations[i].run(inside)
            else:
                for child in node:
                    self._call(child, inside)
            return [inside[x] for x in writes]

        found = jax.jit(function)(*(env[x] for x in reads))
        at = next((k for k, x in enumerate(found) if not is_key(x)), None)
        if at is not None:
            found[at] = set_xla_metadata(found[at], inlineable="false")
        env.update(zip(writes, found))


def _heavy(equation: Any) -> bool:
    """Whether it is more than elementwise arithmetic, which XLA fuses into what uses it."""
    name = equation.primitive.name
    called = equation.params.get(_INLINED.get(name, "call_jaxpr" if name.startswith("custom_") else ""))
    if called is not None:
        return any(map(_heavy, getattr(called, "jaxpr", called).eqns))
    return name not in _CHEAP and name not in _DEAR


def _anchors_of(node: Any) -> list[int]:
    return [node] if isinstance(node, int) else [i for child in node for i in _anchors_of(child)]
