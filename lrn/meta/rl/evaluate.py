"""Evaluation of meta-agents: returns on new tasks after 0, 1, ... steps of adaptation.

The policy samples its actions, as in the papers, because it must explore to adapt. The return reported
before a step of adaptation is that of the episodes from which the step learns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from lrn import check
from lrn.meta.evaluate import check_at, summary
from lrn.meta.learner import map_tasks
from lrn.meta.rl.agent import MetaAgent
from lrn.meta.rl.tasks import RLTaskFamily, check_family
from lrn.types import Array, Key, State


def per_task(
    agent: MetaAgent,
    family: RLTaskFamily,
    key: Key,
    state: State,
    *,
    tasks: int = 40,
    steps: int = 3,
    tasks_at_once: int = 0,
) -> Array:
    """The mean undiscounted return on each of ``tasks`` new tasks, [tasks, steps + 1].

    Args:
        agent: the meta-agent.
        family: the tasks to evaluate on, which may differ from those of the training.
        key: the key that draws and plays the tasks.
        state: the trained state.
        tasks: the number of tasks.
        steps: the number of steps of adaptation.
        tasks_at_once: the number of tasks adapted to together; 0 for as many as run fast.

    Raises:
        ValueError: a count is out of range, or ``family`` is no `RLTaskFamily`.
    """
    check.integer("tasks", tasks, low=1)
    check.integer("steps", steps, low=0)
    check.integer("tasks_at_once", tasks_at_once, low=0)
    check_family(family)

    def one(keys: Key) -> Array:
        return agent.adapt(keys[1], state, family.sample(keys[0]), steps).returns

    return map_tasks(one, jax.random.split(key, (tasks, 2)), tasks_at_once)


def evaluator(
    family_of: RLTaskFamily | Callable[[Any], RLTaskFamily],
    *,
    tasks: int = 40,
    at: Sequence[int] = (0, 1, 2, 3),
    tasks_at_once: int = 0,
) -> Callable[[Any, Any, Key, State, Any], Mapping[str, Array]]:
    """The ``evaluate=`` of `lrn.train.fit` for meta-agents.

    Args:
        family_of: the tasks to evaluate on, or a function from the config to the family.
        tasks: the number of tasks, two or more.
        at: the numbers of steps of adaptation after which to measure.
        tasks_at_once: as for `per_task`.

    Returns:
        A function that measures, for each k in ``at``, the mean return over the tasks (``return@1``),
        half the width of its 95% interval (``return@1 halfwidth``) and the median (``return@1 median``);
        for k > 0 also the gain over the unadapted policy on the same tasks (``gain@1`` and so on). The
        intervals are over tasks, for one training; the spread over training seeds is not in them.

    Raises:
        ValueError: a count is out of range.
    """
    check.integer("tasks", tasks, low=2)
    check.integer("tasks_at_once", tasks_at_once, low=0)
    check_at(at)

    def evaluate(agent: MetaAgent, config: Any, key: Key, state: State, data: Any) -> Mapping[str, Array]:
        del data
        family = family_of if isinstance(family_of, RLTaskFamily) else family_of(config)
        returns = per_task(agent, family, key, state, tasks=tasks, steps=max(at), tasks_at_once=tasks_at_once)
        metrics: dict[str, Array] = {}
        for k in at:
            fine = jnp.isfinite(returns[:, k])
            metrics |= summary(f"return@{k}", returns[:, k], fine)
            if k:
                metrics |= summary(f"gain@{k}", returns[:, k] - returns[:, 0], fine)
        return metrics

    return evaluate
