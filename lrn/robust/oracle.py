"""The exact robustness of small ReLU networks, by mixed-integer programming (Tjeng et al. 2019, 1711.07356).

A ReLU network is linear once each neuron is on or off, so the smallest margin over an Linf ball in the pixel
box is a mixed-integer linear program, with a binary for every neuron that the bounds leave open. HiGHS, by
`scipy.optimize.milp`, solves the program to a proof. No attack beats the result, and no certificate
exceeds it.

This is host code in NumPy and float64, for networks of up to about a hundred neurons. It cannot be jitted or
vmapped. It shares no bounds with `lrn.robust.ibp` and `lrn.robust.crown`, so that it can judge them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from lrn import check
from lrn.config import config
from lrn.robust.attack import LogitsFn, check_eps, check_examples
from lrn.robust.dense_network import Affine, dense_layers, descend, hidden_bounds, logits_of, margin_bounds
from lrn.robust.mixed_integer import Program


@config
class OracleConfig:
    """Settings of the oracle.

    eps: the radius of the Linf ball, in the unit of the pixels, which lie in [0, 1].
    margins: whether to compute the smallest margin. Without it the search for a wrong class stops at the
        first, which is faster.
    tolerance: the margin, in the unit of the logits, from which on an example counts as robust. It
        covers the tolerances of HiGHS (1e-6) and the rounding of the network in float32.
    time_limit: seconds for each program, of which an example needs one for each class at most.
    """

    eps: float = 0.1
    margins: bool = False
    tolerance: float = 1e-4
    time_limit: float = 60.0

    def __post_init__(self) -> None:
        check_eps(self.eps, "linf")
        check.boolean("margins", self.margins)
        check.positive("tolerance", self.tolerance)
        check.positive("time_limit", self.time_limit)


class ExactRobustness(NamedTuple):
    """What the oracle found for n examples.

    robust: bool [n]: proof that every margin in the ball exceeds the tolerance.
    fooled: bool [n]: the network, in float32, is wrong at ``x_adv``; a tie counts as wrong. An example that
        is neither robust nor fooled is undecided: its smallest margin lies between 0 and the tolerance, or
        the time was short.
    x_adv: [n, ...]: inputs in the ball and in the box, in float32: the input of the smallest margin
        found, or the clean input where none was searched.
    margin: [n], float64: the smallest margin z_y - max z_j found; the exact one with ``margins=True``.
    lower: [n], float64: a proven lower bound of all margins; with ``margins=True`` it equals ``margin`` up to
        HiGHS' tolerance unless the time was short. Without ``margins`` it is -inf for fooled examples.
    seconds: [n]: the time that each example took.
    """

    robust: np.ndarray
    fooled: np.ndarray
    x_adv: np.ndarray
    margin: np.ndarray
    lower: np.ndarray
    seconds: np.ndarray


class _Found(NamedTuple):
    """The result of the search for one example, as in `ExactRobustness`."""

    fooled: bool
    x_adv: np.ndarray
    margin: float
    lower: float


def exact_robustness(
    logits_fn: LogitsFn, x: ArrayLike, y: ArrayLike, config: OracleConfig
) -> ExactRobustness:
    """Decide for each example whether any input in the ball and in the box fools the network.

    Args:
        logits_fn: a network in evaluation mode that `lrn.robust.read_layers` can read, without maxima.
        x: inputs [n, ...] in [0, 1].
        y: labels [n].
        config: see `OracleConfig`.

    Raises:
        ValueError: an argument is traced, the network cannot be read, or inputs are refused.
    """
    network, judge, images, labels = _prepare(logits_fn, x, y)
    found, seconds = [], []
    for image, label in zip(images, labels):
        start = time.perf_counter()
        found.append(_search(network, judge, image, int(label), config))
        seconds.append(time.perf_counter() - start)
    fooled, x_adv, margin, lower = (np.array(field) for field in zip(*found))
    robust = (lower >= config.tolerance) & ~fooled
    return ExactRobustness(robust, fooled, x_adv, margin, lower, np.array(seconds))


def exact_distance(logits_fn: LogitsFn, x: ArrayLike, y: ArrayLike, config: OracleConfig) -> np.ndarray:
    """The Linf distance from each example to the nearest input in [0, 1] that fools the network, float64 [n].

    The distance is 0 where the network is wrong at once, inf where no input within ``config.eps`` fools it,
    and NaN where the time was short. The time grows quickly with ``config.eps``. ``margins`` and
    ``tolerance`` are unused. The arguments and errors are those of `exact_robustness`.
    """
    network, judge, images, labels = _prepare(logits_fn, x, y)
    found = [_distance(network, judge, image, int(label), config) for image, label in zip(images, labels)]
    return np.array(found)


def _prepare(logits_fn: LogitsFn, x: Any, y: Any) -> tuple[list[Affine], Callable, np.ndarray, np.ndarray]:
    """The network in float64, the margin in float32, and the checked data."""
    if any(isinstance(a, Tracer) for a in (x, y)):
        raise check.InputError(
            "the oracle reads values, and its inputs are traced; call it outside jit and vmap."
        )
    x, y = check_examples(logits_fn, x, y)
    network, logits = dense_layers(logits_fn, x), jax.jit(logits_fn)

    def judge(image: np.ndarray, label: int) -> bool:
        """Whether the network in float32 is wrong."""
        z = np.asarray(logits(image[None]))[0]
        return not z[label] > np.delete(z, label).max()

    return network, judge, np.asarray(x, np.float32), np.asarray(y)


def _box(image: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """The ball and the box as an attack in float32 sees them."""
    radius = np.float32(eps)
    return np.maximum(image - radius, np.float32(0)), np.minimum(image + radius, np.float32(1))


def _search(
    network: list[Affine], judge: Callable, image: np.ndarray, label: int, config: OracleConfig
) -> _Found:
    low, high = _box(image, config.eps)
    box = low.reshape(-1).astype(np.float64), high.reshape(-1).astype(np.float64)
    best = _Found(judge(image, label), image, _margin(network, image, label), -math.inf)
    if config.margins or not best.fooled:
        best = _better(best, network, judge, descend(network, *box, label), low, high, label)
    if best.fooled and not config.margins:
        return best
    bounds = hidden_bounds(network, *box)
    certificates = margin_bounds(network, bounds, *box, label)
    program, lowers = Program(network, bounds, *box), []
    for target in np.argsort(certificates):
        if best.fooled and not config.margins:
            return best
        cutoff = best.margin if config.margins else config.tolerance
        if target == label or certificates[target] > cutoff:
            lowers.append(certificates[target])
            continue
        # The first input with a margin below the cutoff may be right in float32; the smallest is surer.
        lower = cutoff
        for first in (False,) if config.margins else (True, False):
            answer = program.smallest_margin(label, int(target), cutoff, config.time_limit, first)
            lower = answer.lower
            if answer.inputs is not None:
                best = _better(best, network, judge, answer.inputs, low, high, label)
            if best.fooled or answer.inputs is None:
                break
        lowers.append(lower)
    return best._replace(lower=min(lowers))


def _better(
    best: _Found,
    network: list[Affine],
    judge: Callable,
    inputs: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    label: int,
) -> _Found:
    """The better of what was found before and new inputs, which are rounded into the ball in float32."""
    image = np.clip(inputs.reshape(low.shape).astype(np.float32), low, high)
    margin, fooled = _margin(network, image, label), judge(image, label)
    if (fooled, -margin) > (best.fooled, -best.margin):
        return _Found(fooled, image, margin, best.lower)
    return best


def _margin(network: list[Affine], image: np.ndarray, label: int) -> float:
    z = logits_of(network, image.reshape(-1).astype(np.float64))
    return float(z[label] - np.delete(z, label).max())


def _distance(
    network: list[Affine], judge: Callable, image: np.ndarray, label: int, config: OracleConfig
) -> float:
    if judge(image, label):
        return 0.0
    low, high = (side.reshape(-1).astype(np.float64) for side in _box(image, config.eps))
    bounds = hidden_bounds(network, low, high)
    certificates = margin_bounds(network, bounds, low, high, label)
    program = Program(network, bounds, low, high, center=image.reshape(-1))
    best = math.inf
    for target in np.argsort(certificates):
        if target == label or certificates[target] > 0:
            continue
        answer = program.smallest_radius(label, int(target), min(best, config.eps), config.time_limit)
        if not answer.proven:
            return math.nan
        if answer.inputs is not None:
            best = min(best, answer.lower)
    return best
