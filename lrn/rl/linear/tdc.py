"""TDC: TD with gradient correction, a true gradient method that is stable off-policy (Sutton et al. 2009).

TDC descends the mean squared projected Bellman error. A second set of weights, with a step size of its own,
estimates the expected TD error as a linear function of the features, which the correction needs.
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
class TDCConfig:
    """Settings.

    discount: discount of the predicted return, in [0, 1].
    step_size: schedule of the step size over updates.
    correction: schedule of the second weights' step size over updates; larger than ``step_size`` in theory
        and often in practice.
    interactions: environment steps in one learner step; each is followed by an update.
    """

    discount: float = 0.99
    step_size: Schedule = Schedule(0.005)
    correction: Schedule = Schedule(0.05)
    interactions: int = 100

    def __post_init__(self) -> None:
        check.between("discount", self.discount, 0, 1)
        check.integer("interactions", self.interactions, low=1)


class CorrectedWeights(NamedTuple):
    """State of TDC.

    weights: the weights, [feature].
    second: the second weights, for the correction, [feature].
    steps: int32, updates so far.
    """

    weights: Array
    second: Array
    steps: Array


def tdc_update(
    weights: Array,
    second: Array,
    x: Array,
    r: Any,
    x_next: Array,
    ratio: Any,
    step_size: Any,
    correction: Any,
    discount: Any,
) -> tuple[Array, Array, Array]:
    """The new weights, the new second weights, and the temporal-difference error of one transition.

    Args:
        weights: the weights, [feature].
        second: the second weights, [feature]; ``x @ second`` estimates the expected error in a state.
        x: features of the state, [feature].
        r: reward.
        x_next: features of the next state, before any reset, [feature]; zeros after a termination.
        ratio: importance ratio of the action; 1 on-policy.
        step_size: step size of the weights, above 0.
        correction: step size of the second weights.
        discount: discount per step, in [0, 1].
    """
    error = r + discount * (x_next @ weights) - x @ weights
    predicted = x @ second
    weights = weights + step_size * ratio * (error * x - discount * predicted * x_next)
    return weights, second + correction * ratio * (error - predicted) * x, error


def tdc(
    env: Env, features: Any, target: Any, config: TDCConfig, behavior: Any | None = None, initial: Any = 0.0
) -> Learner:
    """Learn linear values of a policy by TDC. The weights [feature] are ``state.learnt.weights``.

    Metrics: ``return`` and ``length`` of the episodes that ended, ``td_error`` (mean absolute).

    Args:
        env: an environment with discrete actions that observes its state one-hot (`lrn.rl.mdp.as_env`).
        features: features of the states, [state, feature].
        target: the policy whose values are learned, probabilities [state, action].
        config: settings.
        behavior: the policy that acts, probabilities [state, action]; the target itself by default.
        initial: first weights, [feature] or a number; the second weights start at zero.

    Raises:
        ValueError: the actions are continuous, the features or a policy do not fit, or the behavior never
            takes an action that the target takes.
    """

    def start(n: int) -> CorrectedWeights:
        first = jnp.broadcast_to(jnp.asarray(initial, jnp.float32), (n,))
        return CorrectedWeights(first, jnp.zeros(n), jnp.int32(0))

    def learn(learnt: CorrectedWeights, s: Sample) -> tuple[CorrectedWeights, Array]:
        steps = rates.count(learnt.steps, 1)
        weights, second, error = tdc_update(
            learnt.weights, learnt.second, s.x, s.reward, s.x_next, s.ratio, config.step_size(steps),
            config.correction(steps), config.discount,
        )  # fmt: skip
        return CorrectedWeights(weights, second, steps), error

    return Learner(*linear_prediction(env, features, target, behavior, config.interactions, start, learn))


def example() -> Example:
    """The random walk of 19 states, with features of groups of states."""
    from lrn.rl.linear.examples import walk

    env, x, target, behavior = walk()
    return Example(lambda config: tdc(env, x, target, config, behavior), TDCConfig(interactions=10))
