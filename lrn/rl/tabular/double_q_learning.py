"""Double Q-learning: one table picks the best action, another gives its value (van Hasselt 2010)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from lrn.rl.agent import Agent
from lrn.rl.env import Env
from lrn.rl.tabular.control import ControlConfig, Transition, control, move
from lrn.types import Array, Example


def double_q_learning_update(
    tables: Array,
    table: Any,
    s: Any,
    a: Any,
    r: Any,
    terminated: Any,
    s_next: Any,
    step_size: Any,
    discount: Any,
) -> tuple[Array, Array]:
    """The new tables and the temporal-difference error of one transition.

    Args:
        tables: action values, [2, state, action].
        table: index of the table to update, 0 or 1; it picks the next action, and the other table values it.
        s: state.
        a: action.
        r: reward.
        terminated: whether the episode terminated; false for a truncated episode.
        s_next: the state that the action led to, before any reset.
        step_size: step size, in (0, 1].
        discount: discount per step, in [0, 1].
    """
    best = jnp.argmax(tables[table, s_next])
    target = r + discount * (1 - terminated) * tables[1 - table, s_next, best]
    return move(tables, (table, s, a), target, step_size)


def double_q_learning(env: Env, config: ControlConfig, initial: Array | None = None) -> Agent:
    """Tabular double Q-learning on an environment that observes its state one-hot (`lrn.rl.mdp.as_env`).

    Q-learning takes the maximum over noisy estimates for the value, which is too high on average. Double
    Q-learning avoids this bias by two tables with independent errors. A fair coin picks the table to update,
    the agent acts on the mean of both tables, and step sizes depend on the visits of each table.

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute).

    Args:
        env: an environment with discrete actions.
        config: settings.
        initial: action values at the start, [state, action], in place of ``config.initial``.

    Raises:
        ValueError: the actions are continuous, or ``initial`` has another shape.
    """

    def learn(tables: Array, t: Transition, step_size: Array) -> tuple[Array, Array]:
        return double_q_learning_update(
            tables, t.table, t.state, t.action, t.reward, t.terminated, t.next_state, step_size,
            config.discount,
        )  # fmt: skip

    return Agent(*control(env, config, learn, initial, tables=2))


def example() -> Example:
    """A slippery frozen lake with episodes of at most 20 steps."""
    from lrn.rl.tabular.examples import lake

    return Example(lambda config: double_q_learning(lake(), config), ControlConfig(interactions=10))
