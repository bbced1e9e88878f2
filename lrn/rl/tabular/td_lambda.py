"""TD(lambda): every step corrects the states before it too, by traces that fade (Sutton 1988).

Three kinds of trace. Accumulating ones are TD(lambda) proper, replacing ones count a state once however often
it was visited (Singh and Sutton 1996), and dutch ones make the online algorithm equal to its forward view
exactly: true online TD(lambda) (van Seijen et al. 2016).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl import rates
from lrn.rl.env import Env
from lrn.rl.tabular.control import states_of
from lrn.rl.tabular.prediction import Experience, prediction
from lrn.rl.tabular.schedule import Schedule
from lrn.types import Array, Example, Learner

TRACES = ("accumulating", "replacing", "dutch")


@config
class TDLambdaConfig:
    """Settings.

    discount: of the return that is predicted.
    lambda_: 0 is TD(0), 1 Monte Carlo.
    trace: "accumulating", "replacing" or "dutch" (true online).
    step_size: at the n-th update of a state.
    initial: value of every state at first.
    interactions: environment steps, each with its update, in one learner step.
    """

    discount: float = 0.99
    lambda_: float = 0.9
    trace: str = "accumulating"
    step_size: Schedule = Schedule(0.1)
    initial: float = 0.0
    interactions: int = 100

    def __post_init__(self):
        check.between("discount", self.discount, 0, 1)
        check.between("lambda_", self.lambda_, 0, 1)
        check.choice("trace", self.trace, TRACES)
        check.between("initial", self.initial, -jnp.inf, jnp.inf)
        check.integer("interactions", self.interactions, low=1)


class TracedValues(NamedTuple):
    """What TD(lambda) keeps.

    values: [state]. visits: [state], updates of each. trace: [state], step sizes included, so that each
        visit counts with the step size it had.
    expected: the value that the last step bootstrapped from; only true online TD(lambda) asks.
    """

    values: Array
    visits: Array
    trace: Array
    expected: Array


def fade(trace: Array, s: Any, step_size: Any, decay: Any, kind: str) -> Array:
    """The trace [state] after a visit of ``s``; ``decay`` is discount times lambda."""
    faded = decay * trace
    if kind == "accumulating":
        return faded.at[s].add(step_size)
    if kind == "replacing":
        return faded.at[s].set(step_size)
    return faded.at[s].add(step_size * (1 - faded[s]))


def td_lambda_update(
    learnt: TracedValues,
    s: Any,
    r: Any,
    terminated: Any,
    s_next: Any,
    step_size: Any,
    discount: Any,
    lambda_: Any,
    kind: str = "accumulating",
) -> tuple[TracedValues, Array]:
    """What is known after one transition, and its temporal-difference error.

    Args:
        learnt: values, trace and the rest; the trace must be zero at the start of an episode.
        s: state.
        r: reward.
        terminated: whether nothing can follow; false for a truncated episode.
        s_next: the state that followed, before any reset.
        step_size: in (0, 1].
        discount: in [0, 1].
        lambda_: in [0, 1].
        kind: of the trace, one of `TRACES`.
    """
    v, v_next = learnt.values[s], (1 - terminated) * learnt.values[s_next]
    error = r + discount * v_next - v
    trace = fade(learnt.trace, s, step_size, discount * lambda_, kind)
    values = learnt.values + error * trace
    if kind == "dutch":
        # What the last update did to this state's value since it was bootstrapped from.
        change = v - learnt.expected
        values = (values + change * trace).at[s].add(-step_size * change)
    return learnt._replace(values=values, trace=trace, expected=v_next), error


def td_lambda(env: Env, policy: Any, config: TDLambdaConfig) -> Learner:
    """Learn the values of ``policy`` [state, action] while it plays; ``state.learnt.values`` [state].

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute).

    Args:
        env: discrete actions, and states observed one-hot (`lrn.rl.mdp.as_env`).
        policy: [state, action], probabilities.
        config: settings.

    Raises:
        ValueError: continuous actions, or a policy that is none for this environment.
    """

    def start() -> TracedValues:
        n = states_of(env)
        values = jnp.full(n, config.initial, jnp.float32)
        return TracedValues(values, jnp.zeros(n, jnp.int32), jnp.zeros(n), values[0])

    def learn(learnt: TracedValues, e: Experience) -> tuple[TracedValues, Array]:
        visits = rates.count_at(learnt.visits, e.state)
        # At the start of an episode the trace is zero and nothing was bootstrapped yet.
        begun = (learnt.trace > 0).any()
        expected = jnp.where(begun, learnt.expected, learnt.values[e.state])
        learnt, error = td_lambda_update(
            learnt._replace(visits=visits, expected=expected), e.state, e.reward, e.terminated, e.next_state,
            config.step_size(visits[e.state]), config.discount, config.lambda_, config.trace,
        )  # fmt: skip
        return learnt._replace(trace=jnp.where(e.ended, 0.0, learnt.trace)), error

    return Learner(*prediction(env, policy, config.interactions, start, learn))


def example() -> Example:
    """The random walk of 19 states."""
    from lrn.rl.tabular.examples import walk

    env = walk()
    return Example(
        lambda config: td_lambda(env, jnp.full((21, 2), 0.5), config), TDLambdaConfig(interactions=10)
    )
