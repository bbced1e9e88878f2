"""Methods compared along a dial of a task family, such as how much the tasks share.

At each position, `Dial.validated` measures the starts of every method under one menu of settings, on
validation tasks. `Dial.judged` measures the chosen settings on other tasks, and beside them a predictor that
is told the task. Both are pure functions of one seed, as `lrn.study.context.Context.per_seed` takes them, and
one program serves all positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lrn.config import config
from lrn.meta.episode import Episode, TaskFamily, draw
from lrn.meta.evaluate import TEST, VALIDATION
from lrn.meta.menu import Menu
from lrn.meta.mislead import wrong_support
from lrn.types import Array, PyTree

OfSeed = tuple[Any, Mapping[str, PyTree]]  # a seed, and the parameters that each method starts from


@config
class Arm:
    """One training of a sweep along a dial: a position, and one more number, such as a rate."""

    position: float
    setting: float


class Dial(NamedTuple):
    """A family with a dial.

    family: ``family(position) -> TaskFamily``; the position is traced.
    positions: the positions of the dial.
    menu: the settings of adaptation.
    told: ``told(episode, position) -> outputs``: what the best predictor that is told the task predicts for
        the queries.
    """

    family: Callable[[Any], TaskFamily]
    positions: tuple[float, ...]
    menu: Menu
    told: Callable[[Episode, Any], Array]

    def validated(self, tasks: int, one: OfSeed, shared: Any = None) -> dict[str, Array]:
        """Losses on validation tasks, by method, [positions, starts, heads, rates, steps + 1].

        Args:
            tasks: the number of tasks.
            one: the seed of the tasks, which are the same for all methods; and, by method, the parameters to
                adapt from, leaves [positions, starts, ...].
            shared: unused; `Context.per_seed` passes it.
        """
        seed, starts = one

        def at(given: Any) -> dict[str, Array]:
            position, own = given
            episodes = self._tasks(position, VALIDATION, seed, tasks)
            return {method: self.menu.losses(each, episodes) for method, each in own.items()}

        return jax.lax.map(at, (jnp.array(self.positions), dict(starts)))

    def judged(self, tasks: int, one: OfSeed, places: Mapping[str, Array]) -> dict[str, Array]:
        """Losses on test tasks of what was chosen, each [positions].

        Args:
            tasks, one: as for `validated`.
            places: by method, int [positions, 4]: start, head, rate and number of steps.

        Returns:
            For every method ``"<method>: loss"``, ``"<method>: loss before adaptation"``, and, adapted to the
            support set of another task, ``"<method>: loss by a wrong support set"``; and ``"told: loss"``.
        """
        seed, starts = one

        def at(given: Any) -> dict[str, Array]:
            position, own, place = given
            episodes = self._tasks(position, TEST, seed, tasks)
            told = jax.vmap(lambda e: self.menu.problem.loss(self.told(e, position), e.query["y"]))(episodes)
            losses = {"told: loss": told.mean()}
            for method, each in own.items():
                right = self.menu.at(place[method], each, episodes)
                wrong = self.menu.at(place[method], each, wrong_support(episodes))
                step = place[method][3]
                losses |= {
                    f"{method}: loss": right[step],
                    f"{method}: loss before adaptation": right[0],
                    f"{method}: loss by a wrong support set": wrong[step],
                }
            return losses

        return jax.lax.map(at, (jnp.array(self.positions), dict(starts), dict(places)))

    def _tasks(self, position: Any, stream: int, seed: Any, tasks: int) -> Episode:
        return draw(self.family(position), jax.random.fold_in(jax.random.key(stream), seed), tasks)
