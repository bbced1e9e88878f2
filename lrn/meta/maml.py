"""Model-agnostic meta-learning (MAML; Finn, Abbeel and Levine 2017), of second or first order.

The meta-gradient is the gradient of the query loss after a few steps on the support set. It either passes
through these steps (``order="second"``), or takes them as constant shifts (``"first"``, FOMAML).

Beyond a naive implementation:
- One vmap computes all tasks, in place of a loop with a clone of the network for each task.
- `jax.checkpoint` saves memory in long inner loops, groups of tasks save memory for large networks.
- The inner loop takes any optax optimizer and any number of steps, and the number may differ at test.
- The source of BatchNorm's statistics is an explicit choice (`lrn.meta.problem`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optax

from lrn import check
from lrn.config import config
from lrn.meta.adapt import InnerConfig, check_inner
from lrn.meta.episode import Episode
from lrn.meta.inner import PARTS, adapt_part, curve_of, judged
from lrn.meta.learner import MetaLearner, MetaState, by_gradient, of_tasks
from lrn.meta.problem import Problem
from lrn.types import Array, Batch, Example, Goal, Key, NetState, Params, PyTree


@config
class MAMLConfig:
    """Settings; the defaults are those of the sinusoids.

    inner: the settings of the inner loop.
    meta_rate: the learning rate of the outer optimizer.
    optimizer: ``optimizer(meta_rate) -> optax.GradientTransformation``, the outer optimizer.
    tasks_at_once: the number of tasks whose gradients are computed together, a divisor of the number of
        tasks; 0 for as many as run fast.
    """

    inner: InnerConfig = InnerConfig()
    meta_rate: float = 1e-3
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam
    tasks_at_once: int = 0

    def __post_init__(self) -> None:
        check_inner("inner", self.inner)
        check.positive("meta_rate", self.meta_rate)
        check.integer("tasks_at_once", self.tasks_at_once, low=0)


def maml(problem: Problem, config: MAMLConfig, adapted: str = "all") -> MetaLearner:
    """Learn an initialization from which a few steps on the support set solve a task.

    Metrics are means over the tasks: ``loss`` of the queries after the inner loop, and the problem's other
    scores (``accuracy``, in [0, 1], for a classification).

    Args:
        problem: the network and the loss.
        config: the settings of both loops.
        adapted: the part that the inner loop changes: "all", "head" (see `lrn.meta.anil`) or "body" (see
            `lrn.meta.boil`).

    Raises:
        InputError: ``adapted`` is unknown; from the training, the tasks do not divide into groups of
            ``tasks_at_once``.
    """
    check.choice("adapted", adapted, PARTS)

    def loss(key: Key, meta: Params, net_state: NetState, episode: Episode, count: Array) -> Any:
        del count
        support = episode.support
        inner_key, outer_key = problem.training_keys(key, meta["body"], net_state, support["x"])
        params, _ = adapt_part(problem, meta, net_state, support, config.inner, adapted, key=inner_key)
        return judged(problem, params, net_state, episode, outer_key)

    def curve(state: MetaState, support: Batch, x: Array, code: PyTree, steps: int) -> Array:
        del code
        return curve_of(problem, state.meta, state.net_state, support, x, config.inner, steps, adapted)

    return by_gradient(
        problem.init, of_tasks(loss, config.tasks_at_once), curve, config.optimizer(config.meta_rate)
    )


def example_of(factory: Callable[[Problem, Any], MetaLearner], config: Any = None) -> Example:
    """A small network on the sinusoids, for ``factory(problem, config)``."""
    from lrn import nets
    from lrn.meta.episode import episodes
    from lrn.meta.families.sinusoid import sinusoid
    from lrn.meta.problem import regression

    problem = regression(nets.mlp(None, (8,)))
    settings = MAMLConfig(inner=InnerConfig(steps=2)) if config is None else config
    return Example(
        factory=lambda config: factory(problem, config), config=settings, sampler=episodes(sinusoid(), 3)
    )


def example() -> Example:
    """A small network on the sinusoids."""
    return example_of(maml)._replace(solves=Goal("loss", below=5.0))
