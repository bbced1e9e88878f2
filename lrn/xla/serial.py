"""Run the kernels of a program one after another, which is cheaper for a single small network on CPU.

XLA's CPU runtime gives kernels to other threads as soon as more than two kernels are ready at once. These
threads then spin for about a tenth of a millisecond while they wait for more kernels. Where a kernel takes
microseconds, spinning is most of the CPU time: a step of SAC with two layers of 64 took 620 us of CPU time
and 450 us of wall-clock time, while its arithmetic takes 380 us on one core. But the runtime runs a
computation of up to eight kernels in order (``execute_sequential_num_thunks_threshold`` in its
thunk_executor.h). So `serial` puts the equations of a program, in their order, into functions of a few
kernels, these functions into functions of a few functions, and so on. Results are equal up to rounding. A
cheap value that two functions need is computed in both.

With `serial` one lane of SAC with two layers of 64 makes 1.17 times as many steps in a CPU-second as without
it. Compared with rejax, it makes 1.5 times as many steps with `serial`, and 1.3 times as many without it.
``LRN_SERIAL=0`` in the environment turns `serial` off in `lrn.train.fit`.

The functions are called with an attribute that keeps XLA from inlining them. A version of XLA that does not
know the attribute would inline them, which costs time but changes no result.
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

# Kernels in an innermost function (an estimate, because XLA fuses kernels later), and calls in an outer one.
# A loop adds kernels of its own; with these, both numbers stay below the eight of the runtime.
KERNELS = 3
CALLS = 6

# Primitives that XLA fuses into the kernels that use their values. They have a kernel of their own only where
# the value is an output of the function.
_CHEAP = {
    "abs", "add", "add_any", "and", "bitcast_convert_type", "broadcast_in_dim", "ceil", "clamp",
    "concatenate", "convert_element_type", "copy", "copy_p", "eq", "expand_dims", "floor", "ge", "gt",
    "integer_pow", "iota", "is_finite", "le", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not",
    "or", "pad", "reshape", "rev", "round", "select_n", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "slice", "square", "squeeze", "stop_gradient", "sub", "transpose",
    "xor",
}  # fmt: skip
# Primitives that XLA fuses as well, but that are too expensive to be computed twice.
_DEAR = {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "digamma", "div",
    "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "lgamma", "log", "log1p", "logistic", "pow", "rem",
    "rsqrt", "sin", "sinh", "sqrt", "tan", "tanh",
}  # fmt: skip
# Primitives that move numbers and compute none.
_SHAPE = {
    "broadcast_in_dim", "expand_dims", "reshape", "rev", "slice", "squeeze", "stop_gradient", "transpose",
}  # fmt: skip
# Primitives that call a function, with the parameter that has its jaxpr. `_inline` replaces such a call by
# the function's equations.
_INLINED = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
}
# Primitives with bodies, and the parameters that have their jaxprs. `_Equation.run` orders the bodies too.
_BODIES = {"scan": ("jaxpr",), "while": ("body_jaxpr",), "cond": ("branches",)}
_MARK = "__serial_alone__"
# An operand of a matrix product with more numbers than this is kept for the gradient, not computed again.
_WIDE = 1024


def serial(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """Make a function that computes the same as ``function``, whose kernels run in order once it is compiled.

    This pays for small kernels. Large kernels run faster side by side. A kernel that XLA splits between
    threads (from half a megabyte of arrays on) stays split.

    Args:
        function: takes pytrees of arrays as positional arguments. The result may be differentiated, vmapped
            and run in a loop; derivatives that the function defines itself (`jax.custom_vjp`) are kept.

    Returns:
        A function whose results equal those of ``function`` up to rounding. On other backends than CPU it is
        ``function`` itself.
    """
    if jax.default_backend() != "cpu":
        return function

    @functools.wraps(function)
    def ordered(*args: PyTree) -> PyTree:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(shape), _run(closed, jax.tree.leaves(args)))

    return ordered


def serial_alone(function: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """Mark a learner's step: `lrn.train.fit` makes a marked step `serial` on CPU where that pays.

    It pays where a device has a single lane and all matrix products are small. With more lanes or larger
    products the kernels are larger: ten lanes of SAC take 1.3 times the CPU time if they run in order.

    Args:
        function: the step of an `lrn.types.Learner`.

    Returns:
        A function that calls ``function`` and has the mark.
    """

    @functools.wraps(function)
    def marked(*args: PyTree) -> PyTree:
        return function(*args)

    setattr(marked, _MARK, True)
    return marked


def wants_serial(function: Callable[..., PyTree]) -> bool:
    """Whether `serial_alone` marked ``function``; False with ``LRN_SERIAL=0`` in the environment."""
    return os.environ.get("LRN_SERIAL") != "0" and getattr(function, _MARK, False)


class _Value:
    """A value that equations compute and read.

    JAX's own variables do not serve: where a function is called twice, its variables occur twice.
    """

    def __init__(self, aval: Any):
        self.size = math.prod(getattr(aval, "shape", ()))


class _Constant(NamedTuple):
    """A constant that a jaxpr closes over; ``val`` is called as in JAX's Literal."""

    val: Any


