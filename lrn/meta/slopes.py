"""Derivatives of optimizers where a root or a quotient of zero has none.

An optimizer divides by roots of sums of squares. Where a gradient is exactly zero (a unit that is never on,
an input that is never there) the chain rule gives 0 * inf for their derivative, which is not a number, and so
is the meta-gradient of every parameter. The derivative there is 0: a norm has 0 among its slopes at 0, and
what is divided by it has no say.

Two plainer ways are wrong. The derivative at a gradient moved a little off zero is that of the other side of
a jump, in LAMB, LARS and Adafactor, which scale a step by its norm and one of zero not at all (finite
differences in tests/meta/test_meta_slopes.py). And 0 in place of what is no number is no linear map of the
tangents, so reverse mode has no such thing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal

from lrn.types import Array

# Primitives, and which of their operands makes an infinite slope by being zero.
_OPERAND = {"sqrt": 0, "rsqrt": 0, "cbrt": 0, "log": 0, "div": 1, "pow": 0, "integer_pow": 0}


def finite_slopes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of pytrees of arrays, with a slope of 0 where one of its steps has none.

    Such steps are roots, logarithms and powers of exactly zero (and roots of less), and quotients by it. All
    values, and all derivatives elsewhere, are those of the function. Steps with a derivative of their own
    (`jax.custom_jvp`) keep it.
    """

    def guarded(*args: Any) -> Any:
        closed, out = jax.make_jaxpr(function, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(out), _run(closed, *jax.tree.leaves(args)))

    return guarded


def _run(closed: ClosedJaxpr, *args: Any) -> list[Any]:
    """The results of a traced function, step by step."""
    jaxpr = closed.jaxpr
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else known[variable]

    for equation in jaxpr.eqns:
        known.update(zip(equation.outvars, _step(equation, [read(v) for v in equation.invars]), strict=True))
    return [read(v) for v in jaxpr.outvars]


def _step(equation: Any, operands: list[Any]) -> Sequence[Any]:
    """The results of one step; where it has no slope, those of constants."""
    if equation.primitive.name in ("jit", "pjit"):
        return _run(equation.params["jaxpr"], *operands)
    steep = _steep(equation, operands)
    if steep is None:
        return _bound(equation, operands)
    which = _OPERAND[equation.primitive.name]
    beside = [jnp.where(steep, 1, x) if i == which else x for i, x in enumerate(operands)]
    constants = [jax.lax.stop_gradient(x) for x in operands]
    return [jnp.where(steep, *_bound(equation, constants), *_bound(equation, beside))]


def _steep(equation: Any, operands: list[Any]) -> Array | None:
    """Where the step has no slope; None for one that has it everywhere."""
    name = equation.primitive.name
    which = _OPERAND.get(name)
    if which is None or not jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.inexact):
        return None
    if isinstance(equation.invars[which], Literal) or equation.params.get("y", -1) >= 0:  # x ** y
        return None
    x = operands[which]
    if name == "pow":  # of a high power the slope at zero is finite
        return (x == 0) & (operands[1] < 1)
    return x <= 0 if name in ("sqrt", "rsqrt", "log") else x == 0


def _bound(equation: Any, operands: list[Any]) -> Sequence[Any]:
    """The step as it is; of loops and branches, with finite slopes of the functions in them."""
    primitive, params = equation.primitive, equation.params
    if not primitive.name.startswith("custom"):
        params = {name: _inside(value) for name, value in params.items()}
    params = primitive.get_bind_params(params)
    # The functions of a call apart or among the parameters, as the version of JAX has it.
    functions, params = params if isinstance(params, tuple) else ((), params)
    found = primitive.bind(*functions, *operands, **params)
    return found if primitive.multiple_results else [found]


def _inside(value: Any) -> Any:
    if isinstance(value, tuple) and any(isinstance(part, ClosedJaxpr) for part in value):
        return tuple(map(_inside, value))
    if isinstance(value, ClosedJaxpr):
        return jax.make_jaxpr(functools.partial(_run, value))(*value.in_avals)
    return value
