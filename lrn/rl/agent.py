"""The shape of a deep agent: a `lrn.types.Learner` that makes its own data, with a policy to evaluate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lrn import check
from lrn.types import Array, Batch, Key, Metrics, PyTree, State

Act = Callable[[Key, State, PyTree, Array], tuple[Array, PyTree]]


def _no_sample(key: Key, state: State, memory: PyTree, observation: Array) -> Any:
    raise check.InputError(
        "this policy does not say how it explores; use its act, or make it by Policy(..., sample=) or "
        "memoryless(act, sample)."
    )


class Policy(NamedTuple):
    """What an agent would do.

    initial: ``initial(n) -> memory`` for n environments at the start of an episode; () for an agent
        without memory.
    act: ``act(key, state, memory, observation [n, ...]) -> (action [n, ...], memory)``: the greedy action
        in the environment's units. The key is for planners that search at random.
    sample: of the same form; the action drawn as training draws it in that state: from the policy where that
        is stochastic, else the greedy one with the noise, or the chance of a random one, of that moment.
    """

    initial: Callable[[int], PyTree]
    act: Act
    sample: Act = _no_sample


class Agent(NamedTuple):
    """An agent as pure functions, made by a factory named after the method; `lrn.train.fit` trains it.

    init: ``init(key, batch) -> state``; there is no batch: None.
    step: ``step(key, state, batch) -> (state, metrics)``: one iteration, which plays ``config.interactions``
        steps of the environment and learns from them.
    policy: of a state, greedy and as it explores.
    """

    init: Callable[[Key, Batch], State]
    step: Callable[[Key, State, Batch], tuple[State, Metrics]]
    policy: Policy


def memoryless(
    act: Callable[[State, Array], Array], sample: Callable[[Key, State, Array], Array] | None = None
) -> Policy:
    """A policy without memory.

    Args:
        act: ``act(state, observation [n, ...]) -> action [n, ...]``, greedy.
        sample: ``sample(key, state, observation [n, ...]) -> action [n, ...]``, as training explores.
    """

    def greedy(key: Key, state: State, memory: PyTree, observation: Array) -> tuple[Array, PyTree]:
        return act(state, observation), memory

    if sample is None:
        return Policy(lambda n: (), greedy)

    def explore(key: Key, state: State, memory: PyTree, observation: Array) -> tuple[Array, PyTree]:
        return sample(key, state, observation), memory

    return Policy(lambda n: (), greedy, explore)
