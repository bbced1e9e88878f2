"""Q-learning: learn about the greedy policy whatever is done (Watkins and Dayan 1992)."""

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
        q: [state, action].
        s: state.
        a: action.
        r: reward.
        terminated: whether nothing can follow; false for a truncated episode.
        s_next: the state that the action led to, before any reset.
        step_size: in (0, 1].
        discount: in [0, 1].
    """
    return move(q, (s, a), r + discount * (1 - terminated) * q[s_next].max(), step_size)


def q_learning(env: Env, config: ControlConfig, initial: Array | None = None) -> Agent:
    """Tabular Q-learning on an environment that observes its state one-hot (`lrn.rl.mdp.as_env`).

    It converges to the optimal action values with probability one, if every (state, action) keeps being
    tried and step sizes meet the Robbins-Monro conditions, as ``Schedule(power=0.7)`` does.

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute).

    Args:
        env: discrete actions.
        config: settings.
        initial: action values [state, action] to begin with, in place of ``config.initial``.

    Raises:
        ValueError: continuous actions, or an ``initial`` of the wrong shape.
    """

    def learn(tables: Array, t: Transition, step_size: Array) -> tuple[Array, Array]:
        q, error = q_learning_update(
            tables[0], t.state, t.action, t.reward, t.terminated, t.next_state, step_size, config.discount
        )
        return q[None], error

    return Agent(*control(env, config, learn, initial))


def example() -> Example:
    """A slippery frozen lake, cut after 20 steps."""
    from lrn.rl.tabular.examples import lake

    return Example(lambda config: q_learning(lake(), config), ControlConfig(interactions=10))
