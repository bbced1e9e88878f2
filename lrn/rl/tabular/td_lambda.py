"""TD(lambda): each error also corrects the values of earlier states, by eligibility traces (Sutton 1988).

There are three kinds of traces:

- accumulating: the original TD(lambda).
- replacing: a state counts once, however often it was visited (Singh and Sutton 1996).
- dutch: true online TD(lambda), which equals its forward view exactly (van Seijen et al. 2016).
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

    discount: discount of the predicted return, in [0, 1].
    lambda_: decay of the traces, in [0, 1]: 0 is TD(0), 1 is Monte Carlo.
    trace: kind of traces: "accumulating", "replacing" or "dutch" (true online).
    step_size: schedule of the step size over updates of a state.
    initial: value of every state at the start.
    interactions: environment steps in one learner step; each is followed by an update.
    """

    discount: float = 0.99
    lambda_: float = 0.9
    trace: str = "accumulating"
    step_size: Schedule = Schedule(0.1)
    initial: float = 0.0
    interactions: int = 100

    def __post_init__(self) -> None:
        check.between("discount", self.discount, 0, 1)
        check.between("lambda_", self.lambda_, 0, 1)
        check.choice("trace", self.trace, TRACES)
        check.between("initial", self.initial, -jnp.inf, jnp.inf)
        check.integer("interactions", self.interactions, low=1)


class TracedValues(NamedTuple):
    """State of TD(lambda).

    values: values of the states, [state].
    visits: updates of each state, int32 [state].
    trace: eligibility traces, [state]; each visit enters with its own step size.
    expected: scalar, the value that the previous step bootstrapped from; used by true online TD(lambda) only.
    """

    values: Array
    visits: Array
    trace: Array
    expected: Array


def fade(trace: Array, s: Any, step_size: Any, decay: Any, kind: str) -> Array:
    """The traces [state] after a visit of state ``s``.

    Args:
        trace: traces before the visit, [state].
        s: the visited state.
        step_size: step size of this visit.
        decay: discount times lambda.
        kind: kind of traces, one of `TRACES`.
    """
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
    """The state of TD(lambda) after one transition, and the temporal-difference error.

    Args:
        learnt: the state before; its traces must be zero at the start of an episode.
        s: state.
        r: reward.
        terminated: whether the episode terminated; false for a truncated episode.
        s_next: the next state, before any reset.
        step_size: step size, in (0, 1].
        discount: discount per step, in [0, 1].
        lambda_: decay of the traces, in [0, 1].
        kind: kind of traces, one of `TRACES`.
    """
    v, v_next = learnt.values[s], (1 - terminated) * learnt.values[s_next]
    error = r + discount * v_next - v
    trace = fade(learnt.trace, s, step_size, discount * lambda_, kind)
    values = learnt.values + error * trace
    if kind == "dutch":
        # How much the previous update changed this state's value after it was bootstrapped from.
        change = v - learnt.expected
        values = (values + change * trace).at[s].add(-step_size * change)
    return learnt._replace(values=values, trace=trace, expected=v_next), error


def td_lambda(env: Env, policy: Any, config: TDLambdaConfig) -> Learner:
    """Learn the values of a policy while it plays. The values [state] are ``state.learnt.values``.

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute).

    Args:
        env: an environment with discrete actions that observes its state one-hot (`lrn.rl.mdp.as_env`).
        policy: the policy, probabilities [state, action].
        config: settings.

    Raises:
        ValueError: the actions are continuous, or the policy does not fit the environment.
    """

    def start() -> TracedValues:
        n = states_of(env)
        values = jnp.full(n, config.initial, jnp.float32)
        return TracedValues(values, jnp.zeros(n, jnp.int32), jnp.zeros(n), values[0])

    def learn(learnt: TracedValues, e: Experience) -> tuple[TracedValues, Array]:
        visits = rates.count_at(learnt.visits, e.state)
        # At the start of an episode the traces are zero, and no step has bootstrapped yet.
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
