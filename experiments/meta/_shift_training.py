"""The trainings of the study of narrow training: MAML, pooled pretraining, a fresh network.

Sinusoids come in lessons of a curriculum. Letters drawn from fonts are 48 of one script, or 16 of each of
three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.meta._curricula import in_order, lesson
from experiments.meta._scripts import CLASSES, SIZE
from experiments.meta._shift_arms import (
    COSTS,
    CURRICULA,
    LENGTHS,
    LETTERS,
    MAML,
    NARROW,
    POOLED,
    SCRATCH,
    SIZES,
    STARTS,
    WAVES,
    WAYS,
    WIDE,
    named,
    starts,
)
from lrn import nets
from lrn.config import config
from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import Episode, draw
from lrn.meta.families.few_shot import few_shot
from lrn.meta.learner import MetaLearner, MetaState
from lrn.meta.maml import MAMLConfig, maml
from lrn.meta.mislead import zero_head
from lrn.meta.pooled import PooledConfig, pooled
from lrn.meta.problem import Problem, classification, regression
from lrn.meta.scratch import ScratchConfig, scratch
from lrn.study.context import Context
from lrn.types import Array, Key, Metrics, PyTree, Sampler

# The first and the last breadth of the lessons, and their order: 0 forwards, 1 backwards, 2 random.
COURSES = {NARROW: (0.0, 0.0, 0.0), WIDE: (1.0, 1.0, 0.0)} | {
    name: (0.0, 1.0, float(order)) for order, name in enumerate(CURRICULA)
}
OUTER = {WAVES: 3e-3, LETTERS: 1e-3}  # MAML's rate of Adam


@config
class Course:
    """One training: the breadth of its first and last lesson, their order (see COURSES), and a setting."""

    first: float
    last: float
    order: float
    setting: float


def courses(part: str, method: str, training: str, length: int = 1) -> dict[str, Course]:
    """The trainings of a method by which it has three starts."""
    name = named(part, method, training, length)
    return {f"{name}, start {x:g}": Course(*COURSES[training], x) for x in STARTS[part][method]}


def problem_of(part: str) -> Problem:
    """The network and its loss."""
    if part == WAVES:
        return regression(nets.mlp(None, (40, 40), activation="tanh"))
    return classification(nets.mlp(None, (64, 64)), WAYS)


def learner(part: str, method: str, tasks: int, iterations: int, course: Course) -> MetaLearner:
    """One training; sinusoids come in lessons of so many tasks, letters from `both`."""
    problem = problem_of(part)
    made = {
        MAML: maml(problem, MAMLConfig(InnerConfig(rate=course.setting), OUTER[part])),
        POOLED: pooled(problem, PooledConfig(meta_rate=course.setting), CLASSES if part == LETTERS else 0),
        SCRATCH: scratch(problem, ScratchConfig(scale=course.setting)),
    }[method]
    if part == WAVES:
        order = (course.first, course.last, course.order)
        return in_order(made, lesson, order, tasks=tasks, iterations=iterations)
    which = jnp.asarray(course.first, jnp.float32).astype(jnp.int32)

    def init(key: Key, batch: Episode) -> MetaState:
        return made.init(key, jax.tree.map(lambda x: x[which], batch))

    def step(key: Key, state: MetaState, batch: Episode) -> tuple[MetaState, Metrics]:
        return made.step(key, state, jax.tree.map(lambda x: x[which], batch))

    return MetaLearner(init, step, made.curve)


def both(tasks: int) -> Sampler:
    """So many tasks of narrow and of wide letters, leaves [2, tasks, ...]."""

    def some(key: Key, data: Mapping[str, Array]) -> Episode:
        one = [draw(few_shot(data["images"][i], WAYS, 1, 3), key, tasks) for i in range(2)]
        return jax.tree.map(lambda *x: jnp.stack(x), *one)

    return Sampler(some)


def start_of(part: str, state: Any) -> PyTree:
    """The parameters from which a trained state adapts, leaves as those of the state."""
    if part == WAVES:
        return state.inner.meta
    head = state.meta["head"]["bias"].shape[-1] != WAYS  # of a pooled training, for all letters
    return zero_head(state.meta, WAYS) if head else state.meta


def apart(context: Context, tables: np.ndarray) -> None:
    """Record how many of the test letters a training had, as "letters, narrow" and "letters, wide".

    Args:
        context: batches of its trainings hold the tasks of both.
        tables: the test letters of `letters`.
    """
    for i, t in enumerate((NARROW, WIDE)):
        new = tables[:, [i, 2]].reshape(len(tables), -1, SIZE, SIZE, 1) / np.float32(255)
        like = next(iter(courses(LETTERS, MAML, t)))
        seen = partial(jax.tree.map, lambda x, i=i: x[i])
        context.judged_on(f"{LETTERS}, {t}", new, trained_like=like, seen=seen, by_seed=True)


def trained(
    context: Context,
    part: str,
    lengths: Sequence[int],
    iterations: int,
    tasks: int,
    tables: Mapping[str, np.ndarray],
) -> dict[str, PyTree]:
    """By name, the parameters to start from, leaves [seeds, starts, ...].

    Args:
        context: records what each training was given, and the targets of the curricula.
        part: sinusoids or letters.
        lengths: the divisors of the iterations; sinusoids only.
        iterations: of MAML. tasks: of an iteration. tables: see `letters`; none for sinusoids.
    """
    every, params, data = starts(part, lengths), {}, {}
    if part == LETTERS:
        data = {"sampler": both(tasks), "data": {}, "per_seed": {"images": tables["training"]}}
    for method, n in dict.fromkeys((method, n) for method, _, n in every.values()):
        those = {name: t or NARROW for name, (m, t, o) in every.items() if (m, o) == (method, n)}
        arms = {name: courses(part, method, t, n) for name, t in those.items()}
        cost = COSTS[part].get(method, 0)
        steps = iterations * COSTS[part][MAML] // (cost * n) if cost else 1
        fit = context.fit(
            partial(learner, part, method, tasks, steps),
            {k: c for each in arms.values() for k, c in each.items()},
            name=f"{method} on {part}{LENGTHS[n]}",
            steps=steps,
            **data,
        )
        for name, each in arms.items():
            params[name] = jax.tree.map(
                lambda *x: np.stack(x, 1), *(start_of(part, fit.arm(k)) for k in each)
            )
            context.given(f"{part}: {name}", {"gradients": steps * tasks * cost})
            if part == WAVES and n == 1 and those[name] in CURRICULA:
                sizes = [fit.table.curve(k, "size")[1].mean(1) for k in each]
                context.record(name, SIZES, np.mean(sizes, 0))
    return {name: params[name] for name in every}
