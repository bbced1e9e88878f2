"""The minimum of a smooth function by L-BFGS, under jit and vmap."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrn.types import Array, Params


class Minimum(NamedTuple):
    """Where a fit ended.

    params: the parameters. value: scalar, the objective there.
    gradient_norm: scalar, the largest absolute entry of the gradient there.
    """

    params: Params
    value: Array
    gradient_norm: Array


def minimize(
    objective: Callable[[Params], Array], start: Params, steps: int, tolerance: ArrayLike
) -> Minimum:
    """L-BFGS with a zoom line search, both optax's with its settings (Nocedal & Wright 2006, chapters 3, 7).

    Args:
        objective: maps parameters to a scalar.
        start: the parameters to start from, a tree of floats of one dtype.
        steps: the largest number of steps, 1 or more; static.
        tolerance: the fit ends when no absolute entry of the gradient is larger; may be traced.
    """
    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def going(carry: tuple) -> Array:
        _, _, count, largest = carry
        return (count < steps) & (largest > tolerance)

    def step(carry: tuple) -> tuple:
        params, state, count, _ = carry
        value, gradient = value_and_grad(params, state=state)
        updates, state = solver.update(
            gradient, state, params, value=value, grad=gradient, value_fn=objective
        )
        params = optax.apply_updates(params, updates)
        return params, state, count + 1, optax.tree.norm(optax.tree.get(state, "grad"), ord=jnp.inf)

    dtype = jax.tree.leaves(start)[0].dtype
    carry = start, solver.init(start), 0, jnp.asarray(jnp.inf, dtype)
    params, state, _, largest = jax.lax.while_loop(going, step, carry)
    return Minimum(params, optax.tree.get(state, "value"), largest)
