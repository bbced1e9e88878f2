"""Joint embedding: two views of each example pass one encoder and one head; a loss compares the outputs."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lrn.ssl.pretraining import Objective, Parts, Value, forward, init_in_turn
from lrn.ssl.views import View, draw
from lrn.types import Array, Key, Metrics, Net, PyTree

# pair_loss(z_a, z_b) -> (loss, metrics), for embeddings [batch, dim] of two views of the same examples.
PairLoss = Callable[[Array, Array], tuple[Array, Metrics]]


def joint_embedding(encoder: Net, head: Net, view: View, pair_loss: PairLoss, least: int = 2) -> Objective:
    """The objective of methods whose loss is a function of the two views' embeddings alone.

    The two views pass the networks one after the other, as in the authors' code of Barlow Twins and VICReg,
    so BatchNorm normalizes each view by its own statistics.

    Args:
        encoder: maps inputs to features h [batch, dim].
        head: maps features to embeddings z [batch, dim].
        view: draws a view of a batch.
        pair_loss: the loss of the embeddings.
        least: the smallest batch that the loss can use.
    """
    nets = {"encoder": encoder, "head": head}

    def init(key: Key, x: Array) -> tuple[Parts, Parts, PyTree]:
        view_key, key = jax.random.split(key)
        seen = jax.eval_shape(view, view_key, x)
        params, states = init_in_turn(key, jnp.zeros(seen.shape, seen.dtype), nets)
        return params, states, ()

    def loss(key: Key, params: Parts, net_state: Parts, memory: PyTree, x: Array) -> Value:
        view_key, key_a, key_b = jax.random.split(key, 3)
        a, b = draw(view, view_key, x)
        out_a, net_state = forward(nets, params, net_state, a, key_a)
        out_b, net_state = forward(nets, params, net_state, b, key_b)
        value, metrics = pair_loss(out_a["head"], out_b["head"])
        return value, (net_state, memory, metrics)

    return Objective(init, loss, least=least)
