"""Averages of weights along a training: exponential (EMA) and uniform (SWA, Izmailov et al. 2018)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.types import Array, Key, Net, NetState, Params, PyTree

METHODS = ("ema", "none", "swa")


@config
class AverageConfig:
    """Which weights are averaged, and how.

    method: "none"; "ema", exponentially with ``decay``; or "swa", uniformly.
    decay: of the EMA, in [0, 1): about the last 1 / (1 - decay) averaged weights count.
    start: the first step, counted from 1, whose weights are averaged.
    every: from there on the weights of each ``every``-th step are.
    """

    method: str = "none"
    decay: float = 0.999
    start: int = 1
    every: int = 1

    def __post_init__(self):
        check.choice("method", self.method, METHODS)
        check_decay(self.decay)
        check.integer("start", self.start, 1)
        check.integer("every", self.every, 1)


class Average(NamedTuple):
    """A mean of trees.

    value: the mean, its floats in float32 or wider; before anything was averaged, what `begin` got.
    weight: float32 scalar. Under `ema` 1 - decay^n after n trees, under `swa` n; 0 where value is no mean.
    """

    value: PyTree
    weight: Array


def check_decay(decay: Any) -> None:
    """Raise InputError unless 0 <= ``decay`` < 1; a traced one passes."""
    check.between("decay", decay, 0, 1)
    if isinstance(decay, (int, float)) and decay == 1:
        raise check.InputError(
            "decay must be below 1, got 1, which averages nothing; choose a smaller decay."
        )


def begin(tree: PyTree) -> Average:
    """The average of nothing yet, for trees like this one."""
    return Average(jax.tree.map(_wide, tree), jnp.zeros(()))


def ema(average: Average, tree: PyTree, decay: Array | float) -> Average:
    """Take ``tree`` into an exponential moving average, bias-corrected as Adam's moments are.

    After n trees the value is ``sum_i decay^(n - i) tree_i / sum_i decay^(n - i)``: a mean whose weights sum
    to 1, and after the first tree that tree itself. The decay may change from call to call. Arrays that hold
    no floats (counters) are the newest.

    Raises:
        InputError: the decay is not in [0, 1).
    """
    check_decay(decay)
    weight = decay * average.weight + (1.0 - decay)
    return Average(_towards(average.value, tree, (1.0 - decay) / weight), weight)


def swa(average: Average, tree: PyTree) -> Average:
    """Take ``tree`` into a uniform mean: after n trees the value is their sum over n."""
    weight = average.weight + 1.0
    return Average(_towards(average.value, tree, 1.0 / weight), weight)


def update(config: AverageConfig, average: PyTree, tree: PyTree, step: Array) -> PyTree:
    """Take in ``tree``, the weights after step ``step`` (from 1 on), if the config averages that step.

    Args:
        config: its method "none" keeps ``average`` as it is.
        average: from `begin` or this function; () under "none".
        tree: like those before.
        step: int scalar.
    """
    if config.method == "none":
        return average
    new = ema(average, tree, config.decay) if config.method == "ema" else swa(average, tree)
    taken = (step >= config.start) & ((step - config.start) % config.every == 0)
    return jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, average)


def averaged(average: PyTree, current: PyTree) -> PyTree:
    """The mean in the dtypes of ``current``, or ``current`` itself where nothing was averaged yet."""
    if not isinstance(average, Average):
        return current
    return jax.tree.map(
        lambda a, b: jnp.where(average.weight > 0, a.astype(b.dtype), b), average.value, current
    )


def refresh(net: Net, params: Params, net_state: NetState, x: Array, key: Key) -> NetState:
    """BatchNorm's statistics for weights that were never trained themselves, as an average's never were.

    One pass in training mode over batches, in order, which changes the state alone. Statistics that run with
    momentum .9, as those of `lrn.nets` do, have forgotten 99% of the old ones after 44 batches.

    Args:
        net: the network.
        params: the averaged weights.
        net_state: to start from.
        x: [batches, batch, ...].
        key: for dropout.
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
