"""Model-agnostic meta-learning (Finn, Abbeel and Levine 2017), second order or first.

The meta-gradient is that of the query loss after a few steps on the support set, taken through those steps
(``order="second"``) or not (``"first"``, FOMAML).

What the naive version misses, and this one has:
- All tasks at once: one vmap, not a loop with a clone of the network for each task.
- `jax.checkpoint` for long inner loops, groups of tasks for large ones.
- An inner loop of any length, any optax optimizer, and other lengths at test than in training.
- BatchNorm's statistics are a choice with a name (`lrn.meta.problem`), not an accident.
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
from lrn.types import Array, Batch, Example, Key, NetState, Params, PyTree


@config
class MAMLConfig:
    """Settings; the defaults are those of the sinusoids.

    inner: the inner loop.
    meta_rate: of the outer optimizer. optimizer: ``optimizer(meta_rate)``, the outer one.
    tasks_at_once: tasks whose gradients are taken together; 0 for as many as run fast.
    """

    inner: InnerConfig = InnerConfig()
    meta_rate: float = 1e-3
    optimizer: Callable[[Any], optax.GradientTransformation] = optax.adam
    tasks_at_once: int = 0

    def __post_init__(self):
        check_inner("inner", self.inner)
        check.positive("meta_rate", self.meta_rate)
        check.integer("tasks_at_once", self.tasks_at_once, low=0)


def maml(problem: Problem, config: MAMLConfig, adapted: str = "all") -> MetaLearner:
    """Learn an initialization from which a few steps on the support set do a task.

    Args:
        problem: the network and the loss.
        config: of both loops.
        adapted: what the inner loop changes: "all", "head" (see `lrn.meta.anil`) or "body" (`lrn.meta.boil`).

    Metrics, means over the tasks: ``loss`` of the queries after the inner loop, and what else the problem
    scores (``accuracy``).
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
    return example_of(maml)