class _Equation(NamedTuple):
    """An equation of a jaxpr between values of this module.

    equation: the equation of JAX.
    inputs: a `_Value`, a `_Constant` or JAX's Literal for each input.
    outputs: the values that the equation computes.
    """

    equation: Any
    inputs: list[Any]
    outputs: list[_Value]

    @property
    def name(self) -> str:
        """The name of the primitive."""
        return self.equation.primitive.name

    def reads(self) -> list[_Value]:
        """The inputs that other equations compute, or that are inputs of the program."""
        return [x for x in self.inputs if isinstance(x, _Value)]

    def run(self, env: dict[_Value, Any]) -> None:
        """Compute the outputs from the inputs in ``env``, and add them to ``env``.

        The kernels in the bodies of loops run in order too.
        """
        params = dict(self.equation.params)
        for name in _BODIES.get(self.name, ()):
            bodies = params[name]
            params[name] = tuple(map(_in_order, bodies)) if isinstance(bodies, tuple) else _in_order(bodies)
        values = [env[x] if isinstance(x, _Value) else x.val for x in self.inputs]
        primitive = self.equation.primitive
        with self.equation.ctx.manager:
            results = primitive.bind(*values, **primitive.get_bind_params(params))
        env.update(zip(self.outputs, results if primitive.multiple_results else [results]))


def _inline(jaxpr: Any, known: dict[Any, Any], into: list[_Equation]) -> None:
    """Append the equations of a jaxpr to ``into``; a call is replaced by the equations of its function.

    ``known`` maps the jaxpr's variables to `_Value` or `_Constant`. The caller gives the inputs and the
    constants; the function adds the variables that the equations compute.
    """

    def read(x: Any) -> Any:
        return x if isinstance(x, Literal) else known[x]

    for equation in jaxpr.eqns:
        called = equation.params.get(_INLINED.get(equation.primitive.name, ""))
        if equation.primitive.name == "xla_metadata_value":  # the mark of a serial function within this one
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
    """Evaluate a jaxpr, with its kernels in order."""
    jaxpr = closed.jaxpr
    known: dict[Any, Any] = {x: _Value(x.aval) for x in (*jaxpr.invars, *jaxpr.constvars)}
    env = {known[x]: value for x, value in zip((*jaxpr.invars, *jaxpr.constvars), (*args, *closed.consts))}
    equations: list[_Equation] = []
    _inline(jaxpr, known, equations)
    outputs = [x if isinstance(x, Literal) else known[x] for x in jaxpr.outvars]
    _Plan(_needed(equations, outputs), outputs).run(env)
    return [env[x] if isinstance(x, _Value) else x.val for x in outputs]


def _in_order(closed: ClosedJaxpr) -> ClosedJaxpr:
    """The same jaxpr, with its kernels in order."""
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type) for x in closed.in_avals]
    return jax.make_jaxpr(lambda *args: _run(closed, args))(*shapes)


def _needed(equations: list[_Equation], outputs: list[Any]) -> list[_Equation]:
    """The equations with effects, and those on which the outputs depend."""
    wanted, kept = set(map(id, outputs)), []
    for e in reversed(equations):
        if e.equation.effects or any(id(x) in wanted for x in e.outputs):
            kept.append(e)
            wanted.update(map(id, e.reads()))
    return kept[::-1]


