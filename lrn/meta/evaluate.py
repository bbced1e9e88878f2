"""Few-shot evaluation: the learner adapts to many tasks, each separately, and every task's score is kept.

The protocol of the field is the mean over 600 tasks with its 95% interval (Finn et al. 2017; Triantafillou et
al. 2020). This interval is over tasks, for one training. The spread over training seeds is usually larger, so
studies repeat the training over seeds as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from lrn import check
from lrn.meta.episode import Episode, TaskFamily, check_family, draw
from lrn.meta.learner import MetaLearner, map_tasks
from lrn.meta.problem import Problem
from lrn.types import Array, Key, State, is_key
from lrn.xla.runtime import jit_brief

T = TypeVar("T")

# A task diverged if its loss is above this value or not finite; where targets are of the order of 1, the
# value is an error of 1000, squared. A finite loss of 1e33 makes a mean as useless as an infinite loss.
DIVERGED_ABOVE = 1e6

# Streams of tasks that no training sees: one for the choice of settings, one for the final scores.
VALIDATION, TEST = 601, 600


def per_task(
    learner: MetaLearner,
    problem: Problem,
    state: State,
    episodes: Episode,
    steps: int,
    tasks_at_once: int = 0,
) -> Mapping[str, Array]:
    """The scores of each task's queries after 0 to ``steps`` steps of adaptation.

    Args:
        learner: the meta-learner.
        problem: its problem, which defines the scores.
        state: its trained state.
        episodes: the tasks, leaves [tasks, ...].
        steps: the largest number of steps of adaptation.
        tasks_at_once: the number of tasks adapted to together; 0 for as many as run fast.

    Returns:
        The means over the queries of each task, {name: [tasks, steps + 1]}: "loss", and for a classification
        "accuracy" in [0, 1].

    Raises:
        InputError: a count is out of range.
    """
    check.integer("steps", steps, low=0)
    check.integer("tasks_at_once", tasks_at_once, low=0)

    def one(episode: Episode) -> Mapping[str, Array]:
        outputs = learner.curve(state, episode.support, episode.query["x"], episode.code, steps)
        scores = jax.vmap(lambda out: problem.score(out, episode.query["y"]))(outputs)
        return jax.tree.map(lambda x: x.mean(axis=-1), scores)

    return map_tasks(one, episodes, tasks_at_once)


def evaluator(
    problem: Problem | Callable[[Any], Problem],
    family: TaskFamily | Callable[[Any], TaskFamily],
    *,
    tasks: int = 600,
    at: Sequence[int] = (0, 1, 5, 10),
    tasks_at_once: int = 0,
    diverged_above: float = DIVERGED_ABOVE,
) -> Callable[[Any, Any, Key, State, Any], Mapping[str, Array]]:
    """The ``evaluate=`` of `lrn.train.fit` for meta-learners.

    Args:
        problem: the learner's problem, or a function from the config to the problem.
        family: the tasks to evaluate on, or a function from the data to the family.
        tasks: the number of tasks.
        at: the numbers of steps of adaptation after which to measure.
        tasks_at_once: the number of tasks adapted to together; 0 for as many as run fast.
        diverged_above: a task whose loss exceeds this value, or is not finite, diverged.

    Returns:
        A function that measures, for each score and each k in ``at``, the mean over the tasks
        (``loss@5``), half the width of its 95% interval (``loss@5 halfwidth``), the median (``loss@5
        median``), and the fraction of tasks that diverged (``diverged@5``). Mean, interval and median
        leave out the tasks that diverged, and are NaN if all did.

    Raises:
        ValueError: a count is out of range; from the function, the tasks and the problem have different
            numbers of outputs.
    """
    check.integer("tasks", tasks, low=2)
    check.positive("diverged_above", diverged_above)
    check_at(at)

    def evaluate(learner: MetaLearner, config: Any, key: Key, state: State, data: Any) -> Mapping[str, Array]:
        made = family if isinstance(family, TaskFamily) else family(data)
        check_family(made)
        given = problem if isinstance(problem, Problem) else problem(config)
        _check_outputs(made, given)
        scores = per_task(learner, given, state, draw(made, key, tasks), max(at), tasks_at_once)
        metrics: dict[str, Array] = {}
        for k in at:
            fine = scores["loss"][:, k] <= diverged_above
            metrics[f"diverged@{k}"] = (~fine).mean(dtype=jnp.float32)
            for name, values in scores.items():
                metrics |= summary(f"{name}@{k}", values[:, k], fine)
        return metrics

    return evaluate


def check_at(at: Sequence[int]) -> None:
    """Raise InputError unless ``at`` holds one or more numbers of steps."""
    if not at:
        raise check.InputError("at must hold at least one number of steps, got none; give (0, 1, 5).")
    for k in at:
        check.integer("a number of steps in at", k, low=0)


def summary(name: str, values: Array, fine: Array) -> dict[str, Array]:
    """The mean, half of its 95% interval (Student's) and the median of some of the values.

    Args:
        name: the name of the metric.
        values: [tasks].
        fine: bool [tasks], true for the values that count.

    Returns:
        From ``name``, ``{name} halfwidth`` and ``{name} median`` to scalars.
    """
    count = fine.sum()
    values = jnp.where(fine, values, jnp.nan)
    # The values are divided by the largest, because its square, or a sum, may overflow: one task in a
    # thousand diverges. The divisor stays below 1e36, so that its reciprocal does not underflow.
    unit = jnp.clip(jnp.nanmax(jnp.abs(values), initial=0.0), 1e-30, 1e36)
    scaled = values / unit
    mean = jnp.nansum(scaled) / count  # NaN if no value counts; 0 would look like a perfect loss
    deviation = unit * jnp.sqrt(jnp.nansum((scaled - mean) ** 2) / jnp.maximum(count - 1, 1))
    mean = unit * mean
    freedom = np.maximum(np.arange(values.size + 1) - 1, 1)  # degrees of freedom for each possible count
    quantile = jnp.asarray(special.stdtrit(freedom, 0.975), mean.dtype)[count]
    return {
        name: mean,
        f"{name} halfwidth": quantile * deviation / jnp.sqrt(count),
        f"{name} median": jnp.nanmedian(values),
    }


def _check_outputs(family: TaskFamily, problem: Problem) -> None:
    if family.outputs != problem.outputs:
        raise check.InputError(
            f"the tasks {family.name} have {family.outputs} outputs and the problem {problem.outputs}; "
            "make the two equal."
        )


def per_seed_and_task(
    learner_of: Callable[[Any], MetaLearner],
    problem: Problem,
    config: Any,
    states: State,
    family: TaskFamily,
    seeds: Sequence[int],
    *,
    tasks: int = 600,
    steps: int = 10,
    tasks_at_once: int = 0,
) -> dict[str, np.ndarray]:
    """The scores of every task for every seed of a finished training (``fit.arm(name)``).

    A seed's tasks are the same for every method, so that methods are compared on paired tasks.

    Args:
        learner_of: the factory that was trained, ``learner_of(config) -> MetaLearner``.
        problem: the learner's problem.
        config: the config that was trained.
        states: the trained states, leaves [seeds, ...].
        family: the tasks to evaluate on.
        seeds: the seeds of the training.
        tasks: the number of tasks for each seed.
        steps, tasks_at_once: as for `per_task`.

    Returns:
        {name: [seeds, tasks, steps + 1]}, on the host.

    Raises:
        ValueError: a count is out of range, there is not one state for each seed, or the tasks and the
            problem have different numbers of outputs.
    """
    check_states(states, seeds)
    score = scorer(learner_of, problem, family, tasks=tasks, steps=steps, tasks_at_once=tasks_at_once)
    scores = [score(config, seed, state) for seed, state in zip(seeds, by_seed(states, len(seeds)))]
    return {name: np.stack([np.asarray(of_seed[name]) for of_seed in scores]) for name in scores[0]}


def scorer(
    learner_of: Callable[[Any], MetaLearner],
    problem: Problem,
    family: TaskFamily,
    *,
    tasks: int,
    steps: int,
    tasks_at_once: int = 0,
    stream: int = TEST,
) -> Callable[[Any, int, State], Mapping[str, Array]]:
    """``score(config, seed, state) -> {name: [tasks, steps + 1]}``, compiled once for all configs and seeds.

    The compiled programs of the last 16 families and learners are cached, together with the arrays that these
    close over. The cache is keyed by the function objects, so the functions must be pure, as for `jax.jit`.

    Args:
        learner_of, problem, family, tasks, steps, tasks_at_once: as for `per_seed_and_task`.
        stream: the stream of tasks, `VALIDATION` or `TEST`. A seed's tasks in one stream are the same for
            every method. They are independent of the tasks in training and in other streams.

    Raises:
        ValueError: as `per_seed_and_task`.
    """
    check.integer("tasks", tasks, low=1)
    check_family(family)
    _check_outputs(family, problem)

    def score(config: Any, seed: int, state: State) -> Mapping[str, Array]:
        episodes = drawn(np.uint32(stream), np.uint32(seed))
        return scored(config, episodes, state)

    drawn, scored = _drawer(family, tasks), _scorer(learner_of, problem, steps, tasks_at_once)
    return score


def _kept(make: Callable[..., T]) -> Callable[..., T]:
    """Cache the last 16 results of ``make``; calls whose arguments have no hash are not cached."""
    cached = functools.lru_cache(16)(make)

    @functools.wraps(make)
    def cached_or_made(*args: Any) -> T:
        try:
            hash(args)
        except TypeError:
            return make(*args)
        return cached(*args)

    return cached_or_made


# Tasks are drawn and scored by two programs: random numbers take longest to compile, and all configs and
# learners on one family share the program that draws.
@_kept
def _drawer(family: TaskFamily, tasks: int) -> Callable[[Any, Any], Episode]:
    return jit_brief(
        lambda stream, seed: draw(family, jax.random.fold_in(jax.random.key(stream), seed), tasks)
    )


@_kept
def _scorer(
    learner_of: Callable[[Any], MetaLearner], problem: Problem, steps: int, tasks_at_once: int
) -> Callable[[Any, Episode, State], Mapping[str, Array]]:
    return jit_brief(
        lambda config, episodes, state: per_task(
            learner_of(config), problem, state, episodes, steps, tasks_at_once
        )
    )


def check_states(states: State, seeds: Sequence[int]) -> None:
    """Raise InputError unless every array of the states has a row for each seed."""
    shapes = {x.shape[:1] for x in jax.tree.leaves(states)}
    if len(seeds) == 0 or any(shape != (len(seeds),) for shape in shapes):
        raise check.InputError(
            f"there are {len(seeds)} seeds and states of {next(iter(shapes), ())}; give the states of an arm "
            "(fit.arm(name)) and the seeds of its training."
        )


def by_seed(states: State, seeds: int) -> list[State]:
    """A list of each seed's state, from states with leaves [seeds, ...]."""
    # On the host an index needs no compiled program.
    host = jax.tree.map(lambda x: x if is_key(x) else np.asarray(x), states)
    return [jax.tree.map(lambda x, i=i: x[i], host) for i in range(seeds)]
