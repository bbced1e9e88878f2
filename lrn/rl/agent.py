"""The shape of a deep agent: a `lrn.types.Learner` that makes its own data, with a policy to evaluate."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lrn.types import Array, Batch, Key, Metrics, PyTree, State


class Policy(NamedTuple):
    """What an agent would do without exploring.

    initial: ``initial(n) -> memory`` for n environments at the start of an episode; () for an agent
        without memory.
    act: ``act(key, state, memory, observation [n, ...]) -> (action [n, ...], memory)``: the greedy action
        in the environment's units. The key is for planners that search at random.
    """

    initial: Callable[[int], PyTree]
    act: Callable[[Key, State, PyTree, Array], tuple[Array, PyTree]]


class Agent(NamedTuple):
    """An agent as pure functions, made by a factory named after the method; `lrn.train.fit` trains it.

    init: ``init(key, batch) -> state``; there is no batch: None.
    step: ``step(key, state, batch) -> (state, metrics)``: one iteration, which plays ``config.interactions``
        steps of the environment and learns from them.
    policy: the greedy policy of a state.
    """

    init: Callable[[Key, Batch], State]
    step: Callable[[Key, State, Batch], tuple[State, Metrics]]
    policy: Policy


def memoryless(act: Callable[[State, Array], Array]) -> Policy:
    """A policy from ``act(state, observation [n, ...]) -> action [n, ...]``."""
    return Policy(lambda n: (), lambda key, state, memory, observation: (act(state, observation), memory))
