"""Averages of weights along a training: exponential (EMA) and uniform (SWA, Izmailov et al. 2018)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.arrays import between
from lrn.config import config
from lrn.types import Array, Key, Net, NetState, Params, PyTree

METHODS = ("ema", "none", "swa")


@config
class AverageConfig:
    """The kind of average, and the steps whose weights enter it.

    method: "none"; "ema", an exponential average with ``decay``; or "swa", a uniform average.
    decay: the decay of the EMA, in [0, 1). The average covers about the last 1 / (1 - decay)
        averaged weights.
    start: the first step, counted from 1, whose weights are averaged.
    every: from ``start`` on, the weights of every ``every``-th step are averaged.

    Raises:
        InputError: a field is out of its range.
    """

    method: str = "none"
    decay: float = 0.999
    start: int = 1
    every: int = 1

    def __post_init__(self) -> None:
        check.choice("method", self.method, METHODS)
        check_decay(self.decay)
        check.integer("start", self.start, 1)
        check.integer("every", self.every, 1)


class Average(NamedTuple):
    """A running mean of trees.

    value: the mean, with floats of float32 or wider; before the first tree, the argument of `begin`.
    weight: float32 scalar: after n trees 1 - decay^n under `ema`, n under `swa`; 0 before the first tree.
    """

    value: PyTree
    weight: Array


def check_decay(decay: Any) -> None:
    """Raise InputError unless 0 <= ``decay`` < 1; a traced decay passes."""
    check.between("decay", decay, 0, 1)
    if isinstance(decay, (int, float)) and decay == 1:
        raise check.InputError(
            "decay must be below 1, got 1, which averages nothing; choose a smaller decay."
        )


def begin(tree: PyTree) -> Average:
    """An average before its first tree, for trees of the form of ``tree``."""
    return Average(jax.tree.map(_wide, tree), jnp.zeros(()))


def ema(average: Average, tree: PyTree, decay: Array | float) -> Average:
    """Add ``tree`` to an exponential moving average, with the bias correction of Adam (Kingma and Ba 2015).

    After n trees the value is ``sum_i decay^(n - i) tree_i / sum_i decay^(n - i)``: a mean whose weights sum
    to 1. After the first tree the value is this tree. The decay may change from call to call. Arrays that
    hold no floats (counters) are not averaged: the newest replaces the older ones.

    Raises:
        InputError: the decay is not in [0, 1).
    """
    check_decay(decay)
    decay = between(decay, 0, 1)
    weight = decay * average.weight + (1.0 - decay)
    return Average(_towards(average.value, tree, (1.0 - decay) / weight), weight)


def swa(average: Average, tree: PyTree) -> Average:
    """Add ``tree`` to a uniform mean: after n trees the value is their sum divided by n."""
    weight = average.weight + 1.0
    return Average(_towards(average.value, tree, 1.0 / weight), weight)


def update(config: AverageConfig, average: PyTree, tree: PyTree, step: Array) -> PyTree:
    """Add ``tree`` to the average if the config averages the weights of this step.

    Args:
        config: with the method "none" the average stays as it is.
        average: from `begin` or this function; () under "none".
        tree: the weights after the step, of the form of the trees before.
        step: int scalar, the step, counted from 1.

    Returns:
        The new average.
    """
    if config.method == "none":
        return average
    new = ema(average, tree, config.decay) if config.method == "ema" else swa(average, tree)
    taken = (step >= config.start) & ((step - config.start) % config.every == 0)
    return jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, average)


def averaged(average: PyTree, current: PyTree) -> PyTree:
    """The mean, in the dtypes of ``current``; ``current`` itself if no tree was averaged yet."""
    if not isinstance(average, Average):
        return current
    return jax.tree.map(
        lambda a, b: jnp.where(average.weight > 0, a.astype(b.dtype), b), average.value, current
    )


def refresh(net: Net, params: Params, net_state: NetState, x: Array, key: Key) -> NetState:
    """BatchNorm's statistics for averaged weights, which no training step has used (Izmailov et al. 2018).

    The network runs in training mode over the batches in order, which changes only its state. With a momentum
    of .9, as in `lrn.nets`, the old statistics have lost 99% of their weight after 44 batches.

    Args:
        net: the network.
        params: the averaged weights.
        net_state: the state to start from.
        x: inputs [batches, batch, ...].
        key: the key of dropout.

    Returns:
        The new state.
    """

    def take(state: NetState, given: tuple[Key, Array]) -> tuple[NetState, None]:
        key, batch = given
        return net.apply(params, state, batch, key=key, train=True)[1], None

    return jax.lax.scan(take, net_state, (jax.random.split(key, x.shape[0]), x))[0]


def _wide(x: Any) -> Array:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _towards(old: PyTree, new: PyTree, share: Array | float) -> PyTree:
    def moved(a: Array, b: Array) -> Array:
        b = _wide(b)
        return a + (share * (b - a)).astype(a.dtype) if jnp.issubdtype(a.dtype, jnp.floating) else b

    return jax.tree.map(moved, old, new)
