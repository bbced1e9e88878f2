"""A network that is a bijection for every value of its weights, so that its features lose no information."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import nets
from lrn.types import Array, Key, Net, PyTree


class Flow(NamedTuple):
    """net: a bijection of rows [n, dim] that can be trained. inverse: ``inverse(params, z) -> x``."""

    net: Net
    inverse: Callable[[PyTree, Array], Array]


def flow(dim: int, layers: int = 4, width: int = 64) -> Flow:
    """Affine coupling layers (Dinh et al. 2017) that change one half of the coordinates in turn.

    The logarithms of the scales lie between -1 / 2 and 1 / 2. For every value of the parameters the map has
    an inverse, so it keeps the mutual information of two views.
    """
    half = dim // 2
    part = nets.mlp(2 * half, (width,))

    def init(key: Key, x: Array) -> tuple[PyTree, PyTree]:
        keys = jax.random.split(key, layers)
        return [part.init(each, x[:, :half])[0] for each in keys], ()

    def moved(params: PyTree, fixed: Array, other: Array, back: bool) -> Array:
        scale, shift = jnp.split(part.apply(params, (), fixed)[0], 2, axis=1)
        scale = jnp.exp(0.5 * jnp.tanh(scale))
        return (other - shift) / scale if back else other * scale + shift

    def apply(params: PyTree, state: PyTree, x: Array, **_: Any) -> tuple[Array, PyTree]:
        one, other = x[:, :half], x[:, half:]
        for own in params:
            one, other = moved(own, one, other, back=False), one
        return jnp.concatenate([one, other], axis=1), state

    def inverse(params: PyTree, z: Array) -> Array:
        one, other = z[:, :half], z[:, half:]
        for own in reversed(params):
            one, other = other, moved(own, other, one, back=True)
        return jnp.concatenate([one, other], axis=1)

    return Flow(Net(init, apply), inverse)
