"""Target networks: copies of networks that follow them as an exponential moving average."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.ssl.pretraining import Parts
from lrn.ssl.similarity import wide
from lrn.types import Array, PyTree


class Target(NamedTuple):
    """The parameters and states of target networks, by the names of the networks that they follow."""

    params: Parts
    states: Parts


def copy(params: Parts, states: Parts, names: tuple[str, ...]) -> Target:
    """The targets before the first step: copies of the networks ``names``."""
    return Target({n: params[n] for n in names}, {n: states[n] for n in names})


def follow(target: Target, params: Parts, momentum: ArrayLike) -> Target:
    """Move the target: ``momentum * target + (1 - momentum) * params``; its states stay."""
    return target._replace(params=towards(target.params, {n: params[n] for n in target.params}, momentum))


def towards(target: PyTree, params: PyTree, momentum: ArrayLike) -> PyTree:
    """``momentum * target + (1 - momentum) * params``, leaf by leaf, in the dtypes of ``target``."""

    def moved(old: Array, new: Array) -> Array:
        return jnp.asarray(momentum * wide(old) + (1.0 - momentum) * wide(new), old.dtype)

    return jax.tree.map(moved, target, params)


def rising(start: ArrayLike, step: ArrayLike, steps: int) -> Array:
    """BYOL's momentum ``1 - (1 - start) (cos(pi k / K) + 1) / 2``, which rises from ``start`` to 1.

    Args:
        start: the momentum of the first step.
        step: k, the number of steps before this one; from K on the momentum is 1.
        steps: K, the steps of the training; 0 keeps ``start``.
    """
    if steps == 0:
        return jnp.asarray(start)
    done = jnp.minimum(step, steps) / steps
    return jnp.asarray(1.0 - (1.0 - start) * (jnp.cos(jnp.pi * done) + 1.0) / 2.0)


def check_momentum(momentum: Any) -> None:
    """Raise InputError unless ``momentum`` is in [0, 1]."""
    check.between("momentum", momentum, 0, 1)
