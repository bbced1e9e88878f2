"""Critics: functions that score pairs, made of networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.ssl.similarity import products, wide
from lrn.types import Array, Key, Net, Params


class Critic(NamedTuple):
    """A function that scores pairs, with parameters.

    init: ``init(key, x, y) -> params`` for x [n, ...] and y [n, ...].
    score: ``score(params, x, y) -> [n, n]``, where row i belongs to x_i and column j to y_j.
    """

    init: Callable[[Key, Array, Array], Params]
    score: Callable[[Params, Array, Array], Array]


def separable(of_x: Net, of_y: Net) -> Critic:
    """Inner products of two embeddings: n passes of each network for n^2 scores.

    Args:
        of_x, of_y: networks with outputs [n, dim] of one dim and without a state (no BatchNorm).

    Raises:
        InputError: at trace time, if the outputs differ in form or a network keeps a state.
    """

    def init(key: Key, x: Array, y: Array) -> Params:
        x_key, y_key = jax.random.split(key)
        return {"x": stateless(of_x, x_key, x), "y": stateless(of_y, y_key, y)}

    def score(params: Params, x: Array, y: Array) -> Array:
        a, b = of_x.apply(params["x"], (), x)[0], of_y.apply(params["y"], (), y)[0]
        if a.ndim != 2 or a.shape != b.shape:
            raise check.InputError(
                f"the critic's networks must give [n, dim] of one dim, got {a.shape} and {b.shape}; make "
                "their last layers equal."
            )
        return products(a, b)

    return Critic(init, score)


def concatenated(net: Net) -> Critic:
    """A network of each pair, concatenated: n^2 passes, and memory O(n^2 width).

    Args:
        net: maps [rows, dim of x + dim of y] to [rows, 1], without a state (no BatchNorm).

    Raises:
        InputError: at trace time, if the output is not [rows, 1] or the network keeps a state.
    """

    def init(key: Key, x: Array, y: Array) -> Params:
        return stateless(net, key, paired(x[:1], y[:1]))

    def score(params: Params, x: Array, y: Array) -> Array:
        n = x.shape[0]
        x, y = jnp.repeat(x, n, axis=0), jnp.tile(y, (n,) + (1,) * (y.ndim - 1))
        return column(net, params, paired(x, y)).reshape(n, n)

    return Critic(init, score)


def paired(x: Array, y: Array) -> Array:
    """The rows of x and y side by side, flattened: [n, dim of x + dim of y]."""
    return jnp.concatenate([x.reshape(x.shape[0], -1), y.reshape(y.shape[0], -1)], axis=1)


def column(net: Net, params: Params, x: Array) -> Array:
    """The one output [n] of a network on rows [n, dim].

    Raises:
        InputError: the output is not [n, 1].
    """
    out = net.apply(params, (), x)[0]
    if out.shape != (x.shape[0], 1):
        raise check.InputError(
            f"this network must give one number a pair, [{x.shape[0]}, 1], got {out.shape}; give its last "
            "layer one output."
        )
    return wide(out[:, 0])


def stateless(net: Net, key: Key, x: Array) -> Params:
    """The initial parameters of a network that keeps no state.

    Raises:
        InputError: it keeps one.
    """
    params, state = net.init(key, x)
    if jax.tree.leaves(state):
        raise check.InputError(
            "a critic's network must keep no state (BatchNorm keeps one, and mixes pairs); use layer norm."
        )
    return params
