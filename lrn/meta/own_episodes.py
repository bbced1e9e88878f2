"""A meta-learner that draws its episodes itself, so that each arm of a sweep has tasks of its own.

`lrn.train.fit` gives all arms of a seed the same batch. Where what is swept is the family of tasks (a dial of
`lrn.meta.families.sinusoid`, say), the batch must follow from the arm's config:

    fit(lambda c: own_episodes(maml(problem, c.maml), sinusoid(unshared=c.dial), 25), arms, seeds, steps=1000)

Arms of one seed draw from the same keys, so they see the same tasks up to what the dial changes.
"""

from __future__ import annotations

from typing import Any

import jax

from lrn import check
from lrn.meta.episode import TaskFamily, check_family, draw
from lrn.meta.learner import MetaLearner
from lrn.types import Example, Key, Metrics, State


def own_episodes(learner: MetaLearner, family: TaskFamily, tasks: int) -> MetaLearner:
    """The learner on ``tasks`` fresh tasks of ``family`` at each step; the batch it is given is ignored.

    Raises:
        ValueError: ``tasks`` is below 1, or what `lrn.meta.episode.check_family` says.
    """
    check.integer("tasks", tasks, low=1)
    check_family(family)

    def init(key: Key, batch: Any) -> State:
        draw_key, own_key = jax.random.split(key)
        return learner.init(own_key, draw(family, draw_key, tasks))

    def step(key: Key, state: State, batch: Any) -> tuple[State, Metrics]:
        draw_key, own_key = jax.random.split(key)
        return learner.step(own_key, state, draw(family, draw_key, tasks))

    def divides(state: State, batch: Any) -> int:
        if learner.divides is None:
            return 1
        return learner.divides(state, draw(family, jax.random.key(0), tasks))

    return learner._replace(init=init, step=step, divides=divides)


def example() -> Example:
    """MAML on sinusoids of which a part is random, the config; the sampler's episodes are ignored."""
    from lrn import nets
    from lrn.meta.episode import episodes
    from lrn.meta.families.sinusoid import sinusoid
    from lrn.meta.maml import MAMLConfig, maml
    from lrn.meta.problem import regression

    problem = regression(nets.mlp(None, (8,)))
    return Example(
        factory=lambda part: own_episodes(maml(problem, MAMLConfig()), sinusoid(unshared=part), 3),
        config=0.5,
        sampler=episodes(sinusoid(), 3),
    )
