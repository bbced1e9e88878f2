"""A ReLU network as matrices in NumPy and float64, with bounds and a descent of its own, for the oracle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from lrn import check
from lrn.robust.attack import LogitsFn
from lrn.robust.read_layers import read_layers
from lrn.types import Array

Interval = tuple[np.ndarray, np.ndarray]  # lower and upper bounds


class Affine(NamedTuple):
    """An affine map ``weights @ h + offset``; weights [out, in] and offset [out] in float64."""

    weights: np.ndarray
    offset: np.ndarray


def dense_layers(logits_fn: LogitsFn, x: Array) -> list[Affine]:
    """The affine maps of a network as matrices; ReLU follows each but the last.

    Raises:
        ValueError: the network cannot be read, or has a maximum.
    """
    network = []
    for layer in read_layers(logits_fn, x):
        if layer.activation == "max":
            raise check.InputError(
                "the oracle reads networks without max pooling, and this one takes a maximum; use an MLP, or "
                "strided convolutions or average pooling in place of max pooling."
            )
        offset, transpose = layer.linearize()
        rows = transpose(jnp.eye(offset.size).reshape(offset.size, *offset.shape))
        weights = np.asarray(rows, np.float64).reshape(offset.size, -1)
        network.append(Affine(weights, np.asarray(offset, np.float64).reshape(-1)))
    return network


def logits_of(network: Sequence[Affine], pixels: np.ndarray) -> np.ndarray:
    """The logits [classes] at pixels [in]."""
    for layer in network[:-1]:
        pixels = np.maximum(layer.weights @ pixels + layer.offset, 0)
    return network[-1].weights @ pixels + network[-1].offset


def hidden_bounds(network: Sequence[Affine], low: np.ndarray, high: np.ndarray) -> list[Interval]:
    """Bounds before each ReLU over a box of pixels: the tighter of linear and interval bounds."""
    bounds: list[Interval] = []
    box = low.astype(np.float64), high.astype(np.float64)
    for i, layer in enumerate(network[:-1]):
        lower, upper = (
            np.maximum(
                linear_bound(network[:i], bounds, low, high, sign * layer.weights, sign * layer.offset),
                _smallest(sign * layer.weights, *box) + sign * layer.offset,
            )
            for sign in (1, -1)
        )
        bounds.append((lower, -upper))
        box = np.maximum(lower, 0), np.maximum(-upper, 0)
    return bounds


def margin_bounds(
    network: Sequence[Affine], bounds: Sequence[Interval], low: np.ndarray, high: np.ndarray, label: int
) -> np.ndarray:
    """Lower bounds of z_label - z_j for all classes j, [classes]; inf for the label itself."""
    rows, offset = network[-1].weights, network[-1].offset
    margins = linear_bound(
        network[:-1], bounds, low, high, rows[label][None] - rows, offset[label][None] - offset
    )
    margins[label] = math.inf
    return margins


def linear_bound(
    hidden: Sequence[Affine],
    bounds: Sequence[Interval],
    low: np.ndarray,
    high: np.ndarray,
    rows: np.ndarray,
    offset: np.ndarray,
) -> np.ndarray:
    """Lower bounds of ``rows @ h + offset`` for the output ``h`` of the hidden layers (CROWN)."""
    for layer, (below, above) in zip(reversed(hidden), reversed(bounds[: len(hidden)])):
        crosses = (below < 0) & (above > 0)
        on = (below >= 0).astype(np.float64)
        upper = np.where(crosses, above / np.where(crosses, above - below, 1), on)
        lower = np.where(crosses, above > -below, on)
        negative = np.minimum(rows, 0)
        offset = offset - negative @ np.where(crosses, below * upper, 0)
        rows = np.maximum(rows, 0) * lower + negative * upper
        rows, offset = rows @ layer.weights, offset + rows @ layer.offset
    return offset + _smallest(rows, low, high)


def _smallest(rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.maximum(rows, 0) @ low + np.minimum(rows, 0) @ high


def descend(
    network: Sequence[Affine], low: np.ndarray, high: np.ndarray, label: int, steps: int = 20
) -> np.ndarray:
    """Pixels in the box with a small margin, by signed gradient steps towards each other class, [in].

    The program starts from this margin, and need not search for it.
    """
    targets = np.delete(np.arange(len(network[-1].offset)), label)
    pixels = np.repeat(((low + high) / 2)[None].astype(np.float64), len(targets), axis=0)
    best, smallest = pixels[0], math.inf
    for step in range(steps + 1):
        h, masks = pixels, []
        for layer in network[:-1]:
            v = h @ layer.weights.T + layer.offset
            masks.append(v > 0)
            h = np.maximum(v, 0)
        logits = h @ network[-1].weights.T + network[-1].offset
        margins = logits[:, label] - np.delete(logits, label, axis=1).max(axis=1)
        if margins.min() < smallest:
            best, smallest = pixels[margins.argmin()], margins.min()
        rows = network[-1].weights[label] - network[-1].weights[targets]
        for layer, mask in zip(reversed(network[:-1]), reversed(masks)):
            rows = (rows * mask) @ layer.weights
        length = (high - low) * max(0.5 * 0.8**step, 0.02)
        pixels = np.clip(pixels - length * np.sign(rows), low, high)
    return best
