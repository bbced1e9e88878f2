"""Joint embedding: two views of each example pass the same networks; a loss compares the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from lrn.ssl import gather
from lrn.ssl.pretraining import Objective, Parts, Value, forward, init_in_turn
from lrn.ssl.views import View, draw
from lrn.types import Array, Key, Metrics, Net, PyTree

# pair_loss(z_a, z_b) -> (loss, metrics), for embeddings [batch, dim] of two views of the same examples.
PairLoss = Callable[[Array, Array], tuple[Array, Metrics]]
# compare(key, params, a, b) -> (loss, metrics), for the outputs [batch, dim] of the networks by name.
Compare = Callable[[Key, Parts, Mapping[str, Array], Mapping[str, Array]], tuple[Array, Metrics]]


def two_views(
    nets: Mapping[str, Net],
    view: View,
    compare: Compare,
    extra: Callable[[Key, int], Parts] | None = None,
    least: int = 2,
) -> Objective:
    """The objective of methods whose loss compares what the same networks give for two views.

    The two views pass the networks one after the other, as in the authors' code of Barlow Twins and VICReg,
    so BatchNorm normalizes each view by its own statistics. Several devices may share the batch
    (`lrn.ssl.gather`).

    Args:
        nets: the networks by name, each of which takes the output of the one before.
        view: draws a view of a batch.
        compare: the loss of the outputs of all networks; it may draw random numbers and use parameters.
        extra: ``extra(key, dim) -> params``: parameters of the loss by name, for embeddings [batch, dim] of
            the last network.
        least: the smallest batch that the loss can use.
    """

    def init(key: Key, x: Array) -> tuple[Parts, Parts, PyTree]:
        key, extra_key = jax.random.split(key)
        params, states, dim = begin(nets, view, key, x)
        own = {} if extra is None else extra(extra_key, dim)
        return {**params, **own}, {**states, **dict.fromkeys(own, ())}, ()

    def loss(key: Key, params: Parts, net_state: Parts, memory: PyTree, x: Array) -> Value:
        view_key, net_key, compare_key = jax.random.split(key, 3)
        key_a, key_b = jax.random.split(gather.own_key(net_key))
        a, b = gather.own(draw(view, view_key, x))
        out_a, net_state = forward(nets, params, net_state, a, key_a)
        out_b, net_state = forward(nets, params, net_state, b, key_b)
        value, metrics = compare(compare_key, params, *gather.whole((out_a, out_b)))
        return value, (net_state, memory, metrics)

    return Objective(init, loss, least=least, divided=True)


def begin(nets: Mapping[str, Net], view: View, key: Key, x: Array) -> tuple[Parts, Parts, int]:
    """Parameters and states of networks in turn on views of ``x``, and the dimension of the last output."""
    view_key, key = jax.random.split(key)
    seen = jax.eval_shape(view, view_key, x)
    params, states = init_in_turn(key, jnp.zeros(seen.shape, seen.dtype), nets)

    def outputs(params: Parts, states: Parts, x: Array) -> Array:
        for name, net in nets.items():
            x, _ = net.apply(params[name], states[name], x)
        return x

    return params, states, jax.eval_shape(outputs, params, states, seen).shape[1]


def joint_embedding(encoder: Net, head: Net, view: View, pair_loss: PairLoss, least: int = 2) -> Objective:
    """The objective of methods whose loss is a function of the two views' embeddings alone.

    Args:
        encoder: maps inputs to features h [batch, dim].
        head: maps features to embeddings z [batch, dim].
        view: draws a view of a batch.
        pair_loss: the loss of the embeddings.
        least: the smallest batch that the loss can use.
    """

    def compare(
        key: Key, params: Parts, a: Mapping[str, Array], b: Mapping[str, Array]
    ) -> tuple[Array, Metrics]:
        return pair_loss(a["head"], b["head"])

    return two_views({"encoder": encoder, "head": head}, view, compare, least=least)
