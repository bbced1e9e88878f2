"""Semi-gradient TD(0) with linear values (Sutton and Barto 2018, sections 9.3 and 11.1).

On-policy it converges near the best linear fit; off-policy it may diverge, as on Baird's star.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from lrn import check
from lrn.config import config
from lrn.rl import rates
from lrn.rl.env import Env
from lrn.rl.linear.prediction import Sample, linear_prediction
from lrn.rl.tabular.schedule import Schedule
from lrn.types import Array, Example, Learner


@config
class LinearTDConfig:
    """Settings.

    discount: of the return that is predicted.
    step_size: at the n-th step.
    interactions: environment steps, each with its update, in one learner step.
    """

    discount: float = 0.99
    step_size: Schedule = Schedule(0.01)
    interactions: int = 100

    def __post_init__(self):
        check.between("discount", self.discount, 0, 1)
        check.integer("interactions", self.interactions, low=1)


class Weights(NamedTuple):
    """weights: [feature]. steps: how many updates there were."""

    weights: Array
    steps: Array


def td_update(
    weights: Array, x: Array, r: Any, x_next: Array, ratio: Any, step_size: Any, discount: Any
) -> tuple[Array, Array]:
    """The new weights and the temporal-difference error of one transition.

    Args:
        weights: [feature].
        x: [feature] of the state.
        r: reward.
        x_next: [feature] of what followed, before any reset; zero if that was the end.
        ratio: importance ratio of the action; 1 on-policy.
        step_size: above 0.
        discount: in [0, 1].
    """
    error = r + discount * (x_next @ weights) - x @ weights
    return weights + step_size * ratio * error * x, error


def semi_gradient_td(
    env: Env,
    features: Any,
    target: Any,
    config: LinearTDConfig,
    behavior: Any | None = None,
    initial: Any = 0.0,
) -> Learner:
    """Learn linear values of ``target`` by semi-gradient TD(0); ``state.learnt.weights`` [feature].

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute).

    Args:
        env: discrete actions, and states observed one-hot (`lrn.rl.mdp.as_env`).
        features: [state, feature].
        target: [state, action], the policy whose values are learnt.
        config: settings.
        behavior: [state, action], the policy that acts; the target itself by default.
        initial: first weights, [feature] or a number.

    Raises:
        ValueError: continuous actions, features or a policy that do not fit, or a behavior that never does
            something the target does.
    """

    def start(n: int) -> Weights:
        return Weights(jnp.broadcast_to(jnp.asarray(initial, jnp.float32), (n,)), jnp.int32(0))

    def learn(learnt: Weights, s: Sample) -> tuple[Weights, Array]:
        steps = rates.count(learnt.steps, 1)
        weights, error = td_update(
            learnt.weights, s.x, s.reward, s.x_next, s.ratio, config.step_size(steps), config.discount
        )
        return Weights(weights, steps), error

    return Learner(*linear_prediction(env, features, target, behavior, config.interactions, start, learn))


def example() -> Example:
    """The random walk of 19 states, in groups of states."""
    from lrn.rl.linear.examples import walk

    env, x, target, behavior = walk()
    return Example(
        lambda config: semi_gradient_td(env, x, target, config, behavior), LinearTDConfig(interactions=10)
    )
