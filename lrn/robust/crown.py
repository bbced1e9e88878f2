"""CROWN: linear bounds, propagated backward through a ReLU network (Zhang et al. 2018, arXiv 1811.00866).

Lines bound each activation from below and above on the interval of its input. Substituting the lines from
the last layer to the first gives a linear function of the pixels below each margin, whose minimum over the
ball is closed. With ``intermediate="ibp"`` the intervals come from IBP, which is CROWN-IBP (Zhang et al.
2020, arXiv 1906.06316). The bounds are computed in float32 without directed rounding, so they are sound
up to about 1e-6 of the network's values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrn import check
from lrn.config import config
from lrn.robust.attack import LogitsFn, check_eps, check_examples
from lrn.robust.ibp import (
    Bounds,
    Certifier,
    ball_in_box,
    interval_bounds,
    interval_step,
    last_margins,
    lowest,
)
from lrn.robust.norms import by_example, widen
from lrn.robust.read_layers import read_layers
from lrn.robust.relu_network import Layer, activate
from lrn.types import Array

BALLS = ("linf", "l2", "l1")


@config
class CROWNConfig:
    """CROWN settings.

    eps: the radius of the ball, in the unit of the pixels, which lie in [0, 1]; a number, or one an
        example [batch].
    norm: "linf", "l2" or "l1". All bounds hold for the ball intersected with [0, 1]; for l2 and l1
        they are the better of the ball's and of the surrounding Linf ball's in [0, 1].
    intermediate: the bounds before the activations: "crown", at the cost of a backward pass for
        every neuron; or "ibp", much cheaper and looser.
    slope: the slope of the lower line of a ReLU that may be on or off: "adaptive", 1 where the interval
        reaches farther above 0 than below, else 0; or "zero", with which one hidden layer is never worse
        than IBP.
    """

    eps: float = 8 / 255
    norm: str = "linf"
    intermediate: str = "crown"
    slope: str = "adaptive"

    def __post_init__(self) -> None:
        check.choice("norm", self.norm, BALLS)
        check_eps(self.eps, self.norm)
        check.choice("intermediate", self.intermediate, ("crown", "ibp"))
        check.choice("slope", self.slope, ("adaptive", "zero"))


class Ball(NamedTuple):
    """Balls around a batch of inputs, intersected with the pixel box.

    x: centers [batch, ...]. low, high: the surrounding boxes [batch, ...]. eps: radii [batch].
    """

    x: Array
    low: Array
    high: Array
    eps: Array


class Lines(NamedTuple):
    """Linear bounds of an activation h of v: ``lower * v <= h <= upper * v + intercept``, elementwise.

    lower, upper: slopes [batch, *shape of v]. intercept: [batch, *shape of h]. After a maximum the products
    are summed over the last axis of v.
    """

    lower: Array
    upper: Array
    intercept: Array


def crown(config: CROWNConfig) -> Certifier:
    """CROWN's bounds of the margins, or those of IBP on the same intervals where they are better."""

    def certifier(logits_fn: LogitsFn, x: Array, y: Array) -> Array:
        x, y = check_examples(logits_fn, x, y)
        layers, ball = read_layers(logits_fn, x), make_ball(x, config.eps)
        bounds = hidden_bounds(layers, ball, config)
        margins = linear_margins(layers, bounds, ball, y, config.norm, config.slope)
        low, high = ball.low, ball.high
        if bounds:
            low, high = (activate(v, layers[-2].activation) for v in bounds[-1])
        return jnp.maximum(margins, last_margins(layers[-1], low, high, y))

    return certifier


def make_ball(x: Array, eps: ArrayLike) -> Ball:
    """The balls of radius eps, a number or one an example, around inputs [batch, ...]."""
    x = widen(x)
    radii = jnp.broadcast_to(by_example(eps, x).reshape(-1), x.shape[:1])  # pyright: ignore[reportArgumentType]
    return Ball(x, *ball_in_box(x, radii), radii)


def hidden_bounds(layers: Sequence[Layer], ball: Ball, config: CROWNConfig) -> list[Bounds]:
    """Bounds before each activation, [batch, *out] for all layers but the last."""
    if config.intermediate == "ibp" and config.norm == "linf":
        return interval_bounds(layers[:-1], ball.low, ball.high)
    bounds, box = [], (ball.low, ball.high)
    for i, layer in enumerate(layers[:-1]):
        low, high = interval_step(layer, *box)
        # One backward pass through the first layer gives the exact bounds over an l2 or l1 ball.
        if config.intermediate == "crown" or i == 0:
            rows = _identity(layer, low.dtype)
            args = (layers[: i + 1], bounds, ball, config.norm, config.slope)
            lower = linear_bounds(rows, *args).reshape(low.shape)
            upper = -linear_bounds(-rows, *args).reshape(low.shape)
            low, high = jnp.maximum(low, lower), jnp.minimum(high, upper)
        bounds.append((low, high))
        box = tuple(activate(v, layer.activation) for v in bounds[-1])
    return bounds


