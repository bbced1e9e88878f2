"""A gradient step whose cost on CPU is that of its arithmetic.

`optax.clip_by_global_norm` makes every array of the network wait for one number, the norm. The moment it
is there, XLA's CPU runtime sees dozens of small kernels ready at once, wakes other threads for a
microsecond of work each, and those then spin while waiting for more: with two networks of 64-64 a step of
PPO costs 127 us of CPU time where 80 are enough. Here the arrays are updated one after the other instead.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lrn.types import Array, Params


def clipped_step(
    optimizer: optax.GradientTransformation,
    gradient: Params,
    opt_state: Any,
    params: Params,
    max_norm: Array | float,
) -> tuple[Params, Any]:
    """What ``optax.chain(optax.clip_by_global_norm(max_norm), optimizer)`` followed by `apply_updates` does.

    A NaN in the first number of an array spreads to the arrays after it, which the norm would see to one step
    later in any case.

    Args:
        optimizer: one that treats each array by itself, as Adam and its kin do.
        gradient: as ``params``.
        opt_state: of ``optimizer``, from ``optimizer.init(params)``.
        params: of the network.
        max_norm: a gradient of a greater global norm is scaled down to it.

    Returns:
        The parameters and the optimizer's state after.
    """
    norm = _norm(gradient)
    scale = jnp.where(norm < max_norm, 1.0, max_norm / norm)
    form = jax.tree.structure(params)

    def is_params(x: Any) -> bool:
        return jax.tree.structure(x) == form

    def part(k: int) -> Any:
        return jax.tree.map(
            lambda x: jax.tree.leaves(x)[k] if is_params(x) else x, opt_state, is_leaf=is_params
        )

    stepped, states = [], []
    for k, (slope, value) in enumerate(zip(jax.tree.leaves(gradient), jax.tree.leaves(params))):
        update, state = optimizer.update(slope * scale, part(k), value)
        stepped.append(optax.apply_updates(value, update))
        states.append(state)
        if jax.default_backend() == "cpu":
            scale = _after(stepped[-1], scale)
    after = jax.tree.map(
        lambda x, *parts: jax.tree.unflatten(form, parts) if is_params(x) else parts[0],
        opt_state, *states, is_leaf=is_params,
    )  # fmt: skip
    return jax.tree.unflatten(form, stepped), after


# A power of two, so that what is multiplied by it and divided again keeps its bits.
_SHRINK = 2.0**-32


def _norm(gradient: Params) -> Array:
    """The global norm, of numbers that are shrunk before they are squared.

    In float32 squares of numbers above 1e19 overflow, and an infinite norm would make the scaled gradient 0.
    Numbers so small that their shrunk squares vanish, below 1e-9, are no part of a norm that is cut.
    """
    return optax.tree.norm(jax.tree.map(lambda x: x * _SHRINK, gradient)) / _SHRINK


def _after(earlier: Array, x: Array) -> Array:
    """``x``, but to be had only when ``earlier`` is; an `optimization_barrier` is gone before scheduling."""
    first = earlier.reshape(-1)[0]
    return jnp.where(first == first, x, jnp.nan)
