"""Methods compared fairly: each has its candidates, the best on validation tasks is measured on test tasks.

A candidate is a config with trained states: one training under several settings of adaptation (pretraining
with many rates of fine-tuning), or several trainings (MAML with many inner rates). Methods compared get
equally many. Which one is best is asked for each number of steps by itself, so that a method that is made for
one step is not judged by ten with settings for one, and neither is its baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from lrn import check
from lrn.meta.episode import TaskFamily
from lrn.meta.evaluate import DIVERGED_ABOVE, TEST, VALIDATION, by_seed, check_states, scorer
from lrn.meta.learner import MetaLearner
from lrn.meta.problem import Problem
from lrn.types import State

Candidate = tuple[Any, State]  # a config, and states with leaves [seeds, ...]


def tuned(
    learner_of: Callable[[Any], MetaLearner],
    problem: Problem,
    candidates: Sequence[Candidate],
    seeds: Sequence[int],
    *,
    validation: TaskFamily,
    test: TaskFamily | Mapping[str, TaskFamily],
    steps: int = 10,
    validation_tasks: int = 200,
    test_tasks: int = 600,
    tasks_at_once: int = 0,
    diverged_above: float = DIVERGED_ABOVE,
) -> dict[str, np.ndarray]:
    """Scores after 0 to ``steps`` steps, each by the candidate that does best then on validation tasks.

    Args:
        learner_of, problem: what was trained; the configs differ in floats only.
        candidates: settings to choose from; one choice for all seeds.
        seeds: of the trainings.
        validation: tasks to choose on.
        test: tasks to measure on, or several families of them, named.
        steps: of adaptation, the most.
        validation_tasks, test_tasks: how many a seed, the same for whatever is compared; of each family.
        tasks_at_once: so many adapted to together; 0 for as many as run fast.
        diverged_above: a task whose loss exceeds this, or is not finite, has diverged; its loss counts as
            this.

    Returns:
        ``chosen``, int [steps + 1], the candidate for each number of steps: that of the least mean loss over
        seeds and validation tasks. Further, for each score its mean over all test tasks, those that have
        diverged among them, [seeds, steps + 1], and ``diverged``, their fraction; for several families
        {f"{family}: {score}"}.

    Raises:
        ValueError: no candidates, candidates that differ in more than floats, states of other seeds, a count
            out of range, or tasks of other outputs than the problem's.
    """
    check.positive("diverged_above", diverged_above)
    if not candidates:
        raise check.InputError("there are no candidates to choose from; give at least one.")
    form = jax.tree.structure(candidates[0][0])
    if any(jax.tree.structure(config) != form for config, _ in candidates[1:]):
        raise check.InputError(
            "candidates differ in more than floats; compare one method's settings, and others in other calls."
        )
    for _, states in candidates:
        check_states(states, seeds)

    def bounded(losses: Any) -> np.ndarray:
        """With what a diverged task counts as; to leave it out would reward a method that diverges."""
        losses = np.asarray(losses, np.float64)
        return np.where(losses <= diverged_above, losses, diverged_above)

    def measure(
        family: TaskFamily, tasks: int, stream: int, which: Sequence[int]
    ) -> dict[int, list[Mapping[str, Any]]]:
        """Of each of these candidates, for each seed {name: [tasks, steps + 1]}."""
        score = scorer(
            learner_of, problem, family, tasks=tasks, steps=steps, tasks_at_once=tasks_at_once, stream=stream
        )
        return {
            i: [
                jax.device_get(score(candidates[i][0], seed, one))
                for seed, one in zip(seeds, by_seed(candidates[i][1], len(seeds)))
            ]
            for i in which
        }

    seen = measure(validation, validation_tasks, VALIDATION, range(len(candidates)))
    losses = np.array([[bounded(scores["loss"]).mean(0) for scores in each] for each in seen.values()]).mean(
        1
    )
    chosen = losses.argmin(0)  # [steps + 1]
    found: dict[str, np.ndarray] = {"chosen": chosen}
    families = {"": test} if isinstance(test, TaskFamily) else test
    for family, tasks in families.items():
        scores = measure(tasks, test_tasks, TEST, sorted(set(chosen.tolist())))
        best = {
            name: np.array(
                [[scores[c][s][name][:, k] for k, c in enumerate(chosen)] for s in range(len(seeds))]
            )
            for name in scores[chosen[0]][0]
        }  # [seeds, steps + 1, tasks]
        prefix = f"{family}: " if family else ""
        found[f"{prefix}diverged"] = 1 - (best["loss"] <= diverged_above).mean(-1)
        best["loss"] = bounded(best["loss"])
        for name, values in best.items():
            found[prefix + name] = values.mean(-1)
    return found