class _Plan:
    """The assignment of equations to functions.

    An anchor is an equation that is computed once, in one function. The other equations are cheap and are
    computed in each function that has an anchor which needs them.
    """

    def __init__(self, equations: list[_Equation], outputs: list[Any]):
        self._equations = equations
        self._maker = {x: i for i, e in enumerate(equations) for x in e.outputs}
        self._final = {x for x in outputs if isinstance(x, _Value)}
        self._kernel = [self._is_kernel(e) for e in equations]
        self._anchor = self._anchors()
        self._below = {i: self._cheap_below(i) for i, anchor in enumerate(self._anchor) if anchor}
        # From an anchor to the values that it and the cheap equations below it read from elsewhere.
        self._reads: dict[int, list[_Value]] = {}
        # From a value to the anchors that read it.
        self._readers: dict[_Value, set[int]] = {}
        for i, below in self._below.items():
            read = dict.fromkeys(x for j in below for x in equations[j].reads())
            self._reads[i] = [x for x in read if x not in self._maker or self._maker[x] not in below]
            for x in self._reads[i]:
                self._readers.setdefault(x, set()).add(i)

    def run(self, env: dict[_Value, Any]) -> None:
        """Compute all outputs from the inputs in ``env``, and add them to ``env``."""
        if sum(self._kernel) < KERNELS + CALLS:  # the runtime runs so few kernels in order by itself
            for e in self._equations:
                e.run(env)
            return
        nodes: list[Any] = self._leaves()
        while len(nodes) > 1:
            nodes = [nodes[i : i + CALLS] for i in range(0, len(nodes), CALLS)]
        self._call(nodes[0], env)

    def _is_kernel(self, e: _Equation) -> bool:
        """Whether XLA makes a kernel for the equation in any function; it fuses other equations."""
        return _heavy(e.equation) or any(x in self._final for x in e.outputs)

    def _anchors(self) -> list[bool]:
        """Whether each equation is an anchor."""
        anchor = [
            kernel or (e.name in _DEAR and e.outputs[0].size > 1)
            for e, kernel in zip(self._equations, self._kernel)
        ]
        # The operands of a matrix product are arrays in memory. As anchors they are not computed again for
        # its gradient.
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
        """An anchor, and the equations that it needs down to the next anchors."""
        below, stack = {anchor}, [anchor]
        while stack:
            makers = (self._maker.get(x) for x in self._equations[stack.pop()].reads())
            new = {i for i in makers if i is not None and not self._anchor[i]} - below
            below |= new
            stack += new
        return below

    def _leaves(self) -> list[list[int]]:
        """The anchors in order, in groups of about `KERNELS` kernels."""
        leaves, kernels = [[]], 0.0
        for i in self._below:
            weight = 1.0 if self._kernel[i] else 0.5  # XLA often fuses other anchors with a kernel
            if self._equations[i].name.startswith("random_"):
                weight = KERNELS  # random numbers take several kernels, which run in order if they are small
            if leaves[-1] and kernels + weight > KERNELS:
                leaves.append([])
                kernels = 0.0
            leaves[-1].append(i)
            kernels += weight
        return leaves

    def _call(self, node: Any, env: dict[_Value, Any]) -> None:
        """Compute the anchors of a node in a function of its own, which calls a function for each child."""
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

        results = jax.jit(function)(*(env[x] for x in reads))
        at = next((k for k, x in enumerate(results) if not is_key(x)), None)
        if at is not None:
            results[at] = set_xla_metadata(results[at], inlineable="false")
        env.update(zip(writes, results))


def _heavy(equation: Any) -> bool:
    """Whether an equation is more than elementwise arithmetic, which XLA fuses into other kernels."""
    name = equation.primitive.name
    called = equation.params.get(_INLINED.get(name, "call_jaxpr" if name.startswith("custom_") else ""))
    if called is not None:
        return any(map(_heavy, getattr(called, "jaxpr", called).eqns))
    return name not in _CHEAP and name not in _DEAR


def _anchors_of(node: Any) -> list[int]:
    return [node] if isinstance(node, int) else [i for child in node for i in _anchors_of(child)]
