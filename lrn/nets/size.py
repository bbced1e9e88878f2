"""The number of a network's parameters, and networks with a wanted number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from lrn import check
from lrn.types import Net


def parameter_count(net: Net, shape: Sequence[int]) -> int:
    """The number of parameters of a network for inputs of a shape, without the batch axis."""
    x = jnp.zeros((1, *shape))
    params, _ = jax.eval_shape(net.init, jax.random.key(0), x)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def of_size(build: Callable[[int], Net], shape: Sequence[int], parameters: int, widest: int = 4096) -> Net:
    """The network of a family whose number of parameters is closest to the wanted number.

    Args:
        build: from a width, 1 or more, to a network, which has more parameters the wider it is.
        shape: of an input, without the batch axis.
        parameters: the wanted number.
        widest: the largest width that is tried.

    Raises:
        InputError: the widest network has fewer parameters than wanted.
    """
    check.integer("parameters", parameters, 1)
    if parameter_count(build(widest), shape) < parameters:
        raise check.InputError(
            f"no network up to width {widest} has {parameters} parameters; raise widest, or ask for fewer."
        )
    low, high = 1, widest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameter_count(build(middle), shape) <= parameters else (low, middle)
    return min(map(build, (low, high)), key=lambda net: abs(parameter_count(net, shape) - parameters))
