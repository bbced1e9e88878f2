"""Derivatives of optimisers where a root or a quotient of zero has none.

An optimiser divides by roots of sums of squares. Where a gradient is exactly zero (a unit that is never on,
an input that is never there) the chain rule gives 0 * inf for their derivative, which is not a number, and so
is the meta-gradient of every parameter. The derivative there is 0: a norm has 0 among its slopes at 0, and
what is divided by it has no say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import ClosedJaxpr, Literal

from lrn.types import Array

# Primitives, and which of their operands makes an infinite slope by being zero.
_OPERAND = {"sqrt": 0, "rsqrt": 0, "cbrt": 0, "log": 0, "div": 1, "pow": 0, "integer_pow": 0}


class _Value(NamedTuple):
    """A value, and whether it comes from such a primitive and may be infinite or not a number."""

    value: Any
    doubtful: bool = False


def finite_slopes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of pytrees of arrays, with a slope of 0 where one of its steps has none.

    Such steps are roots, logarithms and powers of exactly zero (and roots of less), quotients by it, and
    products with what they give where that is no number. All values, and all derivatives elsewhere, are those
    of the function. Steps with a derivative of their own (`jax.custom_jvp`) keep it.
    """

    def guarded(*args: Any) -> Any:
        closed, out = jax.make_jaxpr(function, return_shape=True)(*args)
        found = _run(closed, [_Value(x) for x in jax.tree.leaves(args)])
        return jax.tree.unflatten(jax.tree.structure(out), [x.value for x in found])

    return guarded


def _run(closed: ClosedJaxpr, args: Sequence[_Value]) -> list[_Value]:
    """The results of a traced function, step by step."""
    jaxpr = closed.jaxpr
    known = dict(zip(jaxpr.constvars, map(_Value, closed.consts), strict=True))
    known |= dict(zip(jaxpr.invars, args, strict=True))

    def read(variable: Any) -> _Value:
        return _Value(variable.val) if isinstance(variable, Literal) else known[variable]

    for equation in jaxpr.eqns:
        known.update(zip(equation.outvars, _step(equation, read), strict=True))
    return [read(v) for v in jaxpr.outvars]


def _step(equation: Any, read: Callable[[Any], _Value]) -> list[_Value]:
    """The results of one equation."""
    given = [read(v) for v in equation.invars]
    if equation.primitive.name in ("jit", "pjit"):
        return _run(equation.params["jaxpr"], given)
    doubtful, steep = any(x.doubtful for x in given), _may_be_steep(equation)
    if steep or (doubtful and equation.primitive.name == "mul"):
        return [_Value(_guarded(equation.primitive, equation.params, [x.value for x in given]), True)]
    if not equation.primitive.name.startswith("custom"):  # loops and branches: the functions in them
        equation = equation.replace(params={k: _inside(v) for k, v in equation.params.items()})
    params = equation.primitive.get_bind_params(equation.params)
    # The functions of a call apart or among the parameters, as the version of JAX has it.
    functions, params = params if isinstance(params, tuple) else ((), params)
    found = equation.primitive.bind(*functions, *(x.value for x in given), **params)
    return [_Value(x, doubtful) for x in (found if equation.primitive.multiple_results else [found])]


def _may_be_steep(equation: Any) -> bool:
    which = _OPERAND.get(equation.primitive.name)
    if which is None or not jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.inexact):
        return False
    if equation.primitive.name == "integer_pow" and equation.params["y"] >= 0:
        return False
    return not isinstance(equation.invars[which], Literal)  # a constant


def _guarded(primitive: Any, params: dict[str, Any], operands: list[Any]) -> Array:
    """A step by itself, its derivative taken beside the points where it has none and put to 0 at them."""
    which = _OPERAND.get(primitive.name)

    @jax.custom_jvp
    def step(*operands: Array) -> Array:
        return primitive.bind(*operands, **params)

    def slope(operands: Any, tangents: Any) -> Any:
        beside = [jnp.where(jnp.isfinite(x), x, 0) for x in operands]
        steep = jnp.bool_(False)  # for a product, and with 0 in place of what is no number
        if which is not None:
            steep = beside[which] == 0
            if primitive.name in ("sqrt", "rsqrt", "log"):
                steep = beside[which] <= 0
            if primitive.name == "pow":  # of a high power the slope at zero is finite
                steep = steep & (operands[1] < 1)
            beside[which] = jnp.where(steep, 1, beside[which])
        moving = [i for i, t in enumerate(tangents) if not isinstance(t, SymbolicZero)]

        def moved(*some: Array) -> Array:
            every = list(beside)
            for i, x in zip(moving, some):
                every[i] = x
            return primitive.bind(*every, **params)

        _, tangent = jax.jvp(moved, [beside[i] for i in moving], [tangents[i] for i in moving])
        return step(*operands), jnp.where(steep, 0, tangent)

    step.defjvp(slope, symbolic_zeros=True)
    return step(*operands)


def _inside(x: Any) -> Any:
    """The functions inside of a loop or a branch, with finite slopes; any other parameter as it is."""
    if isinstance(x, tuple) and any(isinstance(part, ClosedJaxpr) for part in x):
        return tuple(map(_inside, x))
    if not isinstance(x, ClosedJaxpr):
        return x
    return jax.make_jaxpr(lambda *args: [y.value for y in _run(x, list(map(_Value, args)))])(*x.in_avals)
