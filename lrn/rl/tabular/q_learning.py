"""Q-learning: learn the values of the greedy policy while any policy acts (Watkins and Dayan 1992)."""

from __future__ import annotations

from typing import Any

from lrn.rl.agent import Agent
from lrn.rl.env import Env
from lrn.rl.tabular.control import ControlConfig, Transition, control, move
from lrn.types import Array, Example


def q_learning_update(
    q: Array, s: Any, a: Any, r: Any, terminated: Any, s_next: Any, step_size: Any, discount: Any
) -> tuple[Array, Array]:
    """The new table and the temporal-difference error of one transition.

    Args:
        q: action values, [state, action].
        s: state.
        a: action.
        r: reward.
        terminated: whether the episode terminated; false for a truncated episode.
        s_next: the state that the action led to, before any reset.
        step_size: step size, in (0, 1].
        discount: discount per step, in [0, 1].
    """
    return move(q, (s, a), r + discount * (1 - terminated) * q[s_next].max(), step_size)


def q_learning(env: Env, config: ControlConfig, initial: Array | None = None) -> Agent:
    """Tabular Q-learning on an environment that observes its state one-hot (`lrn.rl.mdp.as_env`).

    Q-learning converges to the optimal action values with probability one if every (state, action) keeps
    being tried and step sizes meet the Robbins-Monro conditions, as ``Schedule(power=0.7)`` does.

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute).

    Args:
        env: an environment with discrete actions.
        config: settings.
        initial: action values at the start, [state, action], in place of ``config.initial``.

    Raises:
        ValueError: the actions are continuous, or ``initial`` has another shape.
    """

    def learn(tables: Array, t: Transition, step_size: Array) -> tuple[Array, Array]:
        q, error = q_learning_update(
            tables[0], t.state, t.action, t.reward, t.terminated, t.next_state, step_size, config.discount
        )
        return q[None], error

    return Agent(*control(env, config, learn, initial))


def example() -> Example:
    """A slippery frozen lake with episodes of at most 20 steps."""
    from lrn.rl.tabular.examples import lake

    return Example(lambda config: q_learning(lake(), config), ControlConfig(interactions=10))
