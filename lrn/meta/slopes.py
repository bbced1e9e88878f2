"""Derivatives of optimizers at zero gradients, where roots and quotients have no derivative.

An optimizer divides by roots of sums of squares. Where a gradient is exactly zero (a unit that is never
active, an input that is always zero) the chain rule gives 0 * inf = NaN for the derivative of the root,
and the meta-gradient of every parameter becomes NaN. This module sets the derivative to 0 there: 0 is a
subgradient of a norm at 0, and the derivative of a quotient by this norm becomes 0 too.

Two simpler remedies are wrong. The first moves the gradient a little off zero: LAMB, LARS and Adafactor
scale a step by its norm and do not scale a zero step, so the derivative is that of the other side of a
jump (finite differences in tests/meta/test_meta_slopes.py). The second replaces NaN by 0 in the result:
this is no linear map of the tangents, so reverse mode cannot transpose it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal

from lrn.types import Array

# From a primitive to the index of the operand whose zero makes a slope infinite.
_OPERAND = {"sqrt": 0, "rsqrt": 0, "cbrt": 0, "log": 0, "div": 1, "pow": 0, "integer_pow": 0}


def finite_slopes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of pytrees of arrays, with derivative 0 where a step has no finite derivative.

    Such steps are roots, logarithms and powers of exactly zero, roots and logarithms of negative numbers, and
    quotients with divisor zero. All values, and all derivatives elsewhere, are those of ``function``.
    Steps with a derivative of their own (`jax.custom_jvp`) keep that derivative.
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
    """The results of one step; where the step has no finite slope, its operands are held constant."""
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
    """The mask of entries at which the step has no finite slope; None for a step with finite slopes."""
    name = equation.primitive.name
    which = _OPERAND.get(name)
    if which is None or not jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.inexact):
        return None
    if isinstance(equation.invars[which], Literal) or equation.params.get("y", -1) >= 0:  # x ** y
        return None
    x = operands[which]
    if name == "pow":  # powers of 1 and above have a finite slope at zero
        return (x == 0) & (operands[1] < 1)
    return x <= 0 if name in ("sqrt", "rsqrt", "log") else x == 0


def _bound(equation: Any, operands: list[Any]) -> Sequence[Any]:
    """The results of a step; functions inside of a loop or a branch get finite slopes too."""
    primitive, params = equation.primitive, equation.params
    if not primitive.name.startswith("custom"):
        params = {name: _inside(value) for name, value in params.items()}
    params = primitive.get_bind_params(params)
    # Some versions of JAX return the functions of a call separately, others among the parameters.
    functions, params = params if isinstance(params, tuple) else ((), params)
    results = primitive.bind(*functions, *operands, **params)
    return results if primitive.multiple_results else [results]


def _inside(value: Any) -> Any:
    if isinstance(value, tuple) and any(isinstance(part, ClosedJaxpr) for part in value):
        return tuple(map(_inside, value))
    if isinstance(value, ClosedJaxpr):
        return jax.make_jaxpr(functools.partial(_run, value))(*value.in_avals)
    return value
