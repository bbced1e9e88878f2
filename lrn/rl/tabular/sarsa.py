"""SARSA: learn the values of the policy that acts, exploration included (Rummery and Niranjan 1994)."""

from __future__ import annotations

from typing import Any

from lrn.rl.agent import Agent
from lrn.rl.env import Env
from lrn.rl.tabular.control import ControlConfig, Transition, control, move
from lrn.types import Array, Example


def sarsa_update(
    q: Array,
    s: Any,
    a: Any,
    r: Any,
    terminated: Any,
    s_next: Any,
    a_next: Any,
    step_size: Any,
    discount: Any,
) -> tuple[Array, Array]:
    """The new table and the temporal-difference error of one transition and the action after it.

    Args:
        q: action values, [state, action].
        s: state.
        a: action.
        r: reward.
        terminated: whether the episode terminated; false for a truncated episode.
        s_next: the state that the action led to, before any reset.
        a_next: the action that the policy takes in ``s_next``, or would take if the episode was truncated.
        step_size: step size, in (0, 1].
        discount: discount per step, in [0, 1].
    """
    return move(q, (s, a), r + discount * (1 - terminated) * q[s_next, a_next], step_size)


def sarsa(env: Env, config: ControlConfig, initial: Array | None = None) -> Agent:
    """Tabular SARSA on an environment that observes its state one-hot (`lrn.rl.mdp.as_env`).

    With a constant epsilon SARSA learns the values of its epsilon-greedy policy. With a GLIE schedule of
    epsilon and Robbins-Monro step sizes it learns the optimal values (Singh et al. 2000).

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute).

    Args:
        env: an environment with discrete actions.
        config: settings.
        initial: action values at the start, [state, action], in place of ``config.initial``.

    Raises:
        ValueError: the actions are continuous, or ``initial`` has another shape.
    """

    def learn(tables: Array, t: Transition, step_size: Array) -> tuple[Array, Array]:
        q, error = sarsa_update(
            tables[0], t.state, t.action, t.reward, t.terminated, t.next_state, t.next_action, step_size,
            config.discount,
        )  # fmt: skip
        return q[None], error

    return Agent(*control(env, config, learn, initial))


def example() -> Example:
    """A slippery frozen lake with episodes of at most 20 steps."""
    from lrn.rl.tabular.examples import lake

    return Example(lambda config: sarsa(lake(), config), ControlConfig(interactions=10))
