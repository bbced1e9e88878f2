"""What the studies of shift share: errors of initializations on other tasks than those of their training.

MAML, pooled pretraining and scratch all adapt by gradient descent, and differ only in the source of the
initialization and of the rate. One compiled program therefore measures all of them, on all tasks that
differ in the floats or the data of a family: the positions of a dial share one program.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrn.data.glyphs import glyphs
from lrn.meta import mislead
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import Episode, TaskFamily, draw
from lrn.meta.evaluate import TEST, by_seed, per_task
from lrn.meta.families.sinusoid import sinusoid
from lrn.meta.learner import MetaLearner, MetaState
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.problem import Problem
from lrn.types import Array, Batch, Key, Metrics, PyTree
from lrn.xla.runtime import jit_brief

CAP = 4.0  # in mean squares of the targets; an answer of the right size and the wrong sign has this error


class Candidate(NamedTuple):
    """An initialization, leaves [seeds, ...], and the rate at which it is adapted."""

    rate: float
    params: PyTree


def note_origin(context: Any, name: str, candidates: Sequence[Candidate], trained: Sequence[PyTree]) -> None:
    """Record under an arm whether its candidates are the trained parameters, leaves [seeds, ...] each."""
    context.judged_state(name, [c.params for c in candidates], list(trained))


# ``trial(candidate, world, wrong=False, stream=TEST) -> errors [seeds, steps + 1]``
Trial = Callable[..., np.ndarray]


def trials(
    problem: Problem,
    family_of: Callable[[Any], TaskFamily],
    seeds: Sequence[int],
    *,
    tasks: int,
    steps: int = 10,
) -> Trial:
    """A function that measures an initialization after 0 to ``steps`` steps of adaptation, in any world.

    Args:
        problem: the problem of the initializations.
        family_of: ``family_of(world) -> TaskFamily``, pure.
        seeds: the seeds of the trainings. A seed's tasks are the same for all candidates, and drawn by
            the same keys in all worlds.
        tasks: the number of tasks for each seed.
        steps: the largest number of steps.

    Returns:
        ``trial(candidate, worlds)``: means over tasks, [seeds, steps + 1]. For a classification these are
        means of the fraction of wrong answers; for a regression, of the squared error over the mean
        square of the targets, where a task counts at most `CAP` times that mean square, so that a rare
        divergence does not decide. ``worlds`` has leaves [seeds, ...]. With ``wrong`` each task has
        another task's support set.
    """

    @jit_brief
    def one(stream: Array, seed: Array, rate: Array, params: PyTree, world: PyTree, wrong: Array) -> Any:
        key = jax.random.fold_in(jax.random.key(stream), seed)
        episodes = draw(family_of(world), key, tasks)
        learner = maml(problem, MAMLConfig(inner=InnerConfig(rate=rate)))  # pyright: ignore[reportArgumentType]
        state = MetaState(params, (), (), jnp.int32(0))
        found = per_task(learner, problem, state, mislead.wrong_support(episodes, wrong), steps)
        if "accuracy" in found:
            return 1 - found["accuracy"].mean(0)
        size = (episodes.query["y"] ** 2).mean()
        capped = jnp.where(jnp.isfinite(found["loss"]), found["loss"], jnp.inf)
        return jnp.minimum(capped, CAP * size).mean(0) / size

    def trial(candidate: Candidate, worlds: PyTree, wrong: bool = False, stream: int = TEST) -> np.ndarray:
        rows = [
            one(np.uint32(stream), np.uint32(seed), np.float32(candidate.rate), *own, np.bool_(wrong))
            for seed, own in zip(seeds, by_seed((candidate.params, worlds), len(seeds)))
        ]
        return np.stack([np.asarray(row) for row in rows])

    return trial


def chosen(errors: np.ndarray) -> np.ndarray:
    """The index of the candidate with the least mean error over seeds, for each number of steps, [steps + 1].

    Args:
        errors: [candidates, seeds, steps + 1].
    """
    return errors.mean(1).argmin(0)


def taken(errors: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """The errors [seeds, steps + 1] of the candidate chosen for each number of steps."""
    return np.stack([errors[c, :, k] for k, c in enumerate(choice)], 1)


def fresh(problem: Problem, x: Array, seeds: Sequence[int]) -> PyTree:
    """Random initializations for inputs of the form of x [n, ...], leaves [seeds, ...]."""
    make = jit_brief(lambda seed: problem.init(jax.random.fold_in(jax.random.key(602), seed), x)[0])
    found = [make(np.uint32(seed)) for seed in seeds]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def headless(problem: Problem, params: PyTree) -> PyTree:
    """Pretrained parameters, leaves [seeds, ...], with a head of zeros for the ways of a task."""
    return mislead.zero_head(params, problem.outputs)


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


def known_waves(seeds: Sequence[int], worlds: Sequence[Waves], tasks: int) -> np.ndarray:
    """Errors [worlds, seeds] of least squares on sine and cosine, which knows that tasks are sinusoids."""

    def numbers(world: Waves) -> Waves:
        return jax.tree.map(np.float32, world)

    errors = [[_known_waves(tasks, np.uint32(s), numbers(world)) for s in seeds] for world in worlds]
    return np.array(jax.device_get(errors), np.float64)


@functools.partial(jit_brief, static_argnums=(0,))
def _known_waves(tasks: int, seed: Array, world: Waves) -> Array:
    episodes = draw(waves(world), jax.random.fold_in(jax.random.key(TEST), seed), tasks)

    def error(e: Episode) -> Array:
        angles = (world.frequency * b["x"] for b in (e.support, e.query))
        (s, c), (qs, qc) = ((jnp.sin(angle), jnp.cos(angle)) for angle in angles)
        y = e.support["y"]
        ss, sc, cc, sy, cy = (s * s).sum(), (s * c).sum(), (c * c).sum(), (s * y).sum(), (c * y).sum()
        a, b = cc * sy - sc * cy, ss * cy - sc * sy  # Cramer's rule
        return (((a * qs + b * qc) / (ss * cc - sc * sc) - e.query["y"]) ** 2).mean()

    return jax.vmap(error)(episodes).mean() / (episodes.query["y"] ** 2).mean()


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


def side_by_side(learner: MetaLearner, which: Any) -> MetaLearner:
    """A meta-learner that sees one of several batches of episodes, leaves [batches, tasks, ...].

    Args:
        learner: the meta-learner.
        which: the index of the batch; may be traced, so that trainings on different data share one program.
    """

    def seen(episodes: Episode) -> Episode:
        return jax.tree.map(lambda x: x[jnp.asarray(which, jnp.int32)], episodes)

    def init(key: Key, episodes: Episode) -> MetaState:
        return learner.init(key, seen(episodes))

    def step(key: Key, state: MetaState, episodes: Episode) -> tuple[MetaState, Metrics]:
        return learner.step(key, state, seen(episodes))

    return MetaLearner(init, step, learner.curve)


def letters(scripts: Sequence[str], size: int) -> dict[str, np.ndarray]:
    """The letters of each script, uint8 [classes, 10, size, size, 1]."""
    return {script: glyphs(script, examples=10, size=size).images for script in scripts}
