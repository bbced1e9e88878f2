"""TD(0): each value moves towards the reward plus the discounted next value (Sutton 1988)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl import rates
from lrn.rl.env import Env
from lrn.rl.tabular.control import move, states_of
from lrn.rl.tabular.prediction import Experience, prediction
from lrn.rl.tabular.schedule import Schedule
from lrn.types import Array, Example, Learner


@config
class TDConfig:
    """Settings.

    discount: discount of the predicted return, in [0, 1].
    step_size: schedule of the step size over updates of a state.
    initial: value of every state at the start.
    interactions: environment steps in one learner step; each is followed by an update.
    """

    discount: float = 0.99
    step_size: Schedule = Schedule(0.1)
    initial: float = 0.0
    interactions: int = 100

    def __post_init__(self) -> None:
        check.between("discount", self.discount, 0, 1)
        check.between("initial", self.initial, -jnp.inf, jnp.inf)
        check.integer("interactions", self.interactions, low=1)


class Values(NamedTuple):
    """State of TD(0).

    values: values of the states, [state].
    visits: updates of each state, int32 [state].
    """

    values: Array
    visits: Array


def td_update(
    values: Array, s: Any, r: Any, terminated: Any, s_next: Any, step_size: Any, discount: Any
) -> tuple[Array, Array]:
    """The new values and the temporal-difference error of one transition.

    Args:
        values: values of the states, [state].
        s: state.
        r: reward.
        terminated: whether the episode terminated; false for a truncated episode.
        s_next: the next state, before any reset.
        step_size: step size, in (0, 1].
        discount: discount per step, in [0, 1].
    """
    return move(values, s, r + discount * (1 - terminated) * values[s_next], step_size)


def td(env: Env, policy: Any, config: TDConfig) -> Learner:
    """Learn the values of a policy while it plays. The values [state] are ``state.learnt.values``.

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute).

    Args:
        env: an environment with discrete actions that observes its state one-hot (`lrn.rl.mdp.as_env`).
        policy: the policy, probabilities [state, action].
        config: settings.

    Raises:
        ValueError: the actions are continuous, or the policy does not fit the environment.
    """

    def start() -> Values:
        n = states_of(env)
        return Values(jnp.full(n, config.initial, jnp.float32), jnp.zeros(n, jnp.int32))

    def learn(learnt: Values, e: Experience) -> tuple[Values, Array]:
        visits = rates.count_at(learnt.visits, e.state)
        step_size = config.step_size(visits[e.state])
        values, error = td_update(
            learnt.values, e.state, e.reward, e.terminated, e.next_state, step_size, config.discount
        )
        return Values(values, visits), error

    return Learner(*prediction(env, policy, config.interactions, start, learn))


def example() -> Example:
    """The random walk of 19 states."""
    from lrn.rl.tabular.examples import walk

    env = walk()
    return Example(lambda config: td(env, jnp.full((21, 2), 0.5), config), TDConfig(interactions=10))
