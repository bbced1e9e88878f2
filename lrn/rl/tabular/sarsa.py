"""SARSA: learn about the policy that acts, exploration included (Rummery and Niranjan 1994)."""

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
        q: [state, action].
        s: state.
        a: action.
        r: reward.
        terminated: whether nothing can follow; false for a truncated episode.
        s_next: the state that the action led to, before any reset.
        a_next: the action that the policy takes there (or would, if the episode was cut).
        step_size: in (0, 1].
        discount: in [0, 1].
    """
    return move(q, (s, a), r + discount * (1 - terminated) * q[s_next, a_next], step_size)


def sarsa(env: Env, config: ControlConfig, initial: Array | None = None) -> Agent:
    """Tabular SARSA on an environment that observes its state one-hot (`lrn.rl.mdp.as_env`).

    With a constant epsilon it learns the values of its epsilon-greedy policy; with a GLIE schedule and
    Robbins-Monro step sizes, the optimal ones (Singh et al. 2000).

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute).

    Args:
        env: discrete actions.
        config: settings.
        initial: action values [state, action] to begin with, in place of ``config.initial``.

    Raises:
        ValueError: continuous actions, or an ``initial`` of the wrong shape.
    """

    def learn(tables: Array, t: Transition, step_size: Array) -> tuple[Array, Array]:
        q, error = sarsa_update(
            tables[0], t.state, t.action, t.reward, t.terminated, t.next_state, t.next_action, step_size,
            config.discount,
        )  # fmt: skip
        return q[None], error

    return Agent(*control(env, config, learn, initial))


def example() -> Example:
    """A slippery frozen lake, cut after 20 steps."""
    from lrn.rl.tabular.examples import lake

    return Example(lambda config: sarsa(lake(), config), ControlConfig(interactions=10))
