"""The interface of a deep agent: a `lrn.types.Learner` that plays for its own data, and a policy."""

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
    """The policy of an agent: functions from an agent's state and observations to actions.

    initial: ``initial(n) -> memory``, the memory of n environments at the start of an episode; () for an
        agent without memory.
    act: ``act(key, state, memory, observation [n, ...]) -> (action [n, ...], memory)``, the greedy action in
        the environment's units. Only planners that search at random use the key.
    sample: a function with the arguments and results of ``act``; it draws the action as training would in
        that state. A stochastic policy is sampled. A deterministic policy is played with the exploration
        noise, or the chance of a random action, that the state prescribes.
    """

    initial: Callable[[int], PyTree]
    act: Act
    sample: Act = _no_sample


class Agent(NamedTuple):
    """An agent as pure functions, made by a factory named after the method; `lrn.train.fit` trains it.

    init: ``init(key, batch) -> state``, the state before training. The batch is None, since an agent makes
        its own data.
    step: ``step(key, state, batch) -> (state, metrics)``, one iteration: it plays ``config.interactions``
        steps of the environment and learns from them. The batch is None.
    policy: the policy of a state, greedy and exploring.
    """

    init: Callable[[Key, Batch], State]
    step: Callable[[Key, State, Batch], tuple[State, Metrics]]
    policy: Policy


def memoryless(
    act: Callable[[State, Array], Array], sample: Callable[[Key, State, Array], Array] | None = None
) -> Policy:
    """A policy without memory.

    Args:
        act: ``act(state, observation [n, ...]) -> action [n, ...]``, the greedy action.
        sample: ``sample(key, state, observation [n, ...]) -> action [n, ...]``, the action as training
            explores. Without it, the policy's ``sample`` raises InputError.
    """

    def greedy(key: Key, state: State, memory: PyTree, observation: Array) -> tuple[Array, PyTree]:
        return act(state, observation), memory

    if sample is None:
        return Policy(lambda n: (), greedy)

    def explore(key: Key, state: State, memory: PyTree, observation: Array) -> tuple[Array, PyTree]:
        return sample(key, state, observation), memory

    return Policy(lambda n: (), greedy, explore)
