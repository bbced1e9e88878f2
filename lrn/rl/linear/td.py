"""Semi-gradient TD(0) with linear values (Sutton and Barto 2018, sections 9.3 and 11.1).

On-policy the method converges near the best linear fit; off-policy it may diverge, as on Baird's star.
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

    discount: discount of the predicted return, in [0, 1].
    step_size: schedule of the step size over updates.
    interactions: environment steps in one learner step; each is followed by an update.
    """

    discount: float = 0.99
    step_size: Schedule = Schedule(0.01)
    interactions: int = 100

    def __post_init__(self) -> None:
        check.between("discount", self.discount, 0, 1)
        check.integer("interactions", self.interactions, low=1)


class Weights(NamedTuple):
    """State of semi-gradient TD.

    weights: the weights, [feature].
    steps: int32, updates so far.
    """

    weights: Array
    steps: Array


def td_update(
    weights: Array, x: Array, r: Any, x_next: Array, ratio: Any, step_size: Any, discount: Any
) -> tuple[Array, Array]:
    """The new weights [feature] and the temporal-difference error, a scalar, after one transition.

    Args:
        weights: the weights, [feature].
        x: features of the state, [feature].
        r: reward.
        x_next: features of the next state, before any reset, [feature]; zeros after a termination.
        ratio: importance ratio of the action; 1 on-policy.
        step_size: step size, above 0.
        discount: discount per step, in [0, 1].
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
    """Learn linear values of a policy by semi-gradient TD(0).

    The weights [feature] are ``state.learnt.weights``. Metrics: ``return`` and ``length`` of the episodes
    that ended, ``td_error`` (mean absolute).

    Args:
        env: an environment with discrete actions that observes its state one-hot (`lrn.rl.mdp.as_env`).
        features: features of the states, [state, feature].
        target: the policy whose values are learned, probabilities [state, action].
        config: settings.
        behavior: the policy that acts, probabilities [state, action]; the target itself by default.
        initial: first weights, [feature] or a number.

    Raises:
        ValueError: the actions are continuous, the features or a policy do not fit, or the behavior never
            takes an action that the target takes.
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
    """The random walk of 19 states, with features of groups of states."""
    from lrn.rl.linear.examples import walk

    env, x, target, behavior = walk()
    return Example(
        lambda config: semi_gradient_td(env, x, target, config, behavior), LinearTDConfig(interactions=10)
    )
