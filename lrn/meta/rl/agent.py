"""The shape of a meta-agent: a `lrn.types.Learner` that plays its own tasks and can adapt to a new task."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lrn.types import Array, Batch, Key, Metrics, Params, PyTree, State


class Adapted(NamedTuple):
    """The result of an adaptation to one task.

    params: the parameters after the last step.
    returns: [steps + 1], the mean undiscounted return of the episodes played after 0, 1, ... steps.
    """

    params: Params
    returns: Array


class MetaAgent(NamedTuple):
    """A meta-agent as pure functions, made by a factory named after the method; `lrn.train.fit` trains it.

    init: ``init(key, batch) -> state``; ``batch`` is None.
    step: ``step(key, state, batch) -> (state, metrics)``: one meta-step, which draws and plays its tasks;
        ``batch`` is None.
    adapt: ``adapt(key, state, task, steps) -> Adapted``: ``steps`` times, play a task of the
        family and adapt.
    """

    init: Callable[[Key, Batch], State]
    step: Callable[[Key, State, Batch], tuple[State, Metrics]]
    adapt: Callable[[Key, State, PyTree, int], Adapted]
