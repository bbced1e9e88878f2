"""PyTorch's default initial weights, for comparisons with results that were published with them."""

from __future__ import annotations

import math
from typing import Any

import jax

from lrn.types import Array, Key, Net, NetState, Params


def torch_weights(net: Net) -> Net:
    """The network with PyTorch's default initial weights of dense layers and convolutions.

    The kernel and the bias of a layer are uniform between -1 / sqrt(fan-in) and 1 / sqrt(fan-in), as
    `torch.nn.Linear` and `torch.nn.Conv2d` begin. Their variance is a sixth of He's, and biases are not 0.
    Parameters that are no kernel [..., in, out] and no bias of one stay as they are.

    Args:
        net: a network whose parameters are nested dicts with the names that flax gives: "kernel" and "bias".
    """

    def init(key: Key, x: Array) -> tuple[Params, NetState]:
        params, state = net.init(key, x)
        return _drawn(jax.random.fold_in(key, 1), params), state

    return Net(init, net.apply)


def _drawn(key: Key, node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    keys = dict(zip(sorted(node), jax.random.split(key, max(len(node), 1))))
    kernel = node.get("kernel")
    if kernel is None or getattr(kernel, "ndim", 0) < 2:
        return {name: _drawn(keys[name], child) for name, child in node.items()}
    bound = 1 / math.sqrt(math.prod(kernel.shape[:-1]))
    return {
        name: jax.random.uniform(keys[name], x.shape, x.dtype, -bound, bound)
        if name in ("kernel", "bias")
        else x
        for name, x in node.items()
    }
