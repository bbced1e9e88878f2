"""Expected SARSA: SARSA with an average over next actions in the target (van Seijen et al. 2009)."""

from __future__ import annotations

from typing import Any

from lrn.rl.agent import Agent
from lrn.rl.env import Env
from lrn.rl.mdp.model import epsilon_greedy
from lrn.rl.tabular.control import ControlConfig, Transition, control, move
from lrn.types import Array, Example


def expected_sarsa_update(
    q: Array,
    s: Any,
    a: Any,
    r: Any,
    terminated: Any,
    s_next: Any,
    probabilities: Array,
    step_size: Any,
    discount: Any,
) -> tuple[Array, Array]:
    """The new table and the temporal-difference error of one transition.

    Args:
        q: action values, [state, action].
        s: state.
        a: action.
        r: reward.
        terminated: whether the episode terminated; false for a truncated episode.
        s_next: the state that the action led to, before any reset.
        probabilities: probabilities [action] of the policy in the next state; the policy may differ from the
            one that acts.
        step_size: step size, in (0, 1].
        discount: discount per step, in [0, 1].
    """
    return move(q, (s, a), r + discount * (1 - terminated) * probabilities @ q[s_next], step_size)


def expected_sarsa(env: Env, config: ControlConfig, initial: Array | None = None) -> Agent:
    """Tabular expected SARSA on an environment that observes its state one-hot (`lrn.rl.mdp.as_env`).

    It learns the same values as SARSA with less variance, so that larger step sizes work.

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute).

    Args:
        env: an environment with discrete actions.
        config: settings.
        initial: action values at the start, [state, action], in place of ``config.initial``.

    Raises:
        ValueError: the actions are continuous, or ``initial`` has another shape.
    """

    def learn(tables: Array, t: Transition, step_size: Array) -> tuple[Array, Array]:
        policy = epsilon_greedy(tables[0, t.next_state], t.next_epsilon)
        q, error = expected_sarsa_update(
            tables[0], t.state, t.action, t.reward, t.terminated, t.next_state, policy, step_size,
            config.discount,
        )  # fmt: skip
        return q[None], error

    return Agent(*control(env, config, learn, initial))


def example() -> Example:
    """A slippery frozen lake with episodes of at most 20 steps."""
    from lrn.rl.tabular.examples import lake

    return Example(lambda config: expected_sarsa(lake(), config), ControlConfig(interactions=10))
