"""A fair comparison of methods: each method's best candidate on validation tasks is measured on test tasks.

A candidate is a config with trained states. The candidates of a method are one training under several
settings of adaptation (pretraining with many rates of fine-tuning), or several trainings (MAML with many
inner rates). Give every method the same number of candidates. The best candidate is chosen for each
number of steps separately, so that no method is judged after ten steps with the settings that suit one step.
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
    """Scores on test tasks after 0 to ``steps`` steps, each by the best candidate for that number of steps.

    Args:
        learner_of: the factory that was trained, ``learner_of(config) -> MetaLearner``.
        problem: the learner's problem.
        candidates: the candidates; their configs differ only in floats. All seeds share one choice.
        seeds: the seeds of the trainings.
        validation: the tasks on which the candidate is chosen.
        test: the tasks on which the chosen candidates are measured, or several families of tasks by name.
        steps: the largest number of steps of adaptation.
        validation_tasks: the number of validation tasks for each seed; all candidates have the same tasks.
        test_tasks: the number of test tasks for each seed and family; all methods have the same tasks.
        tasks_at_once: the number of tasks adapted to together; 0 for as many as run fast.
        diverged_above: a task whose loss exceeds this value, or is not finite, diverged; its loss counts
            as this value.

    Returns:
        ``chosen``, int [steps + 1]: for each number of steps, the index of the candidate with the least
        mean loss over seeds and validation tasks. For each score, its mean over all test tasks, [seeds,
        steps + 1]. ``diverged``, [seeds, steps + 1]: the fraction of test tasks that diverged. With
        several families the names are {f"{family}: {score}"}.

    Raises:
        ValueError: there are no candidates, the candidates differ in more than floats, the states
            are not those of the seeds, a count is out of range, or tasks and problem have
            different numbers of outputs.
    """
    check.positive("diverged_above", diverged_above)
    if not candidates:
        raise check.InputError("there are no candidates to choose from; give at least one.")
    form = jax.tree.structure(candidates[0][0])
    if any(jax.tree.structure(config) != form for config, _ in candidates[1:]):
        raise check.InputError(
            "candidates differ in more than floats; compare other settings by a call of their own."
        )
    for _, states in candidates:
        check_states(states, seeds)

    def bounded(losses: Any) -> np.ndarray:
        """The losses, ``diverged_above`` for a diverged task; leaving it out would reward divergence."""
        losses = np.asarray(losses, np.float64)
        return np.where(losses <= diverged_above, losses, diverged_above)

    def measure(
        family: TaskFamily, tasks: int, stream: int, which: Sequence[int]
    ) -> dict[int, list[Mapping[str, Any]]]:
        """From the index of a candidate to a list with each seed's scores, {name: [tasks, steps + 1]}."""
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
    means = [[bounded(s["loss"]).mean(0) for s in of_seeds] for of_seeds in seen.values()]
    chosen = np.array(means).mean(1).argmin(0)  # [steps + 1]
    results: dict[str, np.ndarray] = {"chosen": chosen}
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
        results[f"{prefix}diverged"] = 1 - (best["loss"] <= diverged_above).mean(-1)
        best["loss"] = bounded(best["loss"])
        for name, values in best.items():
            results[prefix + name] = values.mean(-1)
    return results
