"""Interval bound propagation: boxes through a ReLU network (Gowal et al. 2018, arXiv 1810.12715).

The bounds hold for the Linf ball around the input, intersected with the pixel box [0, 1]. They are
computed in float32 without directed rounding, so they are sound up to about 1e-6 of the network's values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn.config import config
from lrn.robust.attack import LogitsFn, check_eps, check_examples
from lrn.robust.norms import by_example, widen
from lrn.robust.read_layers import read_layers
from lrn.robust.relu_network import Layer, activate
from lrn.types import Array

Bounds = tuple[Array, Array]  # the lower and the upper bounds of the same values


class Certifier(Protocol):
    """``certifier(logits_fn, x, y) -> margins``: lower bounds of z_y - z_j over the ball.

    The margins are [batch, classes], with 0 at the true class. Inputs and errors are those of an `Attack`;
    under jit, where values cannot be read, the margins of an example with a bad pixel or label are NaN.
    `lrn.robust.read_layers` says which networks can be read.
    """

    def __call__(self, logits_fn: LogitsFn, x: Array, y: Array, /) -> Array:
        """Bound the margins of one batch."""
        ...


@config
class IBPConfig:
    """IBP settings.

    eps: the radius of the Linf ball, in the unit of the pixels, which lie in [0, 1]; a number, or one an
        example [batch].
    """

    eps: float = 8 / 255

    def __post_init__(self) -> None:
        check_eps(self.eps, "linf")


def ibp(config: IBPConfig) -> Certifier:
    """Interval bounds of the margins, with the last layer elided: two passes through the network."""

    def certifier(logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        x, y = check_examples(logits_fn, x, y)
        layers = read_layers(logits_fn, x)
        return interval_margins(layers, *ball_in_box(x, config.eps), y)

    return certifier


def certified(margins: Array, y: Array) -> Array:
    """Whether all other classes have a margin bound above 0, bool [batch]; a tie or NaN is not certified.

    Args:
        margins: lower bounds of z_y - z_j, [batch, classes].
        y: labels [batch].
    """
    true = jax.nn.one_hot(y, margins.shape[1], dtype=bool)
    return ((margins > 0) | true).all(axis=1) & true.any(axis=1) & ~jnp.isnan(margins).any(axis=1)


def ball_in_box(x: Array, eps: ArrayLike) -> Bounds:
    """The smallest and the largest pixels in the Linf ball of radius eps and in [0, 1], [batch, ...]."""
    x = widen(x)
    eps = by_example(eps, x)  # pyright: ignore[reportArgumentType]
    return jnp.maximum(x - eps, 0), jnp.minimum(x + eps, 1)


def interval_bounds(layers: Sequence[Layer], low: Array, high: Array) -> list[Bounds]:
    """Bounds of the output of each layer's affine map, of which the last are those of the logits.

    Args:
        layers: the network.
        low, high: the box of inputs [batch, ...].

    Returns:
        For each layer the lower and the upper bounds [batch, *out], before the activation.
    """
    bounds = []
    for layer in layers:
        bounds.append(interval_step(layer, low, high))
        low, high = (activate(v, layer.activation) for v in bounds[-1])
    return bounds


def interval_step(layer: Layer, low: Array, high: Array) -> Bounds:
    """The bounds after the affine map of one layer, for a box of its inputs [batch, *shape]."""
    center = jax.vmap(layer.affine)((low + high) / 2)
    radius = jax.vmap(layer.spread)((high - low) / 2)
    return center - radius, center + radius


def interval_margins(layers: Sequence[Layer], low: Array, high: Array, y: Array) -> Array:
    """Lower bounds of z_y - z_j, with the last layer elided, [batch, classes].

    Args:
        layers: the network.
        low, high: the box of inputs [batch, ...].
        y: labels [batch].
    """
    for layer in layers[:-1]:
        low, high = (activate(v, layer.activation) for v in interval_step(layer, low, high))
    return last_margins(layers[-1], low, high, y)


def last_margins(last: Layer, low: Array, high: Array, y: Array) -> Array:
    """Lower bounds of z_y - z_j, [batch, classes], for a box of the last layer's inputs [batch, *shape].

    The difference of two logits is one affine function of these inputs, and its bound is tighter than
    the difference of two logits' bounds (elision of the last layer; Gowal et al. 2018, section 3).
    """
    offset, transpose = last.linearize(low.dtype)
    rows = transpose(jnp.eye(offset.shape[0], dtype=offset.dtype))
    return offset[y][:, None] - offset[None] + lowest(rows[y][:, None] - rows[None], low, high)


def lowest(rows: Array, low: Array, high: Array) -> Array:
    """The smallest values of linear functions on boxes.

    Args:
        rows: the coefficients [batch, rows, ...].
        low, high: the boxes [batch, ...].

    Returns:
        [batch, rows].
    """
    axes = tuple(range(2, rows.ndim))
    low, high = low[:, None], high[:, None]
    return jnp.sum(jnp.maximum(rows, 0) * low + jnp.minimum(rows, 0) * high, axis=axes)
