"""The rules of Auto-PGD: the plan of its checkpoints, its moves, and how a checkpoint changes the steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lrn.robust.l1 import sparse_direction
from lrn.robust.norms import project, steepest_direction
from lrn.types import Array

if TYPE_CHECKING:
    from lrn.robust.apgd import APGDConfig
    from lrn.robust.apgd_climb import Climb


class Plan(NamedTuple):
    """What happens after each evaluation that takes a gradient, arrays [evaluations - 1].

    radius: the radius of the ball as a multiple of eps. next_radius: the radius at the next evaluation.
    first: whether a radius begins here. jump: whether it ends here, so that the next point is the best one.
    last: whether the radius is eps. window: the number of steps since the checkpoint before, at a
        checkpoint; else 0.
    """

    radius: Any  # NumPy arrays in `plan_of`, traced values in the loop
    next_radius: Any
    first: Any
    jump: Any
    last: Any
    window: Any


def plan_of(config: APGDConfig) -> Plan:
    """The plan of one start, as NumPy arrays.

    The shares are those of the authors' program: in Linf and L2 the first window has 22% of the
    steps, and each further window 3% less, down to 6%; in L1 each has 4%.
    """
    lengths, radii = [config.steps], [1.0]
    if config.norm == "l1" and config.large_radii:
        part = math.ceil(0.3 * config.steps)
        lengths, radii = [part, part, config.steps - 2 * part], [3.0, 2.0, 1.0]
    windows = np.concatenate([_windows(n, config.norm) for n in lengths])
    stage = np.repeat(np.arange(len(lengths)), [n + 1 for n in lengths])
    radius = np.asarray(radii, np.float32)[stage]
    first = np.diff(stage, prepend=-1) > 0
    jump = np.diff(stage, append=stage[-1]) > 0
    return Plan(radius[:-1], radius[1:], first[:-1], jump[:-1], stage[:-1] == len(lengths) - 1, windows[:-1])


def _windows(steps: int, norm: str) -> np.ndarray:
    """At a checkpoint the number of steps since the one before, else 0; int [steps + 1]."""
    first, fall, least = (0.04, 0.0, 0.04) if norm == "l1" else (0.22, 0.03, 0.06)
    window, smallest = max(int(first * steps), 1), max(int(least * steps), 1)
    shorter = max(int(fall * steps), 1) if fall else 0
    windows, at = np.zeros(steps + 1, np.int32), window
    while at <= steps:
        windows[at] = window
        window = max(window - shorter, smallest)
        at += window
    return windows


class Rule(NamedTuple):
    """How an ascent moves, and what changes at its checkpoints.

    init: ``init() -> state``, a NamedTuple with a field ``step_size`` [batch, 1, ...].
    update: ``update(state, now, climb, loss) -> (state, back)`` after an evaluation with losses ``loss``
        [batch]; ``back`` [batch] says which examples return to their best point.
    move: ``move(state, now, climb, gradient) -> z``, the next point.
    """

    init: Callable[[], Any]
    update: Callable[[Any, Plan, Climb, Array], tuple[Any, Array]]
    move: Callable[[Any, Plan, Climb, Array], Array]


class Halving(NamedTuple):
    """State of the rule of Linf and L2.

    step_size: [batch, 1, ...]. previous: the loss of the evaluation before [batch]. rises: how many
        losses have risen since the last checkpoint [batch]. halved: whether the last checkpoint halved
        the step size [batch]. checked: the best loss at the last checkpoint [batch].
    """

    step_size: Array
    previous: Array
    rises: Array
    halved: Array
    checked: Array


def halving(x: Array, eps: Array, config: APGDConfig) -> Rule:
    """The rule of Linf and L2: momentum, and half the step size where the loss stops rising.

    Args:
        x: the inputs [batch, ...], in float32 or wider.
        eps: the radius, a scalar or [batch, 1, ...].
        config: see `lrn.robust.apgd.APGDConfig`.
    """
    n = x.shape[0]
    rho = jnp.asarray(config.rho, x.dtype)

    def init() -> Halving:
        zero = jnp.zeros(n, x.dtype)
        return Halving(_column(2 * eps, x), zero, jnp.zeros(n, jnp.int32), jnp.ones(n, bool), zero)

    def update(state: Halving, now: Plan, climb: Climb, loss: Array) -> tuple[Halving, Array]:
        # The first loss after the start is compared with 0, as in the authors' program; in the paper it is
        # compared with the loss at the start.
        rises = state.rises + jnp.where(now.first, False, loss > state.previous)
        previous = jnp.where(now.first, 0, loss).astype(x.dtype)
        checked = jnp.where(now.first, climb.loss, state.checked)
        due = now.window > 0
        few = rises <= rho * now.window
        stuck = due & (few | (~state.halved & (checked >= climb.loss)))
        return Halving(
            step_size=jnp.where(stuck.reshape(state.step_size.shape), state.step_size / 2, state.step_size),
            previous=previous,
            rises=jnp.where(due, 0, rises),
            halved=jnp.where(due, stuck, state.halved),
            checked=jnp.where(due, climb.loss, checked),
        ), stuck

    def move(state: Halving, now: Plan, climb: Climb, gradient: Array) -> Array:
        z, step = climb.z, state.step_size * steepest_direction(gradient, config.norm)
        target = project(z + step, x, eps, config.norm)
        share = jnp.where(now.first, 1, 0.75).astype(x.dtype)
        return project(z + share * (target - z) + (1 - share) * (z - climb.before), x, eps, config.norm)

    return Rule(init, update, move)


class Sparsity(NamedTuple):
    """State of the rule of L1.

    step_size: [batch, 1, ...]. support: the number of pixels that the best point changed at the last
        checkpoint, int [batch]. entries: the number of pixels of a step, int [batch].
    """

    step_size: Array
    support: Array
    entries: Array


def sparsity(x: Array, eps: Array, config: APGDConfig) -> Rule:
    """The rule of L1: steps with two thirds as many pixels as the best point changes, and no momentum.

    Where this number has fallen by more than 5% since the last checkpoint, the step size becomes the radius
    again and the example returns to its best point; else the step size falls by a third, to at least a
    tenth of the radius. The arguments are those of `halving`.
    """
    batch, pixels = x.shape[0], math.prod(x.shape[1:])

    def changed(z: Array) -> Array:
        # Rounding leaves traces of entries that the projection removes. Entries of equal size are common,
        # since all entries of a step have one size.
        moved = jnp.abs(z - x) > 4 * jnp.finfo(x.dtype).eps
        return jnp.sum(moved.reshape(batch, -1), axis=1, dtype=jnp.int32)

    def count_of(support: Array) -> Array:
        return jnp.maximum(pixels - (3 * pixels - 2 * support) // 3, 1)

    def init() -> Sparsity:
        support = jnp.full(batch, pixels, jnp.int32)
        return Sparsity(_column(eps, x), support, jnp.full(batch, pixels - 4 * pixels // 5, jnp.int32))

    def update(state: Sparsity, now: Plan, climb: Climb, loss: Array) -> tuple[Sparsity, Array]:
        radius, due = now.radius.astype(x.dtype) * eps, now.window > 0
        support = changed(climb.best)
        fewer = due & (20 * support < 19 * state.support)
        size = jnp.clip(state.step_size / 1.5, radius / 10, radius)
        size = jnp.where(fewer.reshape(size.shape) | now.first, radius, size)
        learned = due | (now.first & config.large_radii)  # a first start knows no support
        return Sparsity(
            step_size=jnp.where(due | now.first, size, state.step_size),
            support=jnp.where(learned, support, state.support),
            entries=jnp.where(learned, count_of(support), state.entries),
        ), fewer

    def move(state: Sparsity, now: Plan, climb: Climb, gradient: Array) -> Array:
        direction = sparse_direction(gradient, state.entries.reshape(state.step_size.shape))
        z = jnp.where(now.jump, climb.best, climb.z + state.step_size * direction)
        return project(z, x, now.next_radius.astype(x.dtype) * eps, "l1")

    return Rule(init, update, move)


def _column(value: Array, x: Array) -> Array:
    return jnp.broadcast_to(value, (x.shape[0], *(1,) * (x.ndim - 1)))
