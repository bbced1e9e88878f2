"""Sinusoids of a breadth, worlds out of their range, and a meta-learner that takes them in an order.

A lesson has amplitudes and phases from the middle of their ranges, up to all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.meta.episode import Episode, TaskFamily, draw
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.learner import MetaLearner, MetaState
from lrn.types import Array, Batch, Key, Metrics, PyTree

PART = 0.2  # the width of narrow ranges, as a part of the wide ones


class Waves(NamedTuple):
    """A world of sinusoids ``amplitude * sin(frequency * x + phase)``.

    phase, amplitude: the centers of the ranges. phase_half, amplitude_half: the half widths of the ranges.
    low, high: a number drawn from U(low, high) for each task scales both half widths.
    """

    phase: Any
    phase_half: Any
    amplitude: Any
    amplitude_half: Any
    low: Any = 1.0
    high: Any = 1.0
    frequency: Any = 1.0


def waves(world: Waves) -> TaskFamily:
    """The family of a world's sinusoids; the world's numbers may be traced."""
    plain = sinusoid()

    def sample(key: Key) -> PyTree:
        width_key, key = jax.random.split(key)
        width = world.low + (world.high - world.low) * jax.random.uniform(width_key)
        phase, amplitude = width * world.phase_half, width * world.amplitude_half
        return sinusoid(
            phase=(world.phase - phase, world.phase + phase),
            amplitude=(world.amplitude - amplitude, world.amplitude + amplitude),
        ).sample(key)

    def batch(key: Key, task: PyTree) -> tuple[Batch, Batch]:
        def at(part: Batch) -> Batch:
            y = task["amplitude"] * jnp.sin(world.frequency * part["x"] + task["phase"])
            return {**part, "y": y}

        support, query = plain.batch(key, task)
        return at(support), at(query)

    return plain._replace(sample=sample, batch=batch)


def lesson(breadth: Any) -> TaskFamily:
    """The sinusoids of a lesson of some breadth, from 0, the narrow ranges, to 1, all of them."""
    width = PART + (1 - PART) * breadth
    return waves(Waves(math.pi / 2, math.pi / 2, 2.55, 2.45)._replace(low=width, high=width))


def worlds() -> np.ndarray:
    """The sinusoids at each spot, as the numbers of `Waves`, [spots, 7]."""
    wide = Waves(math.pi / 2, math.pi / 2, 2.55, 2.45)
    narrow = wide._replace(low=PART, high=PART)
    far = wide._replace(phase=1.5 * math.pi), wide._replace(amplitude=6.5, amplitude_half=1.5)
    return np.array([narrow, wide, *far], np.float32)


class InOrder(NamedTuple):
    """State of `in_order`.

    inner: the learner's state. stream: the key data of the lessons. order: a random order, int [iterations].
    """

    inner: MetaState
    stream: Array
    order: Array


def in_order(
    learner: MetaLearner,
    family_at: Callable[[Array], TaskFamily],
    course: Any,
    *,
    tasks: int,
    iterations: int,
) -> MetaLearner:
    """A meta-learner that is trained by a curriculum; it draws its own episodes, so `fit` needs no sampler.

    Args:
        learner: the meta-learner.
        family_at: ``family_at(breadth)``, the tasks of a breadth from 0 to 1.
        course: (first, last, order). Lesson i of n has the breadth first + (last - first) i / (n - 1), and
            tasks that depend only on the seed and on i. With order 0 the lessons come in their order, with 1
            backwards, with 2 in a random order. Courses with different orders thus have the same tasks.
        tasks: the number of tasks in a lesson.
        iterations: the number of lessons, and of meta-steps.

    Metrics: those of the learner; ``breadth`` of the lesson; ``size``, the mean square of its targets.
    """
    first, last, direction = course

    def lesson(stream: Array, i: Array) -> tuple[Episode, Array]:
        breadth = first + (last - first) * i / max(iterations - 1, 1)
        key = jax.random.fold_in(jax.random.wrap_key_data(stream), i)
        return draw(family_at(breadth), key, tasks), breadth

    def init(key: Key, batch: Any) -> InOrder:
        start, stream, order = jax.random.split(key, 3)
        stream = jax.random.key_data(stream)
        inner = learner.init(start, lesson(stream, jnp.int32(0))[0])
        return InOrder(inner, stream, jax.random.permutation(order, iterations).astype(jnp.int32))

    def step(key: Key, state: InOrder, batch: Any) -> tuple[InOrder, Metrics]:
        t = state.inner.taken
        i = jnp.where(direction == 0, t, jnp.where(direction == 1, iterations - 1 - t, state.order[t]))
        episodes, breadth = lesson(state.stream, i)
        inner, metrics = learner.step(key, state.inner, episodes)
        size = (episodes.query["y"] ** 2).mean()
        return state._replace(inner=inner), {**metrics, "breadth": breadth, "size": size}

    return MetaLearner(init, step, lambda state, *rest: learner.curve(state.inner, *rest))