def linear_margins(
    layers: Sequence[Layer], bounds: Sequence[Bounds], ball: Ball, y: Array, norm: str, slope: str
) -> Array:
    """CROWN's lower bounds of z_y - z_j, [batch, classes].

    Args:
        layers: the network.
        bounds: bounds before each activation.
        ball, norm: the inputs.
        y: labels [batch].
        slope: see `CROWNConfig`.
    """
    rows = _identity(layers[-1], ball.x.dtype)
    return linear_bounds(rows[0, y][:, None] - rows, layers, bounds, ball, norm, slope)


def linear_bounds(
    rows: Array, layers: Sequence[Layer], bounds: Sequence[Bounds], ball: Ball, norm: str, slope: str
) -> Array:
    """Lower bounds of linear functions of the last layer's output, [batch, rows].

    Args:
        rows: the coefficients [batch, rows, *out]; the first axis is 1 where all examples share them.
        layers, bounds, ball, norm, slope: as in `linear_margins`.
    """
    total = jnp.zeros((1, 1), ball.x.dtype)
    for i in reversed(range(len(layers))):
        offset, transpose = layers[i].linearize(rows.dtype)
        total = total + _inner(rows, offset[None, None])
        rows = jax.vmap(transpose)(rows)
        if i:
            rows, constant = _through(rows, relax(layers[i - 1].activation, *bounds[i - 1], slope))
            total = total + constant
    return total + _over_ball(rows, ball, norm)


def relax(activation: str, low: Array, high: Array, slope: str) -> Lines:
    """Lines that bound an activation on the intervals from ``low`` to ``high``, [batch, *shape of v]."""
    if activation == "max":
        return _relax_maximum(low, high)
    crosses = (low < 0) & (high > 0)
    on = (low >= 0).astype(low.dtype)
    upper = jnp.where(crosses, high / jnp.where(crosses, high - low, 1), on)
    guess = (high > -low).astype(low.dtype) if slope == "adaptive" else jnp.zeros_like(low)
    return Lines(jnp.where(crosses, guess, on), upper, jnp.where(crosses, -low * upper, 0))


def _relax_maximum(low: Array, high: Array) -> Lines:
    """The maximum over the last axis: at least the entry with the best lower bound.

    Where that entry is never below the others it is the maximum; elsewhere the upper line is constant.
    """
    leader = jax.nn.one_hot(jnp.argmax(low, axis=-1), low.shape[-1], dtype=low.dtype)
    others = jnp.max(jnp.where(leader > 0, -jnp.inf, high), axis=-1)
    decided = jnp.sum(leader * low, axis=-1) >= others
    upper = leader * decided[..., None]
    return Lines(leader, upper, jnp.where(decided, 0, high.max(axis=-1)))


def _through(rows: Array, lines: Lines) -> tuple[Array, Array]:
    """Linear functions below ``rows`` of an activation: rows [batch, rows, *shape of v], and constants."""
    positive, negative = jnp.maximum(rows, 0), jnp.minimum(rows, 0)
    constant = _inner(negative, lines.intercept[:, None])
    if lines.lower.ndim > lines.intercept.ndim:  # after a maximum
        positive, negative = positive[..., None], negative[..., None]
    return positive * lines.lower[:, None] + negative * lines.upper[:, None], constant


def _over_ball(rows: Array, ball: Ball, norm: str) -> Array:
    """The smallest values of linear functions [batch, rows, ...] over the ball, or lower, [batch, rows]."""
    in_box = lowest(rows, ball.low, ball.high)
    if norm == "linf":
        return in_box
    axes = tuple(range(2, rows.ndim))
    if norm == "l2":
        square = jnp.sum(rows**2, axis=axes)
        dual = jnp.sqrt(jnp.where(square > 0, square, 1)) * (square > 0)
    else:
        dual = jnp.max(jnp.abs(rows), axis=axes)
    return jnp.maximum(in_box, _inner(rows, ball.x[:, None]) - ball.eps[:, None] * dual)


def _inner(rows: Array, values: Array) -> Array:
    """The inner products over all axes after the first two."""
    return jnp.sum(rows * values, axis=tuple(range(2, rows.ndim)))


def _identity(layer: Layer, dtype: jnp.dtype) -> Array:
    """One row for each output of a layer, [1, out, *out]."""
    out = jax.eval_shape(layer.affine, jax.ShapeDtypeStruct(layer.shape, dtype)).shape
    size = math.prod(out)
    return jnp.eye(size, dtype=dtype).reshape(1, size, *out)
