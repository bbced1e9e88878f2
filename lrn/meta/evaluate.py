"""Few-shot evaluation: many tasks, each adapted to by itself; every task's result is kept.

The protocol of the field (Finn et al. 2017; Triantafillou et al. 2020): 600 tasks, the mean with its 95%
interval. That interval is over tasks, for one training; the spread over training seeds is another matter, and
usually the larger one, so runs are repeated over seeds on top.
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

# A task whose loss is above this, or is not finite, has diverged: a squared error of 1000, where targets are
# of the order of 1. A finite loss of 1e33 tells as little as an infinite one, and makes a mean as useless.
DIVERGED_ABOVE = 1e6

# Streams of tasks that no training sees: to choose on, and to be judged by.
VALIDATION, TEST = 601, 600


def per_task(
    learner: MetaLearner,
    problem: Problem,
    state: State,
    episodes: Episode,
    steps: int,
    tasks_at_once: int = 0,
) -> Mapping[str, Array]:
    """What each task's queries score after 0 to ``steps`` steps of adaptation.

    Args:
        learner, problem, state: a trained learner and what it does.
        episodes: leaves [tasks, ...].
        steps: of adaptation.
        tasks_at_once: so many adapted to together; 0 for as many as run fast.

    Returns:
        The means over the queries of each task, {name: [tasks, steps + 1]}: "loss", and "accuracy" of a
        classification.
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
        problem: what the learner does, or a function of the config that makes it.
        family: tasks to evaluate on, or a function of the data that makes them.
        tasks: how many.
        at: after how many steps of adaptation.
        tasks_at_once: tasks adapted to together.
        diverged_above: a task whose loss exceeds this, or is not finite, has diverged.

    Returns:
        A function that measures, for each score and each k of ``at``, its mean over the tasks (``loss@5``),
        half the width of its 95% interval (``loss@5 halfwidth``), its median (``loss@5 median``), and the
        fraction of tasks that have diverged (``diverged@5``). The others are of the tasks that have not, NaN
        where there is none.

    Raises:
        ValueError: a count is out of range; from the function, tasks of other outputs than the problem's.
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
        found: dict[str, Array] = {}
        for k in at:
            fine = scores["loss"][:, k] <= diverged_above
            found[f"diverged@{k}"] = (~fine).mean(dtype=jnp.float32)
            for name, values in scores.items():
                found |= summary(f"{name}@{k}", values[:, k], fine)
        return found

    return evaluate


def check_at(at: Sequence[int]) -> None:
    """Raise InputError unless these are numbers of steps, one or more."""
    if not at:
        raise check.InputError("at must hold at least one number of steps, got none; give (0, 1, 5).")
    for k in at:
        check.integer("a number of steps in at", k, low=0)


def summary(name: str, values: Array, fine: Array) -> dict[str, Array]:
    """Mean, half of its 95% interval (Student's) and median of the values [tasks] that are ``fine``."""
    count = fine.sum()
    values = jnp.where(fine, values, jnp.nan)
    # In units of the largest, whose square or sum may be no number any more: one task in a thousand diverges.
    # (Not beyond 1e36, for its reciprocal to be one.)
    unit = jnp.clip(jnp.nanmax(jnp.abs(values), initial=0.0), 1e-30, 1e36)
    scaled = values / unit
    mean = jnp.nansum(scaled) / count  # 0 / 0 if none is: no number is better than a perfect one
    deviation = unit * jnp.sqrt(jnp.nansum((scaled - mean) ** 2) / jnp.maximum(count - 1, 1))
    mean = unit * mean
    freedom = np.maximum(np.arange(values.size + 1) - 1, 1)  # for each count there can be
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
            "make them equal."
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
    """Every task's scores for every seed of a finished training (``fit.arm(name)``).

    The tasks of a seed are the same whatever was trained, so that methods are compared on paired tasks.

    Args:
        learner_of, problem, config: what was trained.
        states: leaves [seeds, ...].
        family: tasks to evaluate on.
        seeds: of the training.
        tasks, steps, tasks_at_once: as for `per_task`.

    Returns:
        {name: [seeds, tasks, steps + 1]}, on the host.

    Raises:
        ValueError: a count is out of range, there are not as many seeds as states, or the tasks have other
            outputs than the problem.
    """
    check_states(states, seeds)
    score = scorer(learner_of, problem, family, tasks=tasks, steps=steps, tasks_at_once=tasks_at_once)
    found = [score(config, seed, one) for seed, one in zip(seeds, by_seed(states, len(seeds)))]
    return {name: np.stack([np.asarray(f[name]) for f in found]) for name in found[0]}


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

    Arguments as for `per_seed_and_task`, which says the errors too. A seed's tasks in one ``stream`` are the
    same whatever was trained, other than in training, and independent of those of other streams.

    The programs for the last 16 families and learners are kept, with the arrays these close over, and found
    again by the very same functions: these must be pure, as for `jax.jit`.
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
    """The same result for the same arguments, of the last few; those without a hash are not kept."""
    kept = functools.lru_cache(16)(make)

    @functools.wraps(make)
    def found(*args: Any) -> T:
        try:
            hash(args)
        except TypeError:
            return make(*args)
        return kept(*args)

    return found


# One program for all that is compared, whatever is tuned. The tasks are drawn apart from what is done with
# them, since random numbers take longest to compile.
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
            "(fit.arm(name)) and the seeds they were trained with."
        )


def by_seed(states: State, seeds: int) -> list[State]:
    """The states of each seed, of states with leaves [seeds, ...]."""
    # On the host, where an index is no program to compile.
    host = jax.tree.map(lambda x: x if is_key(x) else np.asarray(x), states)
    return [jax.tree.map(lambda x, i=i: x[i], host) for i in range(seeds)]
