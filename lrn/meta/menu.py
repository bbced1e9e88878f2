"""Losses of adaptation under every setting of a menu: the start, its head, the rate, the number of steps.

After training, MAML, a pretrained network and a fresh one do the same: they take gradient steps from some
parameters. So one menu serves them all, and none has a setting that the others lack. Losses on validation
tasks go to `lrn.study.select.select`; the setting that it chooses is then judged on other tasks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn.meta.adapt import InnerConfig
from lrn.meta.episode import Episode
from lrn.meta.evaluate import per_task
from lrn.meta.learner import MetaState
from lrn.meta.mislead import zero_head
from lrn.meta.problem import Problem
from lrn.meta.scratch import ScratchConfig, scratch
from lrn.types import Array, PyTree

HEADS = 2  # that of the start, and one of zeros


class Menu(NamedTuple):
    """Settings of adaptation: every start with both heads, all rates and 0 to ``steps`` steps.

    problem: the problem of the methods; its body keeps no statistics.
    rates: the rates of the gradient steps, in order.
    steps: the largest number of gradient steps.
    cap: the loss of a task that is larger, or not finite, counts as this number. To leave such a task out
        would reward a method that diverges.
    """

    problem: Problem
    rates: tuple[float, ...]
    steps: int
    cap: float = 100.0

    def losses(self, starts: PyTree, episodes: Episode) -> Array:
        """The mean loss over tasks of each setting, [starts, heads, rates, steps + 1].

        Args:
            starts: parameters ``{"body", "head"}``, leaves [starts, ...].
            episodes: leaves [tasks, ...].
        """
        grid = jnp.meshgrid(jnp.arange(HEADS), jnp.array(self.rates), indexing="ij")
        heads, rates = (x.ravel() for x in grid)

        def of(start: PyTree) -> Array:
            return jax.lax.map(lambda given: self._curve(start, given[0], given[1], episodes), (heads, rates))

        losses = jax.lax.map(of, starts)
        return losses.reshape(len(losses), HEADS, len(self.rates), self.steps + 1)

    def at(self, place: Array, starts: PyTree, episodes: Episode) -> Array:
        """The mean loss over tasks after 0 to ``steps`` steps of one setting, [steps + 1].

        Args:
            place: int [3] or longer, start, head and rate by their indices in `losses`; may be traced.
            starts, episodes: as for `losses`.
        """
        start = jax.tree.map(lambda x: x[place[0]], starts)
        return self._curve(start, place[1], jnp.array(self.rates)[place[2]], episodes)

    def _curve(self, params: PyTree, head: Any, rate: Any, episodes: Episode) -> Array:
        learner = scratch(self.problem, ScratchConfig(InnerConfig(rate=rate)))
        state = MetaState(zero_head(params, where=head == 1), (), (), jnp.int32(0))
        losses = per_task(learner, self.problem, state, episodes, self.steps)["loss"]
        return jnp.where(losses <= self.cap, losses, self.cap).mean(0)
